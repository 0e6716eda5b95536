"""Runs to report on, made by the real engine room with scripted answers."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from chainette import Chain, Step, apply
from chainette.files.reading import RunReader
from chainette.specs import EngineSpec, default_registry


class Text(BaseModel):
    text: str
    stars: int | None = None


class Place(BaseModel):
    city: str
    since: date


class Facts(BaseModel):
    product: str
    tags: list[str] = []
    place: Place | None = None


class Verdict(BaseModel):
    verdict: str = Field(max_length=200)


def engine(**script: Any) -> None:
    """The only engine, registered anew."""
    default_registry.add(EngineSpec.parse({"name": "stand_in", "backend": "scripted", "script": script}))


FACTS = Step(
    id="facts",
    input_model=Text,
    output_model=Facts,
    engine_name="stand_in",
    system_prompt="Find the facts.",
    user_prompt="About: {{ text }}",
)
JUDGE = Step(
    id="judge",
    input_model=Facts,
    output_model=Verdict,
    engine_name="stand_in",
    user_prompt="{{ product }} ({{ chain_input.text }}), {{ tags | join(', ') }}",
    output_format_instruction="",
)
ANSWERS = {
    "About: a lamp": {"product": "lamp", "tags": ["light", "é"], "place": {"city": "Köln", "since": "2026-01-31"}},
    "About: a chair": {"product": "=1+1", "tags": []},
    "lamp (": {"verdict": "buy"},
    "=1+1 (": {"verdict": 'keep, "said" it\nonce'},
}
ROWS = [{"text": "a lamp", "stars": 5}, {"text": "a chair"}]


def two_steps(folder: Path, rows: Any = None, **options: Any) -> RunReader:
    engine(answers=ANSWERS)
    Chain(name="Two steps", steps=[FACTS, JUDGE]).run(ROWS if rows is None else rows, folder, **options)
    return RunReader(folder)


def numbers(folder: Path, count: int, **options: Any) -> RunReader:
    """A run of Python only, whose rows have no model."""

    def square(row: dict[str, Any]) -> dict[str, Any]:
        return {"n": row["n"], "square": row["n"] ** 2}

    Chain(name="Numbers", steps=[apply(square)]).run([{"n": n} for n in range(count)], folder, **options)
    return RunReader(folder)
