"""A traced chain for the tests of the YAML form."""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Step, apply, chain
from tests.chain.pieces import Number, Page, inc, minus


class Both(BaseModel):
    up: Number
    down: Number


up = apply(inc)
down = apply(minus)
both = Step(id="both", input_model=Both, output_model=Page, user_prompt="{{ up.value }} {{ down.value }}")


@chain
def diamond(number: Number) -> Page:
    return both(up=up(number), down=down(number))
