"""Rows that a loop made: which turn they are from, in every format and wherever they are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chainette import Chain, apply, while_loop
from chainette.events import RunCount
from chainette.files import NodeOutput, RunFolder
from chainette.files.comparing import Comparison, compare
from chainette.files.healing import begin
from chainette.files.outputs import MadeChunk
from chainette.files.reading import RunReader
from chainette.rows import Again, Failure, InputChunk, NodeChunk
from tests.folders import as_killed, counts, derived, lines

FORMATS = ["jsonl", "parquet", "csv"]


class Text(BaseModel):
    text: str


class Draft(BaseModel):
    draft: str
    tags: list[str] = []


class Number(BaseModel):
    number: int


def configured(folder: RunFolder, node: NodeOutput, **options: Any) -> RunFolder:
    folder.configure([node], input_type=Text, **options)
    return folder


def new_folder(path: Path, node: NodeOutput, **options: Any) -> RunFolder:
    folder = RunFolder.create(path, "Test")
    folder.write_graph({"execution_order": [{"id": node.node_id, "name": node.node_id}]})
    return configured(folder, node, **options)


def inputs(count: int, index: int = 0, first: int = 0) -> InputChunk:
    ids = [str(first + n) for n in range(count)]
    return InputChunk(index, first, ids, [Text(text=id) for id in ids], [{"text": id} for id in ids])


def made(rows: Sequence[tuple[str, int | list[int]]], word: str = "draft", **more: Any) -> NodeChunk:
    values = [Draft(draft=f"{word} {turn}", tags=[id]) for id, turn in rows]
    return NodeChunk("write", [id for id, _ in rows], values, turns=[turn for _, turn in rows], **more)


def write(folder: RunFolder, rows: Sequence[tuple[str, int | list[int]]], chunk: InputChunk | None = None) -> None:
    """One chunk; the last turn of a row stands in the flattened rows."""
    chunk = chunk or inputs(len({id for id, _ in rows}))
    node = made(rows)
    last = {id: position for position, (id, _) in enumerate(rows)}
    folder.add_inputs(chunk)
    flat = {"chain_input": range(len(chunk.ids)), "write": [last.get(id, -1) for id in chunk.ids]}
    folder.add_chunk(chunk.index, [node], chunk.ids, flat, chunk)


def test_the_turn_stands_behind_the_id(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run", NodeOutput("write", Draft, loops=1))
    write(folder, [("0", 1), ("0", 2), ("1", 1)])
    folder.close(seal=True)
    text = (tmp_path / "run/steps/write/000.jsonl").read_text()
    assert text.splitlines()[1] == '{"_id":"0","_turn":2,"draft":"draft 2","tags":["0"]}'


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("loops", "rows"),
    [(1, [("0", 1), ("0", 2), ("1", 1)]), (2, [("0", [1, 1]), ("0", [1, 2]), ("1", [2, 1])])],
    ids=["in a loop", "in nested loops"],
)
def test_turns_come_back_from_every_format(tmp_path: Path, format: Any, loops: int, rows: Any) -> None:
    node = NodeOutput("write", Draft, loops=loops)
    folder = new_folder(tmp_path / "run", node, format=format, max_lines_per_file=2)
    write(folder, rows)
    folder.close(seal=True)
    reader = RunReader(tmp_path / "run")
    view = reader.rows("write", Draft)
    assert view.turns == [turn for _, turn in rows]
    assert view.ids == [id for id, _ in rows]
    assert view == [Draft(draft=f"draft {turn}", tags=[id]) for id, turn in rows]
    assert [row["_turn"] for row in reader.turns("write", "0")] == [turn for id, turn in rows if id == "0"]
    last = reader.row("write", "0")
    assert last is not None
    assert last["_turn"] == rows[1][1]
    assert [row["write.draft"] for row in reader.flattened()] == [f"draft {rows[1][1]}", f"draft {rows[2][1]}"]


def test_all_parquet_parts_say_turns_in_one_type(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    node = NodeOutput("write", Draft, loops=2)
    folder = new_folder(tmp_path / "run", node, format="parquet", max_lines_per_file=1)
    write(folder, [("0", [1, 1]), ("1", [3, 2])])
    folder.close(seal=True)
    first, second = (parquet.read_schema(path) for path in sorted((tmp_path / "run/steps/write").iterdir()))
    assert first == second
    assert first.names == ["_id", "_turn", "draft", "tags"]
    assert first.field("_turn").type == pa.list_(pa.int64())


@pytest.mark.parametrize("format", FORMATS)
def test_datasets_reads_a_folder_with_turns(tmp_path: Path, format: Any) -> None:
    import datasets

    folder = new_folder(tmp_path / "run", NodeOutput("write", Draft, loops=1), format=format, max_lines_per_file=2)
    write(folder, [("0", 1), ("0", 2), ("1", 1)])
    folder.close(seal=True)
    parts = [str(path) for path in sorted((tmp_path / "run/steps/write").iterdir())]
    name = {"jsonl": "json"}.get(format, format)
    loaded = datasets.load_dataset(name, data_files=parts, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["_id", "_turn", "draft", "tags"]
    assert list(loaded["_turn"]) == [1, 2, 1]


def test_a_key_of_the_data_that_is_called_like_ours_is_kept_beside_it(tmp_path: Path) -> None:
    for loops, turns in ((1, [4]), (0, None)):
        folder = new_folder(tmp_path / f"run{loops}", NodeOutput("any", loops=loops))
        chunk = inputs(1)
        folder.add_inputs(chunk)
        node = NodeChunk("any", ["0"], [{"_turn": "mine", "_source_turn": "too"}], turns=turns)
        folder.add_chunk(0, [node], ["0"], {"chain_input": [0], "any": [0]}, chunk)
        folder.close(seal=True)
        ours = {"_turn": 4} if loops else {}
        wanted = {"_id": "0", **ours, "_source_turn": "mine", "_source_source_turn": "too"}
        assert lines(tmp_path / f"run{loops}/steps/any/000.jsonl") == [wanted]


def test_a_value_without_fields_comes_back_without_its_turn(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run", NodeOutput("any", int, loops=1))
    chunk = inputs(1)
    folder.add_inputs(chunk)
    node = NodeChunk("any", ["0", "0"], [5, 6], turns=[1, 2])
    folder.add_chunk(0, [node], ["0"], {"chain_input": [0], "any": [1]}, chunk)
    folder.close(seal=True)
    reader = RunReader(tmp_path / "run")
    assert list(reader.rows("any", bare=True)) == [5, 6]
    assert list(reader.rows("any", int)) == [5, 6]


def test_a_chunk_that_waited_on_disk_has_its_turns(tmp_path: Path) -> None:
    node = NodeOutput("write", Draft, loops=1)
    rows: list[tuple[str, int | list[int]]] = [("0", 1), ("0", 2)]
    direct, held = (new_folder(tmp_path / name, node) for name in ("direct", "held"))
    write(direct, rows)
    chunk = inputs(1)
    held.add_inputs(chunk)
    held.hold_chunk(MadeChunk(chunk, [made(rows)], ["0"], {"chain_input": [0], "write": [1]}), RunCount(rows=1), None)
    held.add_held(0)
    for folder in (direct, held):
        folder.close(seal=True)
    assert derived(tmp_path / "direct") == derived(tmp_path / "held")


@pytest.mark.parametrize("format", FORMATS)
def test_a_part_that_was_sealed_grows_again_with_its_turns(tmp_path: Path, format: Any) -> None:
    node = NodeOutput("write", Draft, loops=2)
    first, second = inputs(2), inputs(1, 1, 2)
    whole = new_folder(tmp_path / "whole", node, format=format)
    write(whole, [("0", [1, 1]), ("0", [2, 1]), ("1", [1, 1])], first)
    write(whole, [("2", [1, 3])], second)
    whole.close(seal=True)
    cut = new_folder(tmp_path / "cut", node, format=format)
    write(cut, [("0", [1, 1]), ("0", [2, 1]), ("1", [1, 1])], first)
    cut.close(seal=True)
    again = configured(
        RunFolder.reopen(tmp_path / "cut", "cut"), node, format=format, flat_columns=["chain_input", "write"]
    )
    assert again.before.chunk == 0
    write(again, [("2", [1, 3])], second)
    again.close(seal=True)
    assert list(RunReader(tmp_path / "cut").rows("write")) == list(RunReader(tmp_path / "whole").rows("write"))


@pytest.mark.parametrize("format", FORMATS)
def test_a_healed_rows_lines_take_the_place_of_all_its_lines(tmp_path: Path, format: Any) -> None:
    node = NodeOutput("write", Draft, loops=1)
    folder = new_folder(tmp_path / "run", node, format=format)
    write(folder, [("0", 1), ("1", 1), ("1", 2), ("2", 1)])
    folder.close(seal=True)
    reopened = RunFolder.reopen(tmp_path / "run", "run", "heal")
    begin(tmp_path / "run", {"calls": {}})
    again = configured(reopened, node, format=format, flat_columns=["chain_input", "write"])
    chunk = inputs(3)
    chunk.again = Again(frozenset(), {}, frozenset({1}))
    healed = made([("1", 1), ("1", 2), ("1", 3)], "healed")
    again.add_chunk(0, [healed], ["1"], {"chain_input": [1], "write": [2]}, chunk)
    again.close(seal=True)
    rows = list(RunReader(tmp_path / "run").rows("write"))
    assert [(row["_id"], row["_turn"], row["draft"]) for row in rows] == [
        ("0", 1, "draft 1"),
        ("1", 1, "healed 1"),
        ("1", 2, "healed 2"),
        ("1", 3, "healed 3"),
        ("2", 1, "draft 1"),
    ]


def test_a_failure_says_its_turn_and_only_where_there_is_one(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run", NodeOutput("write", Draft, loops=1))
    chunk = inputs(2)
    folder.add_inputs(chunk)
    failures = [
        Failure("0", "write", "schema", "no", turns=(2,)),
        Failure("1", "write", "schema", "no", turns=(2, 1)),
        Failure("2", "write", "schema", "no"),
    ]
    node = NodeChunk("write", [], [], failures, turns=[])
    folder.add_chunk(0, [node], [], {"chain_input": [], "write": []}, chunk)
    folder.close(seal=True)
    records = lines(tmp_path / "run/failed/write.jsonl")
    assert [record.get("_turn") for record in records] == [2, [2, 1], None]
    assert "_turn" not in records[2]
    assert list(RunReader(tmp_path / "run").failures("write")) == failures


def looped(start: int, step: int = 1, keep: Any = "all", goal: int = 3, **options: Any) -> RunReader:
    def add(row: Number) -> Number:
        return Number(number=row.number + step)

    loop = while_loop([apply(add)], until=lambda row: row.number >= goal, max_iterations=9, keep=keep)
    numbers = [Number(number=start), Number(number=goal)]
    return RunReader(Chain(name="c", steps=[loop, apply(add, id="last")]).run(numbers, **options).folder)


def of_add(compared: Comparison) -> Any:
    return next(node for node in compared.nodes if node.id == "add")


def test_turns_are_compared_with_the_same_turns_of_the_other_run() -> None:
    found = of_add(compare(looped(0), looped(-1)))
    assert (found.same, found.changed, found.added, found.gone) == (0, 3, 1, 0)
    assert [(example.before["_turn"], example.after["_turn"]) for example in found.examples[:3]] == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]


def test_where_only_the_last_turn_is_kept_it_is_compared_with_the_other_runs_last() -> None:
    found = of_add(compare(looped(0, keep="last"), looped(-1, keep="last")))
    assert (found.same, found.changed, found.added, found.gone) == (0, 1, 0, 0)
    assert dict(found.fields) == {"_turn": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_with_turns_that_was_cut_off_ends_as_an_undisturbed_one(tmp_path: Path, format: Any) -> None:
    def add(row: Number) -> Number:
        return Number(number=row.number + 1)

    loop = while_loop([apply(add)], until=lambda row: row.number >= 5, max_iterations=9, keep="all")
    chain = Chain(name="c", steps=[loop])
    numbers = [Number(number=n % 5) for n in range(20)]
    options = {"chunk_size": 3, "max_lines_per_file": 4, "format": format}
    whole = chain.run(numbers, tmp_path / "whole", **options).folder
    run = as_killed(chain.run(numbers, tmp_path / "run", **options).folder)
    commits = run / "commits.jsonl"
    commits.write_bytes(b"".join(commits.read_bytes().splitlines(keepends=True)[:14]))
    assert chain.run(numbers, resume=run).state == "done"
    assert derived(run) == derived(whole)
    assert counts(run) == counts(whole)


def test_a_remote_folder_holds_the_same_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        there = looped(0, output_dir="memory://turns/run")
        assert [row["_turn"] for row in there.rows("add")] == [1, 2, 3]
        stored = MemoryFileSystem.store["/turns/run/steps/add/000.jsonl"].getvalue()
        assert [json.loads(line)["_turn"] for line in stored.splitlines()] == [1, 2, 3]
    finally:
        for path in [path for path in MemoryFileSystem.store if path.startswith("/turns")]:
            del MemoryFileSystem.store[path]
