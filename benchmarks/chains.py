"""The chains that are measured. Knows nothing of how they are timed."""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Chain, Step, apply


class Review(BaseModel):
    text: str


class Facts(BaseModel):
    product: str
    sentiment: str
    rating: int


class Verdict(BaseModel):
    verdict: str
    reason: str


class Number(BaseModel):
    value: int


EXTRACT_PROMPT = "Extract the facts.\n\n{{ text }}"
JUDGE_PROMPT = "Judge {{ product }}, {{ sentiment }}, {{ rating }}."

two_steps = Chain(
    name="two steps",
    steps=[
        Step(
            id="extract",
            input_model=Review,
            output_model=Facts,
            engine_name="server",
            output_format_instruction="",
            user_prompt=EXTRACT_PROMPT,
        ),
        Step(
            id="judge",
            input_model=Facts,
            output_model=Verdict,
            engine_name="server",
            output_format_instruction="",
            user_prompt=JUDGE_PROMPT,
        ),
    ],
)


def increment(number: Number) -> Number:
    return Number(value=number.value + 1)


def double(number: Number) -> Number:
    return Number(value=number.value * 2)


two_applies = Chain(name="two applies", steps=[apply(increment), apply(double)])
