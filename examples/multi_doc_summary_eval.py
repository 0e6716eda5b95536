"""Several documents a row: one step summarises them all in a line, the next scores that line against the documents.

The demo model knows documents of one sentence that praise or blame one aspect of a product.

    chainette run examples.multi_doc_summary_eval:chain -i examples/multi_doc_summary_eval.jsonl
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from chainette import Chain, SamplingParams, Step

SUMMARY_SYSTEM = "Summarise the documents."
SUMMARY_USER = "{% for document in documents %}{{ loop.index }}. {{ document }}\n{% endfor %}"
SCORE_SYSTEM = "Score the summary."
SCORE_USER = (
    "{% for document in chain_input.documents %}{{ loop.index }}. {{ document }}\n{% endfor %}Summary: {{ summary }}"
)


class Documents(BaseModel):
    """Two or three short reviews of one product."""

    documents: list[str]


class Summary(BaseModel):
    summary: str = Field(max_length=200)


class Score(BaseModel):
    """How well the summary covers the documents: 1 wrong product, 3 wrong count, 5 right."""

    score: int = Field(ge=1, le=5)
    reason: str = Field(max_length=80)


summarise = Step(
    id="summarise",
    name="Summarise the documents",
    input_model=Documents,
    output_model=Summary,
    sampling=SamplingParams(temperature=0.0, max_tokens=96),
    output_format_instruction="",
    system_prompt=SUMMARY_SYSTEM,
    user_prompt=SUMMARY_USER,
)
score = Step(
    id="score",
    name="Score the summary",
    input_model=Summary,
    output_model=Score,
    sampling=SamplingParams(temperature=0.0, max_tokens=64),
    output_format_instruction="",
    system_prompt=SCORE_SYSTEM,
    user_prompt=SCORE_USER,
)

chain = Chain(name="Summaries of several documents, scored", steps=[summarise, score])
