"""Question answering: the quick start. A typed answer, then plain Python that keeps the confident ones.

The demo model knows the capitals, continents and currencies of some hundred countries and little else; it says so.

    chainette run examples.qa:chain -i examples/qa.jsonl
"""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Chain, SamplingParams, Step, apply

SYSTEM = "Answer accurately and concisely."
USER = "Question: {{ text }}"


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    answer: str
    confidence: float


qa = Step(
    id="qa",
    name="Question answering",
    input_model=Question,
    output_model=Answer,
    sampling=SamplingParams(temperature=0.2),
    system_prompt=SYSTEM,
    user_prompt=USER,
)


def keep_confident(items: list[Answer]) -> list[Answer]:
    return [answer for answer in items if answer.confidence > 0.7]


chain = Chain(name="Simple QA", steps=[qa, apply(keep_confident)])
