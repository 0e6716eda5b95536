"""A million rows through two Python functions, in constant memory. No engine is needed.

chainette run examples/runner/huge_batch_demo.py:chain -i examples/runner/numbers.jsonl.zst
"""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Chain, apply


class Number(BaseModel):
    value: int


def increment(number: Number) -> Number:
    return Number(value=number.value + 1)


def double(number: Number) -> Number:
    return Number(value=number.value * 2)


chain = Chain(name="Huge batch", steps=[apply(increment), apply(double)])
