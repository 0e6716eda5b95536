"""Two branches on the same rows, joined by row id. No engine is needed.

chainette run examples/join/inc_dec_join.py:chain -i examples/join/numbers.jsonl
"""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Branch, Chain, apply


class Number(BaseModel):
    value: int


class Neighbours(BaseModel):
    """Drawn from the row's own field and the two aliases."""

    value: int
    inc: Number
    dec: Number


class Line(BaseModel):
    text: str


def increment(number: Number) -> Number:
    return Number(value=number.value + 1)


def decrement(number: Number) -> Number:
    return Number(value=number.value - 1)


def write_line(row: Neighbours) -> Line:
    return Line(text=f"{row.dec.value} < {row.value} < {row.inc.value}")


chain = Chain(
    name="Increment and decrement",
    steps=[
        [
            Branch(name="up", steps=[apply(increment)]).join("inc"),
            Branch(name="down", steps=[apply(decrement)]).join("dec"),
        ],
        apply(write_line),
    ],
)
