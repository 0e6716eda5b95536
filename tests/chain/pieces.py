"""What the tests of the YAML form put chains together from: everything here can be imported by name."""

from __future__ import annotations

import functools
from typing import Any

from pydantic import BaseModel

from chainette import Branch, Chain, Step, apply


class Number(BaseModel):
    value: int


class Page(BaseModel):
    text: str


class Book(BaseModel):
    value: int
    pages: list[Page] = []


class Embedder:
    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __call__(self, number: Number) -> Number:
        return number


def inc(number: Number) -> Number:
    return Number(value=number.value + 1)


def minus(number: Number, by: int = 1) -> Number:
    return Number(value=number.value - by)


def split(number: Number) -> list[Number]:
    return [number, number]


def anything(items):
    return items


def is_even(number: Any) -> bool:
    return number.value % 2 == 0


def remainder(number: Any, context: Any) -> int:
    return number.value % 3


def add(carry: int, page: Page) -> int:
    return carry + len(page.text)


def local_function() -> Any:
    def inner(number: Number) -> Number:
        return number

    return inner


embedder = Embedder()
minus_three = functools.partial(minus, by=3)
asked = Step(id="asked", input_model=Number, output_model=Page, user_prompt="{{ value }}")
chosen = apply(inc, id="chosen")
inner = Chain(name="inner", steps=[apply(inc, id="first"), apply(minus, id="second")])
pair = [Branch("up", [apply(inc, id="up1")]).join(), Branch("down", [apply(minus, id="down1")])]
