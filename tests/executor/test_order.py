"""Whatever rows do and however chunks fall, files hold what plain Python would give, in input order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chainette import Branch, Chain, apply


class Item(BaseModel):
    name: str
    copies: int
    keep: bool
    bad: bool


class Sides(BaseModel):
    name: str
    copies: int
    keep: bool
    bad: bool
    left: list[Item]
    right: Item


def expand(item: Item) -> list[Item]:
    return [item.model_copy(update={"name": f"{item.name}{turn}"}) for turn in range(item.copies)]


def kept(items: list[Item]) -> list[Item]:
    return [item for item in items if item.keep]


def healthy(item: Item) -> Item:
    if item.bad:
        raise ValueError(item.name)
    return item


class Line(BaseModel):
    text: str


def write(row: Sides) -> Line:
    return Line(text=f"{row.name}: {' '.join(item.name for item in row.left)} | {row.right.name}")


CHAIN = Chain(
    name="order",
    steps=[
        apply(kept),
        [
            Branch(name="l", steps=[apply(expand)]).join("left"),
            Branch(name="r", steps=[apply(healthy)]).join("right"),
        ],
        apply(write),
    ],
)

rows = st.lists(
    st.builds(Item, name=st.text("abc", max_size=3), copies=st.integers(0, 3), keep=st.booleans(), bad=st.booleans()),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(items=rows, chunk_size=st.integers(1, 13))
def test_files_hold_what_plain_python_would_give(items, chunk_size):
    expected = [
        (str(position), f"{item.name}: {' '.join(item.name + str(turn) for turn in range(item.copies))} | {item.name}")
        for position, item in enumerate(items)
        if item.keep and not item.bad
    ]
    with tempfile.TemporaryDirectory() as folder:
        result = CHAIN.run(items, output_dir=Path(folder) / "run", chunk_size=chunk_size)
        found = list(zip(result.outputs.ids, [line.text for line in result.outputs], strict=True))
        failed = {failure.row_id for failure in result.failed if failure.node_id == "healthy"}
    assert found == expected
    assert failed == {str(position) for position, item in enumerate(items) if item.keep and item.bad}
