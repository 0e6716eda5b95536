"""Write, review, revise until approved: a loop over two steps, then one that publishes and knows the turns it took.

Each turn begins with the brief (`feed="input"`); the writer's prompt finds the last draft and its review by the ids of
their steps, and there are none in the first turn. Each row leaves the loop when its own draft is approved.

Writing and judging are more than the demo model can do, so a script answers in its place and the example runs anywhere.
With a real model only the engine changes: the block of `writer` in scripted.yml or in your engines.yml.

    chainette run examples.refine_until_approved:chain -i examples/refine_until_approved.jsonl -f examples/scripted.yml
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from chainette import Chain, Step, while_loop


class Brief(BaseModel):
    topic: str
    max_words: int


class Draft(BaseModel):
    text: str = Field(max_length=300)


class Review(BaseModel):
    approved: bool
    notes: str = Field(max_length=300, description="What to change; nothing when it is approved.")


class Notice(BaseModel):
    headline: str = Field(max_length=80)
    text: str = Field(max_length=300)


write = Step(
    id="write",
    name="Write a draft",
    input_model=Brief,
    output_model=Draft,
    engine_name="writer",
    system_prompt="You write notices for the board in the hall of a block of flats.",
    user_prompt=(
        "Write a notice of at most {{ max_words }} words: {{ topic }}."
        "{% if review %}\nDraft {{ turn - 1 }} was: {{ write.text }}\nThe reviewer says: {{ review.notes }}{% endif %}"
    ),
)
review = Step(
    id="review",
    name="Review it",
    input_model=Draft,
    output_model=Review,
    engine_name="writer",
    system_prompt="You review notices. Approve one that says what, when, and whom to ask, and is polite.",
    user_prompt="Review: {{ text }}",
)
publish = Step(
    id="publish",
    name="Publish",
    input_model=Review,
    output_model=Notice,
    engine_name="writer",
    system_prompt="You give notices a headline and note below them how many drafts it took.",
    user_prompt="Publish: {{ write.text }}\nDrafts: {{ refine_turns }}",
)

refine = while_loop([write, review], until="approved", max_iterations=4, at_least_once=True, feed="input", id="refine")

chain = Chain(name="Refine until approved", steps=[refine, publish])
