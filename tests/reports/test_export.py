"""One table out of a run: the rows, the columns and their types, and what stands there when it fails."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainette import Chain, apply
from chainette.errors import RunFolderError
from chainette.files.columns import Survey
from chainette.files.delivery import delivered
from chainette.files.reading import RunReader
from chainette.files.schema import json_columns, unpacked
from chainette.files.tabling import write_parquet
from chainette.reports.export import Export, Wanted, format_of
from tests.reports.small_runs import Text, engine, numbers, two_steps


def exported(reader: RunReader, target: Path, **wanted: Any) -> Path:
    export = Export(reader, Wanted(**wanted))
    with delivered(str(target)) as stream:
        export.write(stream, format_of(str(target)))
    return target


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_jsonl_is_the_run_s_own_lines(tmp_path):
    reader = two_steps(tmp_path / "run")
    assert exported(reader, tmp_path / "a.jsonl").read_bytes() == (tmp_path / "run/flattened/000.jsonl").read_bytes()
    assert (
        exported(reader, tmp_path / "b.jsonl", step="facts").read_bytes()
        == (tmp_path / "run/steps/facts/000.jsonl").read_bytes()
    )


def test_parquet_has_the_types_of_the_models_also_where_all_values_are_null(tmp_path):
    table = pq.read_table(exported(two_steps(tmp_path / "run"), tmp_path / "a.parquet"))
    assert table.schema.field("chain_input.stars").type == pa.int64()
    assert table.schema.field("facts.tags").type == pa.list_(pa.string())
    assert table.schema.field("facts.place").type == pa.struct([("city", pa.string()), ("since", pa.date32())])
    assert table.column("facts.place").to_pylist() == [{"city": "Köln", "since": date(2026, 1, 31)}, None]
    assert table.column("_id").to_pylist() == ["0", "1"]
    assert table.column_names[:3] == ["_id", "chain_input.text", "chain_input.stars"]


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_run_in_another_format_gives_the_same_lines(tmp_path, format):
    plain = exported(two_steps(tmp_path / "plain"), tmp_path / "a.jsonl")
    other = exported(two_steps(tmp_path / "other", format=format), tmp_path / "b.jsonl")
    assert lines(other) == lines(plain)


def test_csv_keeps_text_null_and_nested_values_apart(tmp_path):
    text = exported(two_steps(tmp_path / "run"), tmp_path / "a.csv").read_text(encoding="utf-8")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["chain_input.stars"], second["chain_input.stars"]) == ("5", "")
    assert json.loads(first["facts.place"]) == {"city": "Köln", "since": "2026-01-31"}
    assert second["judge.verdict"] == 'keep, "said" it\nonce'
    assert second["facts.product"] == "=1+1"


def test_for_a_spreadsheet_formulas_are_text_and_the_file_says_that_it_is_utf_8(tmp_path):
    reader = two_steps(tmp_path / "run")
    data = exported(reader, tmp_path / "a.csv", spreadsheet=True).read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[1]["facts.product"] == "'=1+1"
    with delivered(str(tmp_path / "b.csv")) as stream:
        assert Export(reader, Wanted()).write(stream, "csv").formulas == 1


def test_chosen_columns_stand_in_that_order_and_reach_below_their_keys(tmp_path):
    reader = two_steps(tmp_path / "run")
    wanted = ("judge.verdict", "facts.place.city", "_id")
    assert lines(exported(reader, tmp_path / "a.jsonl", columns=wanted, names={"judge.verdict": "said"})) == [
        {"said": "buy", "facts.place.city": "Köln", "_id": "0"},
        {"said": 'keep, "said" it\nonce', "facts.place.city": None, "_id": "1"},
    ]
    assert pq.read_table(exported(reader, tmp_path / "a.parquet", columns=wanted)).column_names == list(wanted)


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    with pytest.raises(RunFolderError, match=r'"judge.verdikt" \(did you mean "judge.verdict"\?\)'):
        Export(two_steps(tmp_path / "run"), Wanted(columns=("judge.verdikt",)))


def test_columns_that_no_model_declares_come_from_the_values(tmp_path):
    values = [{"a": 1, "b": "x"}, {"a": 2.5, "b": 7}, {"c": [1, None], "d": {"e": 1}, "a": None, "big": 2**70}]

    def given(row: dict[str, Any]) -> dict[str, Any]:
        return values[row["n"]]

    Chain(name="Any", steps=[apply(given)]).run([{"n": n} for n in range(3)], tmp_path / "run")
    table = pq.read_table(exported(RunReader(tmp_path / "run"), tmp_path / "a.parquet", step="given"))
    assert table.column("a").to_pylist() == [1.0, 2.5, None]
    assert table.column("b").to_pylist() == ['"x"', "7", None]
    assert table.column("c").to_pylist() == [None, None, [1, None]]
    assert table.column("d").to_pylist() == [None, None, '{"e":1}']
    assert table.column("big").to_pylist() == [None, None, str(2**70)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), min_size=1, max_size=6))
@example([{"a": 2**60 + 1}, {"a": 0.5}])
@example([{"a": []}, {"a": 1}, {"a": [2**53 + 1]}, {"a": [0.5]}])
def test_no_value_is_lost_whatever_the_rows_hold(rows):
    rows = [{"_id": str(n), **row} for n, row in enumerate(rows)]
    survey = Survey([])
    for row in rows:
        survey.see(row)
    stream = io.BytesIO()
    write_parquet(stream, rows, survey.columns())
    table = pq.read_table(io.BytesIO(stream.getvalue()))
    back = unpacked(table.to_pylist(), json_columns(table.schema))
    assert back == [{name: row.get(name) for name in table.column_names} for row in rows]


def test_failed_rows_are_a_table_of_their_own(tmp_path):
    engine(answers={"About: a lamp": "no JSON"})
    from tests.reports.small_runs import FACTS

    run = Chain(name="Failing", steps=[FACTS.with_(retries=0)])
    run.run([Text(text="a lamp")], tmp_path / "run", max_failed=1)
    (row,) = lines(exported(RunReader(tmp_path / "run"), tmp_path / "a.jsonl", failed=True))
    assert (row["_id"], row["step"], row["kind"], row["raw"]) == ("0", "facts", "schema", "no JSON")
    assert pq.read_table(exported(RunReader(tmp_path / "run"), tmp_path / "a.parquet", failed=True)).num_rows == 1


def test_a_compressed_file_reads_as_the_plain_one(tmp_path):
    from chainette.files.inputs import open_input

    reader = numbers(tmp_path / "run", 50)
    plain = exported(reader, tmp_path / "a.jsonl").read_bytes()
    assert gzip.decompress(exported(reader, tmp_path / "a.jsonl.gz").read_bytes()) == plain
    chunks = open_input(exported(reader, tmp_path / "a.jsonl.zst")).chunks(1_000)
    assert [row["_id"] for chunk in chunks for row in chunk.rows] == [str(n) for n in range(50)]


def test_the_same_rows_are_the_same_bytes(tmp_path):
    reader = numbers(tmp_path / "run", 20)
    for ending in ("jsonl.gz", "parquet", "csv"):
        one, other = (exported(reader, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert one == other


def test_a_file_that_is_there_is_not_replaced_unless_that_is_said(tmp_path):
    target = tmp_path / "a.jsonl"
    target.write_text("mine")
    with pytest.raises(RunFolderError, match="exists \\(--force replaces it\\)"), delivered(str(target)):
        pass
    assert target.read_text() == "mine"
    with delivered(str(target), force=True) as stream:
        stream.write(b"new")
    assert target.read_text() == "new"


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path):
    def fill() -> None:
        with delivered(str(tmp_path / "a.jsonl")) as stream:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunFolderError, match="the disk is full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_rows_go_to_a_store_by_url(tmp_path):
    import fsspec

    export = Export(numbers(tmp_path / "run", 3), Wanted())
    with delivered("memory://out/rows.jsonl") as stream:
        export.write(stream, "jsonl")
    assert len(fsspec.filesystem("memory").cat("/out/rows.jsonl").splitlines()) == 3
    with pytest.raises(RunFolderError, match="exists"), delivered("memory://out/rows.jsonl"):
        pass


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"step": "squar"}, 'did you mean "square"'),
        ({"failed": True}, "no row failed"),
        ({}, "run with --no-flattened"),
    ],
)
def test_where_there_is_nothing_the_error_says_why(tmp_path, wanted, message):
    reader = numbers(tmp_path / "run", 2, flattened=False)
    with pytest.raises(RunFolderError, match=message):
        Export(reader, Wanted(**wanted))


def test_a_run_that_ended_well_without_rows_gives_empty_tables_with_the_columns_of_the_models(tmp_path):
    reader = two_steps(tmp_path / "run", [])
    assert exported(reader, tmp_path / "a.jsonl").read_bytes() == b""
    head = '"_id","chain_input.text","chain_input.stars","facts.product","facts.tags","facts.place","judge.verdict"\n'
    assert exported(reader, tmp_path / "a.csv").read_text() == head
    table = pq.read_table(exported(reader, tmp_path / "a.parquet", step="facts"))
    assert (table.num_rows, table.column_names) == (0, ["_id", "product", "tags", "place"])
    assert table.schema.field("place").type == pa.struct([("city", pa.string()), ("since", pa.date32())])
    chosen = {"columns": ("place.city", "_id"), "names": {"_id": "id"}}
    assert exported(reader, tmp_path / "b.csv", step="facts", **chosen).read_text() == '"place.city","id"\n'
    with pytest.raises(RunFolderError, match='did you mean "product"'):
        Export(reader, Wanted(step="facts", columns=("produkt",)))


def test_a_table_without_rows_whose_columns_no_model_declares_has_those_that_are_asked_for(tmp_path):
    reader = numbers(tmp_path / "run", 0)
    assert exported(reader, tmp_path / "a.csv", step="square").read_text() == '"_id"\n'
    assert exported(reader, tmp_path / "b.csv", step="square", columns=("n", "_id")).read_text() == '"n","_id"\n'


def test_rows_that_were_made_and_are_gone_are_no_empty_table(tmp_path):
    reader = numbers(tmp_path / "run", 2)
    (tmp_path / "run/steps/square/000.jsonl").unlink()
    with pytest.raises(RunFolderError, match="has no rows"):
        Export(RunReader(reader.path), Wanted(step="square"))


@pytest.mark.parametrize("name", ["rows", "rows.xlsx", "rows.parquet.gz"])
def test_an_ending_that_says_no_format_is_refused(name):
    with pytest.raises(RunFolderError, match=r"ending|compressed in itself"):
        format_of(name)
