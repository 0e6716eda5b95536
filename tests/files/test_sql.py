"""A run's tables in SQL: what they hold, and that nothing else can be reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chainette.errors import RunFolderError
from chainette.files import NodeOutput, RunFolder
from chainette.files.reading import RunReader
from chainette.files.tables.sql import RunSql
from chainette.rows import Failure, InputChunk, NodeChunk


class Place(BaseModel):
    name: str
    people: int


class Answer(BaseModel):
    answer: str
    score: float | None = None
    count: int = 0
    made: datetime = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    places: list[Place] = []
    about: dict[str, Any] = {}


def run(path: Path, count: int = 7, format: Any = "jsonl", of: Any = Answer, **values: Any) -> Path:
    folder = RunFolder.create(path, "Test")
    nodes = [NodeOutput("outer/in ner", of), NodeOutput("none", of)]
    folder.configure(nodes, format=format, max_lines_per_file=3)
    schema = of.model_json_schema(mode="serialization")
    folder.write_graph(
        {
            "execution_order": [{"id": node.node_id} for node in nodes],
            "nodes": [{"id": node.node_id, "type": "step", "schema": schema} for node in nodes],
            "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
            "options": {"max_lines_per_file": 3},
        }
    )
    ids = [str(n) for n in range(count)]
    made = [of(answer=f"é {n}", count=n, **values) for n in range(count)]
    chunk = InputChunk(0, 0, ids, made, [{"text": str(n)} for n in range(count)])
    folder.add_inputs(chunk)
    failures = [Failure("9", "none", "schema", "no", raw="x", cause=("a.py:1",))]
    folder.add_chunk(
        0,
        [NodeChunk("outer/in ner", ids, made), NodeChunk("none", [], [], failures)],
        ids,
        {"chain_input": range(count), "outer/in ner": range(count)},
        chunk,
    )
    folder.close(seal=True)
    return path


def ask(path: Path, query: str, **how: Any) -> list[tuple[Any, ...]]:
    with RunSql(RunReader(path)) as database:
        return database.ask(query, **how).rows


STEP = '"outer/in ner"'


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_step_is_a_table_with_the_types_of_its_model(tmp_path: Path, format: Any) -> None:
    path = run(tmp_path / "r", format=format, score=0.5, places=[Place(name='a, "b"', people=3)], about={"k": [1]})
    assert ask(path, f"select _id, answer, score, count, made from {STEP} where count > 4 order by count") == [
        (str(n), f"é {n}", 0.5, n, datetime(2026, 1, 2, 3, 4)) for n in (5, 6)
    ]
    assert ask(
        path, f"select places[1].name, sum(places[1].people), min(about ->> '$.k[0]') from {STEP} group by 1"
    ) == [('a, "b"', 21, "1")]
    types = dict(ask(path, f"select column_name, column_type from (describe {STEP})"))
    assert (types["score"], types["count"], types["made"]) == ("DOUBLE", "BIGINT", "TIMESTAMP")
    assert types["places"] == 'STRUCT("name" VARCHAR, people BIGINT)[]'


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_null_and_an_empty_text_are_told_apart(tmp_path: Path, format: Any) -> None:
    class Texts(BaseModel):
        answer: str
        count: int
        note: str | None = None

    path = run(tmp_path / "a", format=format, of=Texts, note="")
    assert ask(path, f"select count(*) from {STEP} where note = ''") == [(7,)]
    path = run(tmp_path / "b", format=format, of=Texts)
    assert ask(path, f"select count(*) from {STEP} where note is null") == [(7,)]


def test_inputs_flattened_rows_failures_and_calls_are_tables(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    assert ask(path, "select sum(text::int) from chain_input") == [(21,)]
    assert ask(path, 'select max("outer/in ner.answer") from flattened') == [("é 6",)]
    assert ask(path, "select _id, step, kind, cause[1] from failed") == [("9", "none", "schema", "a.py:1")]
    assert ask(path, "select count(*) from calls") == [(0,)]
    assert ask(path, "select count(*), max(answer) from none") == [(0, None)]
    calls = path / "calls" / "outer__in ner"
    calls.mkdir(parents=True)
    (calls / "000.jsonl").write_text('{"_id":"1","key":"k","text":["a"],"usage":{"prompt_tokens":4},"seconds":0.5}\n')
    assert ask(path, "select step, text, usage.prompt_tokens, seconds from calls") == [
        ("outer/in ner", '["a"]', 4, 0.5)
    ]


@pytest.mark.parametrize("name", ["a*b", "w[ei]rd", "it's", "q?", 'two "words"', "ü x"])
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    (tmp_path / "weird").mkdir()
    path = run(tmp_path / name)
    assert ask(path, f"select count(*) from {STEP}") == [(7,)]


def test_half_a_line_at_the_end_of_a_growing_file_is_no_row(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    with open(path / "steps/outer__in ner/002.jsonl", "ab") as file:
        file.write(b'{"_id":"7","ans')
    assert ask(path, f"select count(*), max(count) from {STEP}") == [(7, 6)]


def test_a_damaged_row_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    part = path / "steps/outer__in ner/000.jsonl"
    part.write_bytes(part.read_bytes().replace(b'"count":1', b'"count":!'))
    with pytest.raises(RunFolderError, match=r"r/steps/outer__in ner/000\.jsonl"):
        ask(path, f"select max(count) from {STEP}")


def test_an_integer_of_any_size_is_read(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    part = path / "steps/outer__in ner/000.jsonl"
    part.write_bytes(part.read_bytes().replace(b'"count":1', b'"count":100000000000000000001'))
    assert ask(path, f"select max(count) from {STEP}") == [(100000000000000000001,)]
    with RunSql(RunReader(path)) as database:
        batches = list(database.stream(f"select count from {STEP} order by count"))
    assert [row[0] for batch in batches for row in batch] == [0, 2, 3, 4, 5, 6, 100000000000000000001]


@pytest.mark.parametrize(
    "query",
    [
        "copy chain_input to '{to}'",
        "create table t as select 1",
        "insert into chain_input values ('1', 'x')",
        "attach '{to}'",
        "install httpfs",
        "load httpfs",
        "set memory_limit = '100GB'",
        "pragma database_list",
        "explain analyze copy chain_input to '{to}'",
        "export database '{to}'",
        "call pragma_version()",
        "select 1; select 2",
        "",
        "-- nothing",
    ],
)
def test_only_one_select_is_taken(tmp_path: Path, query: str) -> None:
    path = run(tmp_path / "r")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunFolderError):
        ask(path, query.format(to=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_text('{file}')",
        "select * from '{file}'",
        "select * from read_csv('{file}')",
        "select * from read_json('{file}')",
        "select * from read_blob('{run}/graph.json')",
        "select * from glob('{run}/*')",
        "select * from read_parquet('https://example.invalid/x.parquet')",
    ],
)
def test_no_other_file_can_be_read(tmp_path: Path, query: str) -> None:
    path = run(tmp_path / "r")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(RunFolderError):
        ask(path, query.format(file=secret, run=path))


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ("select * from flatened", 'tables: did you mean "flattened"?'),
        ("select txt from chain_input", 'columns: did you mean "text"?'),
        ("select outer/in ner.answer from chain_input", 'this name stands in quotes: "outer/in ner"'),
        ("select chain_input.count from flattened", 'names with a dot stand in quotes: "chain_input.count"'),
    ],
)
def test_a_wrong_query_is_answered_with_the_nearest_name(tmp_path: Path, query: str, note: str) -> None:
    with pytest.raises(RunFolderError, match="SQL: ") as error:
        ask(run(tmp_path / "r"), query)
    assert note in error.value.__notes__


def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_works(tmp_path: Path) -> None:
    with RunSql(RunReader(run(tmp_path / "r"))) as database:
        with pytest.raises(RunFolderError, match=r"stopped after 0\.2 s"):
            database.ask("select sum(a.range * b.range) from range(10000000) a, range(10000000) b", timeout_s=0.2)
        assert database.ask("select 1").rows == [(1,)]


def test_an_answer_is_given_row_by_row_and_says_whether_there_is_more(tmp_path: Path) -> None:
    with RunSql(RunReader(run(tmp_path / "r"))) as database:
        answer = database.ask("select range as n from range(5000)", max_rows=3)
        assert (answer.rows, answer.more) == ([(0,), (1,), (2,)], True)
        assert answer.columns == [("n", "BIGINT")]
        assert not database.ask("select 1").more
        assert sum(len(batch) for batch in database.stream("select * from range(5000)")) == 5_000


def test_a_step_that_is_called_as_another_table_is_the_one_that_is_meant(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    graph = json.loads((path / "graph.json").read_text())
    graph["execution_order"].append({"id": "Flattened"})
    graph["nodes"].append({"id": "Flattened", "written": True})
    (path / "graph.json").write_text(json.dumps(graph))
    (path / "steps/Flattened").mkdir()
    (path / "steps/Flattened/000.jsonl").write_text('{"_id":"0","value":4}\n')
    assert ask(path, "select value from flattened") == [(4,)]


def test_nothing_of_a_query_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    ask(run(tmp_path / "r"), "select 1")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_very_long_row_is_read(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    with open(path / "steps/outer__in ner/002.jsonl", "ab") as file:
        file.write(b'{"_id":"7","answer":"' + b"x" * (20 << 20) + b'"}\n')
    assert ask(path, f"select max(length(answer)) from {STEP}") == [(20 << 20,)]
