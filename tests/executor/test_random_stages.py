"""Any chain, in any stages, cut off anywhere: the files are those of the chain run at once."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainette import Branch, Chain, apply
from chainette.errors import EngineDiedError
from tests.executor.staging import NAMES, House, Item, Play, ask, checked_chain, staged
from tests.folders import IN_MEMORY, derived, made_once


def same(item: Item) -> Item:
    return item


def doubled(item: Item) -> list[Item]:
    return [Item(text=f"{item.text} {turn}") for turn in range(len(item.text) % 3)]


def some(items: list[Item]) -> list[Item]:
    return [item for item in items if len(item.text) % 7]


def sound(item: Item) -> Item:
    if len(item.text) % 5 == 0:
        raise ValueError(item.text)
    return item


FUNCTIONS = {"same": same, "doubled": doubled, "some": some, "sound": sound}
leaves = st.one_of(st.sampled_from(NAMES), st.sampled_from(sorted(FUNCTIONS)))
groups = st.recursive(
    st.lists(leaves, min_size=1, max_size=4),
    lambda inner: st.lists(
        st.one_of(leaves, st.lists(st.tuples(st.sampled_from(["", "fail", "none"]), inner), min_size=1, max_size=3)),
        min_size=1,
        max_size=4,
    ),
    max_leaves=8,
)


def built(pieces: list[Any], numbers: Any) -> list[Any]:
    """Steps by their engine's name, functions by theirs, groups of branches as (how they join, pieces)."""
    made: list[Any] = []
    for piece in pieces:
        number = next(numbers)
        if isinstance(piece, list):
            group = [
                Branch(name=f"b{number}_{turn}", steps=built(inner, numbers)) for turn, (_, inner) in enumerate(piece)
            ]
            made.append(
                [
                    branch.join(f"j{number}_{turn}", missing=how) if how else branch
                    for turn, (branch, (how, _)) in enumerate(zip(group, piece, strict=True))
                ]
            )
        elif piece in NAMES:
            made.append(ask(f"{piece}{number}", piece, retries=1))
        else:
            made.append(apply(FUNCTIONS[piece], id=f"{piece}{number}"))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pieces=groups,
    turns=st.lists(st.integers(0, 3), min_size=8, max_size=8),
    chunk_size=st.integers(1, 6),
    open_rows=st.integers(1, 12),
    window=st.integers(1, 5),
    seed=st.integers(0, 1000),
    ends=st.lists(st.integers(0, 50), max_size=2),
    streams=st.booleans(),
)
def test_neither_stages_nor_cuts_change_a_byte(
    pieces: list[Any],
    turns: list[int],
    chunk_size: int,
    open_rows: int,
    window: int,
    seed: int,
    ends: list[int],
    streams: bool,
) -> None:
    chain = Chain(name="any", steps=built(pieces, count()))
    faults = [{"kind": "mismatch", "containing": "row 3"}]
    checked = checked_chain(chain, faults=faults)
    order = [node.id for node in checked.graph.steps]
    plan = staged(checked.plan, checked.graph, {id: turns[n % 8] for n, id in enumerate(order)})
    rows = [Item(text=f"row {n}") for n in range(9)]
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        at_once = Play(Path(place) / "at_once", checked, staged(plan, checked.graph, {}), rows)
        at_once.go(House(plan))
        got: list[int] = []
        results = {"results": lambda index, _: got.append(index)} if streams else {}
        played = Play(Path(place) / "staged", checked, plan, rows, chunk_size=chunk_size)
        for dies_after in ends:
            with suppress(EngineDiedError):
                played.go(House(plan, window=window, seed=seed, dies_after=dies_after), open_rows, **results)
                break
        else:
            played.go(House(plan, window=window, seed=seed), open_rows, **results)
        assert derived(played.path) == derived(at_once.path)
        assert made_once(played.path)
        assert played.warnings == []
        assert got == (list(range(-(-len(rows) // chunk_size))) if streams else [])
