"""What a run leaves on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, computed_field

from chainette.errors import RunFolderError
from chainette.files import NodeOutput, RunFolder, folder_name
from chainette.files.reading import RunReader
from chainette.rows import Failure, InputChunk, NodeChunk


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    answer: str
    score: float = 0.5


class Colour(Enum):
    RED = "red"


class Everything(BaseModel):
    text: str | None
    whole: int
    share: float
    yes: bool
    day: date
    at: datetime
    colour: Colour
    kind: Literal["a", "b"]
    tags: list[str]
    nested: Answer
    many: list[Answer]
    table: dict[str, int]
    either: int | str
    anything: Any

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.whole * 2


EVERYTHING = Everything(
    text='é "x",\n\x00',
    whole=3,
    share=0.25,
    yes=True,
    day=date(2026, 1, 31),
    at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    colour=Colour.RED,
    kind="a",
    tags=["x", "y"],
    nested=Answer(answer="n"),
    many=[Answer(answer="m")],
    table={"k": 1},
    either="e",
    anything={"z": [1, None]},
)


def inputs(values: Sequence[Any], index: int = 0, first: int = 0) -> InputChunk:
    ids = [str(first + i) for i in range(len(values))]
    raw = [value.model_dump(mode="json") if isinstance(value, BaseModel) else {"value": 0} for value in values]
    return InputChunk(index, first, ids, list(values), raw)


def made(tmp_path: Path, nodes: Sequence[NodeOutput], name: str = "run", **options: Any) -> RunFolder:
    folder = RunFolder.create(tmp_path / name, "Test")
    folder.configure(nodes, **options)
    folder.write_graph({"execution_order": [{"id": node.node_id, "name": node.node_id} for node in nodes]})
    return folder


def write_all(folder: RunFolder, values: Sequence[Any], node_id: str = "qa", chunk: int = 1_000) -> None:
    for index, first in enumerate(range(0, len(values), chunk)):
        part = list(values[first : first + chunk])
        questions = inputs([Question(text=str(n)) for n in range(first, first + len(part))], index, first)
        folder.add_inputs(questions)
        positions = range(len(part))
        flat = {"chain_input": positions, node_id: positions}
        folder.add_chunk(index, [NodeChunk(node_id, questions.ids, part)], questions.ids, flat, questions)
        if index % 3 == 0:
            folder.sync()
    folder.close(seal=True)


def files(root: Path) -> dict[str, bytes]:
    """Everything in the folder by its name, but for what says who writes it and when."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in (".lock", "commits.jsonl")
    }


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_run_lands_under_its_chains_name_and_the_time(tmp_path: Path) -> None:
    folder = RunFolder.create(None, "Été / ../ 概要!", runs_dir=tmp_path)
    assert folder.path == tmp_path / folder.run_id
    assert folder.run_id.rsplit("-", 3)[0] == "été-概要"
    folder.close(seal=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: (path.mkdir(), (path / "a.txt").write_text("x")), "is not empty: a.txt"),
        (lambda path: (path.mkdir(), (path / "status.json").write_text("{}")), "holds a run already"),
    ],
)
def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "out")
    with pytest.raises(RunFolderError, match=message):
        RunFolder.create(tmp_path / "out", "x")


@pytest.mark.parametrize(
    "documents", [["graph.json"], ["status.json"], ["graph.json", "status.json", ".status.json.tmp"]]
)
def test_what_a_run_left_that_never_began_makes_way(tmp_path: Path, documents: list[str]) -> None:
    RunFolder.create(tmp_path / "out", "x").close(seal=False)
    for name in documents:
        (tmp_path / "out" / name).write_text('{"run_id":"x-1","state":"stopped"}')
    folder = RunFolder.create(tmp_path / "out", "x")
    assert not any((folder.path / name).exists() for name in documents)
    folder.close(seal=False)


@pytest.mark.parametrize(
    "kept",
    [
        {"status.json": '{"run_id":"x-1","state":"done"}'},
        {"graph.json": '{"run_id":"x-1"}', "events.jsonl": "{}\n"},
        {"graph.json": '{"run_id":"x-1"}', "inputs": '{"_id":"0"}\n'},
        {"graph.json": '{"nodes":[]}'},
        {"graph.json": "nonsense"},
    ],
)
def test_a_run_that_began_is_left_alone(tmp_path: Path, kept: dict[str, str]) -> None:
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunFolderError, match="holds a run already"):
        RunFolder.create(tmp_path, "x")
    assert {name: (tmp_path / name).read_text() for name in kept} == kept


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "out", "x")
    code = f"from chainette.files import RunFolder; RunFolder.create({str(tmp_path / 'out')!r}, 'x')"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"is being written by process {os.getpid()}" in second.stderr
    folder.close(seal=True)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_layout_is_the_one_of_the_docs(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("outer/qa", Answer), NodeOutput("hidden", Answer, written=False)])
    questions = inputs([Question(text="é"), Question(text="b")])
    folder.add_inputs(questions)
    failure = Failure("1", "outer/qa", "schema", "no", attempts=2, raw="{", cause=("a.py:3",))
    answers = [Answer(answer="A")]
    folder.add_chunk(
        0,
        [NodeChunk("outer/qa", ["0"], answers, [failure]), NodeChunk("hidden", ["0"], answers)],
        ["0"],
        {"chain_input": [0], "outer/qa": [0], "hidden": [-1]},
        questions,
    )
    folder.log_call("outer/qa", b'{"key":"k"}')
    folder.log_event(b'{"event":"e"}')
    folder.write_status({"state": "done"})
    folder.close(seal=True)
    path = folder.path
    assert sorted(files(path)) == [
        "calls/outer__qa/000.jsonl",
        "events.jsonl",
        "failed/outer__qa.jsonl",
        "flattened/000.jsonl",
        "graph.json",
        "inputs/000.jsonl",
        "status.json",
        "steps/outer__qa/000.jsonl",
    ]
    assert (path / "inputs/000.jsonl").read_text() == '{"_id":"0","text":"é"}\n{"_id":"1","text":"b"}\n'
    assert (path / "steps/outer__qa/000.jsonl").read_text() == '{"_id":"0","answer":"A","score":0.5}\n'
    flat = {"_id": "0", "chain_input.text": "é", "outer/qa.answer": "A", "outer/qa.score": 0.5}
    assert lines(path / "flattened/000.jsonl") == [{**flat, "hidden.answer": None, "hidden.score": None}]
    (failed,) = lines(path / "failed/outer__qa.jsonl")
    assert failed == {"_id": "1", "kind": "schema", "message": "no", "attempts": 2, "raw": "{", "cause": ["a.py:3"]}
    assert {c["file"]: c["bytes"] for c in lines(path / "commits.jsonl") if "file" in c} == {
        name: len(data)
        for name, data in files(path).items()
        if name.split("/")[0] in ("inputs", "steps", "flattened", "failed")
    }


def test_rows_that_do_not_fit_the_input_are_failures_of_it(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    questions = inputs([Failure("0", "chain_input", "input", "bad"), Question(text="b")])
    folder.add_chunk(
        0, [NodeChunk("qa", ["1"], [Answer(answer="x")])], ["1"], {"chain_input": [1], "qa": [0]}, questions
    )
    folder.close(seal=True)
    assert [f["_id"] for f in lines(folder.path / "failed/chain_input.jsonl")] == ["0"]
    assert lines(folder.path / "flattened/000.jsonl")[0]["chain_input.text"] == "b"


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 40), chunk=st.integers(1, 17), other=st.integers(1, 50), part=st.integers(1, 13))
def test_the_bytes_are_the_same_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, count: int, chunk: int, other: int, part: int
) -> None:
    root = tmp_path_factory.mktemp("roll")
    values = [Answer(answer=f"é{n}\n", score=n / 7) for n in range(count)]
    for name, size in (("one", chunk), ("two", other)):
        folder = made(root, [NodeOutput("qa", Answer)], name, max_lines_per_file=part, input_type=Question)
        write_all(folder, values, chunk=size)
    assert files(root / "one") == files(root / "two")
    step = [lines(path) for path in sorted((root / "one" / "steps/qa").glob("*"))]
    assert [len(rows) for rows in step[:-1]] == [part] * (len(step) - 1)
    assert [row["_id"] for rows in step for row in rows] == [str(n) for n in range(count)]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_every_format_has_every_row_and_no_empty_part(tmp_path: Path, format: Any, count: int) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)], format=format, max_lines_per_file=3, input_type=Question)
    values = [Answer(answer=f"a{n}", score=n + 0.5) for n in range(count)]
    write_all(folder, values, chunk=2)
    found = list((folder.path / "steps").rglob("*.*"))
    assert sorted(path.name for path in found) == [f"00{n}.{format}" for n in range((count + 2) // 3)]
    assert not (folder.path / ".open").exists()
    reader = RunReader(folder.path)
    assert list(reader.rows("qa", Answer)) == values
    flat = [
        {"_id": str(n), "chain_input.text": str(n), "qa.answer": f"a{n}", "qa.score": n + 0.5} for n in range(count)
    ]
    assert list(reader.flattened()) == flat


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_datasets_and_arrow_read_a_steps_folder_as_it_is(tmp_path: Path, format: Any) -> None:
    import datasets
    import pyarrow.dataset as arrow

    folder = made(tmp_path, [NodeOutput("qa", Answer)], format=format, max_lines_per_file=3, input_type=Question)
    write_all(folder, [Answer(answer=f"a{n}", score=n + 0.5) for n in range(8)])
    steps = str(folder.path / "steps" / "qa")
    wanted = [f"a{n}" for n in range(8)]
    table = arrow.dataset(steps, format={"jsonl": "json"}.get(format, format)).to_table()
    assert table.column_names == ["_id", "answer", "score"]
    assert table["answer"].to_pylist() == wanted
    loaded = datasets.load_dataset(steps, split="train", cache_dir=str(tmp_path / "cache"))
    assert list(loaded["answer"]) == wanted
    by_name = {"jsonl": "json"}.get(format, format)
    named = datasets.load_dataset(by_name, data_dir=steps, split="train", cache_dir=str(tmp_path / "cache"))
    assert list(named["score"]) == [n + 0.5 for n in range(8)]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_every_kind_of_field_comes_back(tmp_path: Path, format: Any) -> None:
    none = EVERYTHING.model_copy(update={"text": None, "tags": [], "many": [], "anything": None, "either": 1})
    folder = made(tmp_path, [NodeOutput("all", Everything)], format=format, input_type=Question)
    write_all(folder, [EVERYTHING, none], "all")
    assert list(RunReader(folder.path).rows("all", Everything)) == [EVERYTHING, none]


def test_all_parquet_parts_have_the_schema_of_the_model(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    none = EVERYTHING.model_copy(update={"text": None, "tags": [], "many": [], "anything": None, "either": 1})
    folder = made(
        tmp_path, [NodeOutput("all", Everything)], format="parquet", max_lines_per_file=1, input_type=Question
    )
    write_all(folder, [EVERYTHING, none], "all")
    first, second = (parquet.read_schema(path) for path in sorted((folder.path / "steps/all").glob("*")))
    assert first.equals(second, check_metadata=True)
    answer = pa.struct([("answer", pa.string()), ("score", pa.float64())])
    assert {field.name: field.type for field in first} == {
        "_id": pa.string(),
        "text": pa.string(),
        "whole": pa.int64(),
        "share": pa.float64(),
        "yes": pa.bool_(),
        "day": pa.date32(),
        "at": pa.timestamp("us", tz="UTC"),
        "colour": pa.string(),
        "kind": pa.string(),
        "tags": pa.list_(pa.string()),
        "nested": answer,
        "many": pa.list_(answer),
        "table": pa.string(),
        "either": pa.string(),
        "anything": pa.string(),
        "double": pa.int64(),
    }


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (int, [1, 2]),
        (str, ["a", ""]),
        (list[int], [[1], []]),
        (dict[str, int], [{"a": 1}, {"b": 2, "value": 3}, {"value": 4}]),
        (Answer | int, [Answer(answer="x"), 3]),
        (Open, [Open(n=1, more="x"), Open(n=2)]),
        (Tree, [Tree(name="a", children=[Tree(name="b")])]),
        (dict, [{"a": 1}]),
    ],
)
def test_values_of_every_type_come_back(tmp_path: Path, format: Any, type_: Any, values: list[Any]) -> None:
    folder = made(tmp_path, [NodeOutput("x", type_)], format=format, input_type=Question)
    write_all(folder, values, "x")
    assert list(RunReader(folder.path).rows("x", type_)) == values


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_values_without_a_type_are_written_as_they_are(tmp_path: Path, format: Any) -> None:
    folder = made(tmp_path, [NodeOutput("x", Any)], format=format, input_type=Question)
    write_all(folder, [{"a": 1, "_id": "mine"}, 3, "s", None, Answer(answer="q")], "x")
    assert list(RunReader(folder.path).rows("x")) == [
        {"_id": "0", "a": 1, "_source_id": "mine"},
        {"_id": "1", "value": 3},
        {"_id": "2", "value": "s"},
        {"_id": "3", "value": None},
        {"_id": "4", "answer": "q", "score": 0.5},
    ]


def test_what_json_cannot_say_is_said_as_near_as_it_can_be(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("x", Any)])
    values = [float("nan"), 10**30, "a\ud800b", b"\xff", {1: {2, 1}}, [{"_id": "x"}, {"_id": "y"}]]
    write_all(folder, values, "x")
    rows = lines(folder.path / "steps/x/000.jsonl")
    assert [row.get("value") for row in rows[:4]] == [None, 10**30, "a�b", "data:;base64,/w=="]
    assert rows[4] == {"_id": "4", "1": [1, 2]}
    assert rows[5]["value"] == [{"_id": "x"}, {"_id": "y"}]


def test_a_value_that_is_not_of_the_declared_type_is_still_written(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    odd = Answer(answer="x")
    odd.score = "high"  # type: ignore[assignment]
    write_all(folder, [odd, Answer.model_construct(answer="y")])
    assert lines(folder.path / "steps/qa/000.jsonl")[0] == {"_id": "0", "answer": "x", "score": "high"}


def test_a_value_that_does_not_fit_its_column_stays_in_the_open_part(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("x", int)], format="parquet", input_type=Question, flattened=False)
    with pytest.raises(RunFolderError, match=r'x, row "1", field "value": 1000.* does not fit a column of int64'):
        write_all(folder, [1, 10**30], "x")
    assert [row["value"] for row in RunReader(folder.path).rows("x")] == [1, 10**30]
    assert not list((folder.path / "steps").rglob("*.parquet"))


def test_an_unsealed_run_can_be_read(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)], format="parquet", max_lines_per_file=2, input_type=Question)
    values = [Answer(answer=str(n)) for n in range(5)]
    questions = inputs([Question(text=str(n)) for n in range(5)])
    folder.add_chunk(0, [NodeChunk("qa", questions.ids, values)], questions.ids, {"qa": range(5)}, questions)
    folder.sync()
    assert sorted(path.name for path in (folder.path / "steps/qa").iterdir()) == ["000.parquet", "001.parquet"]
    assert list(RunReader(folder.path).rows("qa", Answer)) == values
    folder.close(seal=False)
    assert list(RunReader(folder.path).rows("qa", Answer)) == values


def test_commits_say_how_far_each_file_is_after_each_chunk(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)], max_lines_per_file=3, flattened=False)
    for index in range(2):
        questions = inputs([Question(text="x")] * 2, index, index * 2)
        folder.add_chunk(index, [NodeChunk("qa", questions.ids, [Answer(answer="a")] * 2)], [], {}, questions)
    assert not (folder.path / "commits.jsonl").exists()
    folder.sync()
    first, _, _full, second, _ = lines(folder.path / "commits.jsonl")
    size = len('{"_id":"0","answer":"a","score":0.5}\n')
    assert first == {"step": "qa", "chunk": 0, "file": "steps/qa/000.jsonl", "bytes": 2 * size, "rows": 2}
    assert second == {"step": "qa", "chunk": 1, "file": "steps/qa/001.jsonl", "bytes": size, "rows": 1}
    folder.close(seal=True)


def test_calls_roll_and_are_on_disk_after_a_sync(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    for n in range(100_001):
        folder.log_call("qa", b'{"n":%d}' % n)
    folder.sync()
    assert [len(lines(folder.path / f"calls/qa/00{n}.jsonl")) for n in (0, 1)] == [100_000, 1]
    assert next(iter(RunReader(folder.path).calls("qa"))) == {"n": 0}
    folder.close(seal=True)


def test_a_deleted_folder_is_noticed_and_not_made_again(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    folder.log_event(b"{}")
    folder.sync()
    shutil.rmtree(folder.path)
    folder.log_event(b"{}")
    with pytest.raises(RunFolderError, match="the folder is gone"):
        folder.sync()
    with pytest.raises(RunFolderError, match="the folder is gone"):
        folder.write_status({})
    with pytest.raises(RunFolderError, match="the folder is gone"):
        folder.add_inputs(inputs([Question(text="x")]))
    with pytest.raises(RunFolderError):
        folder.close(seal=True)
    assert not folder.path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so_and_keeps_the_records(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    (folder.path / "calls" / "qa").mkdir(parents=True)
    folder.log_call("qa", b'{"n":1}')
    folder.sync()
    calls = folder._log._files["qa"]
    assert calls._fd is not None
    real, full = os.dup(calls._fd), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, calls._fd)
    folder.log_call("qa", b'{"n":2}')
    with pytest.raises(RunFolderError, match="the disk is full"):
        folder.sync()
    os.dup2(real, calls._fd)
    os.close(real)
    os.close(full)
    folder.close(seal=True)
    assert lines(folder.path / "calls/qa/000.jsonl") == [{"n": 1}, {"n": 2}]


def test_a_file_that_cannot_be_sealed_leaves_no_empty_folder(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)], format="parquet", flattened=False)
    blocker = folder.path / ".open/steps/qa/.000.parquet.tmp"
    blocker.mkdir(parents=True)
    with pytest.raises(RunFolderError, match="cannot write"):
        write_all(folder, [Answer(answer="A")])
    assert not (folder.path / "steps").exists()
    assert len(lines(folder.path / ".open/steps/qa/000.jsonl")) == 1


def test_rows_that_are_read_after_the_end_are_not_written(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    folder.add_inputs(inputs([Question(text="x")]))
    folder.close(seal=True)
    before = (folder.path / "inputs/000.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match="was closed"):
        folder.add_inputs(inputs([Question(text="y")], 1, 1))
    assert (folder.path / "inputs/000.jsonl").read_bytes() == before


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("qa", Answer)])
    folder.close(seal=True)
    folder.close(seal=True)


@pytest.mark.parametrize(
    "node_id", ["..", ".", "a/../b", "/etc", "a\\b", "", " x", "x.", "ü" * 300, "a\nb", "%2F", "CON:"]
)
def test_a_folders_name_is_never_a_path(node_id: str) -> None:
    name = folder_name(node_id)
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\\" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 130


def test_two_nodes_never_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "out", "x")
    with pytest.raises(RunFolderError, match="would share the folder"):
        folder.configure([NodeOutput("a/b"), NodeOutput("a__b")])
    folder.close(seal=False)
