"""Control flow at random, nested: what comes out is what a plain function says, whatever the chunks and the timing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainette import Branch, Chain, ScanItem, apply, cond, scan, while_loop
from tests.executor.programs import Counted, Dropped, Failed, Num, Piece, Program, Stopped, programs
from tests.executor.staging import House, Item, Play, ask, checked_chain, staged
from tests.folders import IN_MEMORY, counts, derived, lines

ROWS = [Num(value=value) for value in range(-3, 14)]


@pytest.fixture(autouse=True)
def _no_engines_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def join_up(carry: Item, item: Item) -> tuple[Item, Item]:
    made = Item(text=f"{carry.text}{len(item.text)}"[-9:])
    return made, made


def even(item: Item) -> bool:
    return int(item.text.split()[1]) % 2 == 0


def first_few(item: Item) -> bool:
    return int(item.text.split()[1]) < 4


def all_of(items: list[Item]) -> list[Item]:
    return items[::-1]


story = ask("story", "b", prompt="{{ carry.text }} then {{ item.text }}")
STAGED: dict[str, Callable[[], list[Any]]] = {
    "rows before a scan wait for a later stage": lambda: [
        cond(first_few, [ask("x", "b")]),
        scan(join_up, over=None, init=Item(text="0")),
    ],
    "the scan's body is in a later stage": lambda: [
        ask("first", "a"),
        scan([story.with_(input_model=ScanItem[Item, Item])], over=None, init=Item(text="0")),
        ask("last", "a"),
    ],
    "rows beside a scan wait for a later stage": lambda: [
        [Branch("side", [cond(even, [ask("x", "b")])])],
        scan(join_up, over=None, init=Item(text="0")),
        ask("last", "a"),
    ],
    "a scan before a function over the whole run": lambda: [
        scan(join_up, over=None, init=Item(text="0")),
        apply(all_of, scope="run"),
    ],
    "a scan beside a function over the whole run": lambda: [
        [Branch("side", [cond(even, [ask("x", "b")]), scan(join_up, over=None, init=Item(text="0"))])],
        apply(all_of, scope="run"),
    ],
    "a scan after a function over the whole run": lambda: [
        cond(first_few, [ask("x", "b")]),
        apply(all_of, scope="run"),
        scan(join_up, over=None, init=Item(text="0")),
    ],
    "a loop in a later stage, and a step after it": lambda: [
        ask("first", "a"),
        while_loop([ask("x", "b")], until=lambda item: len(item.text) % 3 == 0, max_iterations=3),
        ask("last", "a"),
    ],
}


@pytest.mark.parametrize("steps", STAGED.values(), ids=STAGED)
@pytest.mark.parametrize(("chunk_size", "open_rows"), [(1, 3), (3, 6), (3, 100), (20, 100)])
def test_scans_and_loops_come_to_their_end_whatever_waits_for_a_later_stage(
    tmp_path: Path, steps: Callable[[], list[Any]], chunk_size: int, open_rows: int
) -> None:
    checked = checked_chain(Chain("staged", steps(), input_model=Item))
    segments = checked.plan.stage_of
    turn_of = {"x": 1, "story": 1, "last": 2, **{checked.graph.nodes[n].id: 3 * s for n, s in segments.items() if s}}
    plan = staged(checked.plan, checked.graph, turn_of)
    rows = [Item(text=f"row {n}") for n in range(11)]
    played = Play(tmp_path / "staged", checked, plan, rows, chunk_size=chunk_size)
    whole = Play(tmp_path / "whole", checked, checked.plan, rows, chunk_size=20)
    assert played.go(House(plan), open_rows).count.rows == 11
    whole.go(House(plan))
    assert derived(played.path) == derived(whole.path)


def chain_of(program: Program) -> Chain:
    return Chain("program", program.steps, input_model=Num)


def _ids(run: Any) -> list[str]:
    parts = sorted((run.folder / "flattened").glob("*.jsonl"))
    return [line["_id"] for part in parts for line in lines(part)]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(line=programs, chunk_size=st.integers(1, 20))
def test_any_program_of_control_flow_gives_what_a_plain_function_gives(
    line: tuple[Piece, ...], chunk_size: int
) -> None:
    program = Program(line)
    expected = {str(n): program.outcome(num) for n, num in enumerate(ROWS)}
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        run = chain_of(program).run(ROWS, Path(place) / "run", chunk_size=chunk_size)
        whole = chain_of(Program(line)).run(ROWS, Path(place) / "whole", chunk_size=len(ROWS))
        assert list(run.outputs) == [num for num in expected.values() if isinstance(num, Num)]
        assert _ids(run) == [id for id, num in expected.items() if isinstance(num, Num)]
        assert derived(run.folder) == derived(whole.folder)
        said = counts(run.folder)
        assert said == counts(whole.folder)
        _check_counts(program, said["nodes"])
        _check_ends(expected, run)


def _check_counts(program: Program, said: dict[str, dict[str, int]]) -> None:
    """Every function saw the rows that it should, and each of them is accounted for."""
    for id, node in said.items():
        told = program.tally.nodes.get(id)
        found = Counted(node["rows_in"], node["done"], node["dropped"], node["failed"])
        if id in program.functions:
            assert found == (told or Counted()), f"{id}: {found} instead of {told}"
        elif id in program.tally.nodes:
            assert node["rows_in"] == program.tally.nodes[id].entered, id


def _check_ends(expected: dict[str, Num | type[Stopped]], run: Any) -> None:
    """A row that did not come out failed, or was dropped: it is never just gone."""
    failed = {failure.row_id.split(".")[0] for failure in run.failed}
    assert {id for id, end in expected.items() if end is Failed} <= failed
    assert run.rows_failed == len(failed)
    assert run.rows_out == sum(isinstance(end, Num) for end in expected.values())
    assert run.rows_dropped == sum(end is Dropped and id not in failed for id, end in expected.items())
