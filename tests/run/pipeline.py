"""A chain with all that rows can meet on their way, and rows for it."""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Branch, Chain, Step, apply
from tests.models import step


class Item(BaseModel):
    text: str
    copies: int = 1


class Part(BaseModel):
    text: str


class Note(BaseModel):
    note: str


class Mark(BaseModel):
    mark: int


class Whole(BaseModel):
    text: str
    note: str
    marks: list[int]


def kept(items: list[Item]) -> list[Item]:
    return [item for item in items if "drop" not in item.text]


def split(item: Item) -> list[Part]:
    return [Part(text=f"{item.text} part {turn}") for turn in range(item.copies)]


def sound(note: Note) -> Note:
    if "bad" in note.note:
        raise ValueError(note.note)
    return note


def note_step(**fields: object) -> Step:
    return step("note", Part, Note, "note {{ text }}", output_format_instruction="", retries=1, **fields)


def chain(**fields: object) -> Chain:
    """Filter, expand, two joined branches (a step with samples in one, an apply in the other), a branch that ends."""
    marks = step("marks", Part, Mark, "mark {{ text }}", output_format_instruction="", n=2, yield_output=False)
    last = step(
        "last",
        Part,
        Note,
        "last {{ chain_input.text }}: {{ n.note }} {{ m | length }}",
        output_format_instruction="",
    )
    group = [
        Branch(name="notes", steps=[note_step(**fields), apply(sound)]).join("n"),
        Branch(name="marks", steps=[marks]).join("m", missing="none"),
        Branch(name="aside", steps=[step("aside", Part, Mark, "aside {{ text }}", output_format_instruction="")]),
    ]
    return Chain(name="pipeline", steps=[apply(kept), apply(split), group, last])


FAULTS = [
    {"kind": "mismatch", "containing": "note fail"},
    {"kind": "filter", "containing": "mark refuse"},
    {"kind": "truncate", "containing": "aside long"},
]
WORDS = ["plain", "fail", "drop", "said", "twin", "refuse", "long", "twin", "bad", "é “quoted”"]


def items(count: int) -> list[Item]:
    """Rows 4 and 7 of each ten read the same; some are expanded to two or to none."""
    return [
        Item(text=WORDS[n % 10] + ("" if WORDS[n % 10] == "twin" else f" {n}"), copies=(1, 2, 1, 1, 2, 0)[n % 6])
        for n in range(count)
    ]


ANSWERS = {"note bad": {"note": "bad note"}}
