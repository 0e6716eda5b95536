"""The chains that are measured. Knows nothing of how they are timed."""

from __future__ import annotations

import zlib
from typing import Literal

from pydantic import BaseModel, Field

from chainette import Chain, Context, SamplingParams, Step, apply, cond, gather, while_loop


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


def is_approved(verdict: Verdict, context: Context) -> bool:
    """After one to six turns, by the row's text."""
    turn = context.turn
    assert isinstance(turn, int)
    return turn > zlib.crc32(context.chain_input.text.encode()) % 6


refine = Chain(
    name="refine",
    steps=[
        while_loop(
            two_steps.steps, until=is_approved, max_iterations=6, at_least_once=True, feed="input", id="until_approved"
        )
    ],
)


def increment(number: Number) -> Number:
    return Number(value=number.value + 1)


def double(number: Number) -> Number:
    return Number(value=number.value * 2)


two_applies = Chain(name="two applies", steps=[apply(increment), apply(double)])


def is_even(number: Number) -> bool:
    return number.value % 2 == 0


def decrement(number: Number) -> Number:
    return Number(value=number.value - 1)


class Counted(BaseModel):
    value: int
    turns: int = 0


def count_up(number: Counted) -> Counted:
    return Counted(value=number.value + 1, turns=number.turns + 1)


def made_three(number: Counted) -> bool:
    return number.turns >= 3


def twins(number: Number) -> list[Number]:
    return [number, Number(value=number.value + 1)]


def total(numbers: list[Number]) -> Number:
    return Number(value=sum(number.value for number in numbers))


def straight(applies: int) -> Chain:
    """As many functions in a row as a chain with control flow calls for each row, predicates included."""
    return Chain(name=f"{applies} applies", steps=[apply(increment, id=f"increment_{n}") for n in range(applies)])


one_apply, two_in_a_row, three_in_a_row = straight(1), straight(2), straight(3)
seven_in_a_row = straight(7)

conditional = Chain(name="cond", steps=[cond(is_even, [apply(increment)], [apply(decrement)])])
loop_of_three = Chain(name="while_loop", steps=[while_loop([apply(count_up)], until=made_three, max_iterations=3)])
expand_and_gather = Chain(name="expand and gather", steps=[apply(twins), gather(), apply(total)])


class Item(BaseModel):
    """An answer whose length is bounded, so that both sides of a comparison write the same."""

    name: str = Field(max_length=40)
    tags: list[Literal["red", "green", "blue", "loud", "quiet"]] = Field(min_length=2, max_length=4)
    rating: int = Field(ge=1, le=5)


class Joined(Item):
    """An item beside the text it was made of: the second step's input when it is a run of its own."""

    text: str


SHORT = SamplingParams(temperature=0.7, max_tokens=120)

SHORT_STEP = Step(
    id="item",
    input_model=Review,
    output_model=Item,
    engine_name="engine",
    user_prompt="{{ text }}",
    sampling=SHORT,
    output_format_instruction="",
    retries=0,
)
AGAIN_PROMPT = "{{ chain_input.text }} {{ name }} {{ tags | join(' ') }}"

one_short_step = Chain(name="one_short_step", steps=[SHORT_STEP])

short_and_again = Chain(
    name="short_and_again",
    steps=[SHORT_STEP, SHORT_STEP.with_(id="again", input_model=Item, user_prompt=AGAIN_PROMPT)],
)

short_after = Chain(
    name="short_after",
    steps=[SHORT_STEP.with_(id="again", input_model=Joined, user_prompt=AGAIN_PROMPT)],
)
