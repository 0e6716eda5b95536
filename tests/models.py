"""Models and short spellings that the tests share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from chainette import Step


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    answer: str
    confidence: float = 1.0


class Translation(BaseModel):
    translated: str


class Summary(BaseModel):
    summary: str


class Number(BaseModel):
    value: int


def step(id: str, takes: type[BaseModel], makes: type[BaseModel], prompt: str = "{{ text }}", **fields: Any) -> Step:
    return Step(id=id, input_model=takes, output_model=makes, user_prompt=prompt, **fields)
