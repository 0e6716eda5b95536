"""Rows from everything that can be an input."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pydantic import BaseModel

from chainette.errors import InputError
from chainette.files import BadRow, open_input


class Review(BaseModel):
    text: str
    stars: int = 3


def rows(source: Any, size: int = 2, **options: Any) -> list[Any]:
    return [row for chunk in open_input(source, **options).chunks(size) for row in chunk.rows]


def places(source: Any, size: int = 2) -> list[str]:
    return [chunk.place(i) for chunk in open_input(source).chunks(size) for i in range(len(chunk.rows))]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_jsonl_keeps_the_numbers_of_its_lines_over_blank_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"n":1}\r\n\r\n  \n{"n":2}\n\n{"n":3}')
    assert rows(path) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert places(path) == [f"{path}:1", f"{path}:4", f"{path}:6"]
    assert open_input(path).total == 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_chunks_are_full_but_for_the_last_whatever_the_files(tmp_path: Path, size: int) -> None:
    for name, count in (("a2", 3), ("a10", 5), ("a1", 4)):
        write(tmp_path / f"{name}.jsonl", "".join(f'{{"f":"{name}","n":{n}}}\n' for n in range(count)))
    chunks = list(open_input(tmp_path).chunks(size))
    assert [len(c.rows) for c in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert [c.first for c in chunks] == list(range(0, 12, size))
    found = [(row["f"], row["n"]) for c in chunks for row in c.rows]
    assert found == [("a1", n) for n in range(4)] + [("a2", n) for n in range(3)] + [("a10", n) for n in range(5)]
    where = [c.place(i) for c in chunks for i in range(len(c.rows))]
    assert where[0] == f"{tmp_path}/a1.jsonl:1"
    assert where[4] == f"{tmp_path}/a2.jsonl:1"
    assert where[11] == f"{tmp_path}/a10.jsonl:5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"n": }', "not valid JSON: expected value at column 7"),
        (b'{"n": 1', "not valid JSON"),
        (b'{"n": NaN}', "write null"),
        (b'{"n": "\xff"}', "invalid UTF-8 at byte 8"),
        (b'{"n": 1}\x00', "NUL"),
        (b'{"n": 1} {"n": 2}', "trailing characters at column 10"),
        (b'{"n": "\\ud800"}', "surrogate"),
        (b'{"n": 1e999}', "beyond what a float can hold"),
    ],
)
def test_a_line_that_is_not_json_is_a_bad_row_in_its_place(tmp_path: Path, line: bytes, message: str) -> None:
    path = write(tmp_path / "a.jsonl", b'{"n":0}\n' + line + b'\n{"n":2}\n')
    first, bad, last = rows(path)
    assert (first, last) == ({"n": 0}, {"n": 2})
    assert isinstance(bad, BadRow)
    assert message in bad.message
    assert bad.place == f"{path}:2"


def test_integers_of_any_length_stay_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"n":123456789012345678901234567890}\n')
    assert rows(path) == [{"n": 123456789012345678901234567890}]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv", "a.json"):
        assert rows(write(tmp_path / name, b"")) == []


def test_json_is_a_list_or_one_object_or_one_after_the_other(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "list.json", '[\n {"n": 1},\n {"n": 2},\n {"n": 3}\n]\n')) == [
        {"n": n} for n in (1, 2, 3)
    ]
    assert rows(write(tmp_path / "one.json", '{"data": [1, 2]}')) == [{"data": [1, 2]}]
    assert rows(write(tmp_path / "lines.json", '{"n": 1}\n{"n": 2}\n')) == [{"n": 1}, {"n": 2}]
    assert rows(write(tmp_path / "none.json", "[]")) == []
    assert places(tmp_path / "list.json") == [f"{tmp_path}/list.json:{n}" for n in (2, 3, 4)]


def test_a_long_json_list_is_read_as_it_comes(tmp_path: Path) -> None:
    items = [{"n": n, "text": "x" * (n % 700)} for n in range(2_000)] + [{"big": "y" * 300_000}]
    assert rows(write(tmp_path / "a.json", json.dumps(items)), 100) == items


@pytest.mark.parametrize(
    "text", ['[{"n": 1}', '[{"n": 1} {"n": 2}]', '[{"n": 1},]', '[{"n": NaN}]', "[-1e999]", "[1] 2", '{"n":']
)
def test_json_that_is_broken_names_the_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", "\n" + text)
    with pytest.raises(InputError, match=r"a\.json:2: not valid JSON"):
        rows(path)


def test_a_json_list_named_jsonl_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name the file \.json"):
        rows(write(tmp_path / "a.jsonl", '[{"n": 1}, {"n": 2}]'))
    with pytest.raises(InputError, match=r"name the file \.json"):
        rows(write(tmp_path / "b.jsonl", '[\n{"n": 1},\n{"n": 2}\n]'))


def test_csv_values_stay_text_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufefftext,stars\r\n"two\nlines, and ""quotes""",5\r\n\r\nplain,\r\n')
    assert rows(path) == [{"text": 'two\nlines, and "quotes"', "stars": "5"}, {"text": "plain", "stars": None}]
    assert places(path) == [f"{path}:2", f"{path}:5"]


def test_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.tsv", "a\tb\n1,5\t2\n")) == [{"a": "1,5", "b": "2"}]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"1", "1 field, where the header has 2"),
        (b"1,2,3", "3 fields"),
        (b"\xff,2", "UTF-8"),
        (b'"x"y,2', "not valid CSV"),
    ],
)
def test_a_csv_record_that_does_not_fit_its_header_is_a_bad_row(tmp_path: Path, record: bytes, message: str) -> None:
    path = write(tmp_path / "a.csv", b"a,b\n" + record + b"\nx,y\n")
    bad, good = rows(path)
    assert isinstance(bad, BadRow)
    assert message in bad.message
    assert bad.place == f"{path}:2"
    assert good == {"a": "x", "b": "y"}


def test_a_quote_that_never_closes_is_not_the_rest_of_the_file(tmp_path: Path) -> None:
    found = rows(write(tmp_path / "a.csv", 'a,b\n1,2\n"3,4\n5,6\n'))
    assert found[0] == {"a": "1", "b": "2"}
    assert isinstance(found[1], BadRow)
    assert found[1].text == '"3,4\n5,6'


def test_the_refused_text_of_a_csv_record_is_kept_up_to_a_length(tmp_path: Path) -> None:
    *_, bad = rows(write(tmp_path / "a.csv", 'a,b\n"' + "é\n" * 100_000))
    assert bad.text == ('"' + "é\n" * 100_000)[:100_000]


def test_a_quote_inside_an_unquoted_csv_field_is_a_character(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", 'a,b\n5" pipe,x\n')) == [{"a": '5" pipe', "b": "x"}]


@pytest.mark.parametrize(
    ("text", "message"), [("a;b\n1;2\n", "semicolons"), ("a,a\n1,2\n", 'two columns are named "a"')]
)
def test_a_csv_header_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(write(tmp_path / "a.csv", text))


def test_compressed_files_are_read_like_plain_ones(tmp_path: Path) -> None:
    data = b'{"n":1}\n{"n":2}\n'
    write(tmp_path / "a.jsonl.gz", gzip.compress(data))
    frames = zstandard.compress(data) + zstandard.compress(b'{"n":3}\n')
    write(tmp_path / "b.jsonl.zst", frames)
    write(tmp_path / "c.csv.gz", gzip.compress(b"n\n4\n"))
    write(tmp_path / "d.json.zst", zstandard.compress(b'[{"n":5}]'))
    assert [row["n"] for row in rows(tmp_path)] == [1, 2, 1, 2, 3, "4", 5]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_compressed_file_that_is_cut_off_is_an_error(tmp_path: Path, name: str) -> None:
    data = b"".join(b'{"n":%d}\n' % (n * 7919 % 10_007) for n in range(20_000))
    packed = gzip.compress(data) if name.endswith("gz") else zstandard.compress(data)
    with pytest.raises(InputError, match="damaged or cut off"):
        rows(write(tmp_path / name, packed[: len(packed) // 2]), 1_000)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.zst"])
def test_a_compressed_file_without_bytes_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="damaged or cut off"):
        rows(write(tmp_path / name, b""))


def test_parquet_is_streamed_with_its_dates(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"day": [date(2026, 1, n) for n in (1, 2, 3)], "at": [datetime(2026, 1, 1, n) for n in (1, 2, 3)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    source = open_input(tmp_path / "a.parquet")
    assert source.total == 3
    assert [row["day"].day for c in source.chunks(2) for row in c.rows] == [1, 2, 3]
    assert places(tmp_path / "a.parquet")[2] == f"{tmp_path}/a.parquet row 2"


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        rows(write(tmp_path / "a.parquet", b"PAR1 nonsense"))


def test_a_glob_is_sorted_as_people_count(tmp_path: Path) -> None:
    for n in (10, 9, 1):
        write(tmp_path / f"part-{n}.jsonl", f'{{"n":{n}}}\n')
    assert rows(str(tmp_path / "part-*.jsonl")) == [{"n": 1}, {"n": 9}, {"n": 10}]


def test_a_folder_passes_over_what_holds_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "hello")
    write(tmp_path / ".hidden.jsonl", "nonsense")
    write(tmp_path / "a.jsonl", '{"n":1}\n')
    assert rows(tmp_path) == [{"n": 1}]
    assert open_input(tmp_path).describe()["ignored"] == [f"{tmp_path}/README.md"]


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "reviews.jsonl", "{}")
    with pytest.raises(InputError, match=r'did you mean "reviews.jsonl"\?'):
        open_input(str(tmp_path / "review.jsonl"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "*.jsonl", "no file matches"),
        (lambda path: path, "holds no files with rows"),
        (lambda path: write(path / "a.txt", "x"), 'cannot tell the format from ".txt"'),
        (lambda path: write(path / "data", "x"), "no ending"),
    ],
)
def test_what_holds_no_rows_is_refused_with_what_to_do(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_input(make(tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [({"text": "x"}, "put it in a list"), (Review(text="x"), "put it in a list"), (b"x", "bytes"), (3, "int")],
)
def test_a_value_that_is_not_rows_is_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_input(source)


def test_python_lists_generators_and_scalars_are_rows() -> None:
    assert rows([1, 2, 3]) == [1, 2, 3]
    assert rows(n for n in "abc") == ["a", "b", "c"]
    assert open_input([1, 2, 3]).total == 3
    assert open_input(iter([1])).total is None
    assert not open_input(iter([1])).rereadable


def test_an_iterator_is_read_once() -> None:
    source = open_input(iter([1, 2]))
    assert [c.rows for c in source.chunks(5)] == [[1, 2]]
    with pytest.raises(InputError, match="read before"):
        list(source.chunks(5))


def test_a_generator_is_read_no_further_than_asked() -> None:
    taken = []

    def numbers() -> Any:
        for n in range(100):
            taken.append(n)
            yield n

    next(open_input(numbers()).chunks(4))
    assert len(taken) == 4


def test_tables_are_rows() -> None:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset

    wanted = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}]
    columns = {"a": [1, 2, 3], "b": ["x", None, "z"]}
    assert rows(pa.table(columns)) == wanted
    assert rows(pd.DataFrame(columns)) == wanted
    assert rows(Dataset.from_dict(columns)) == wanted
    assert rows(Dataset.from_dict(columns).to_iterable_dataset()) == wanted


def test_a_saved_dataset_folder_is_streamed(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    data = Dataset.from_dict({"n": list(range(5))})
    DatasetDict({"train": data}).save_to_disk(tmp_path / "d")
    assert [row["n"] for row in rows(tmp_path / "d" / "train")] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"d/train"):
        open_input(tmp_path / "d")


def test_columns_are_mapped_in_order_onto_the_models_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,body,rating,extra\n1,good,5,x\n")
    options: dict[str, Any] = {"columns": ["body", "rating"], "model_fields": list(Review.model_fields)}
    assert rows(path, **options) == [{"text": "good", "stars": "5"}]
    with pytest.raises(InputError, match=r'no column "bodi" \(did you mean "body"'):
        rows(path, columns=["bodi"], model_fields=["text"])
    with pytest.raises(InputError, match="3 columns are named, and the first model has 2"):
        rows(path, columns=["id", "body", "rating"], model_fields=["text", "stars"])


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"n":1}\n{"n":2}\n{"n":3}\n')
    assert rows(path, limit=2) == [{"n": 1}, {"n": 2}]
    assert open_input(path, limit=2).total == 2
    assert rows(path, limit=0) == []


def test_an_openai_batch_file_gives_the_requests(tmp_path: Path) -> None:
    line = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    assert rows(write(tmp_path / "a.jsonl", json.dumps(line))) == [{"model": "m", "messages": [], "custom_id": "r1"}]


def test_a_url_is_read_through_fsspec() -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/data/a.jsonl", b'{"n":1}\n')
    filesystem.pipe("/data/b.csv", b"n\n2\n")
    assert rows("memory://data/a.jsonl") == [{"n": 1}]
    assert rows("memory://data") == [{"n": 1}, {"n": "2"}]
    assert rows("memory://data/*.csv") == [{"n": "2"}]
    with pytest.raises(InputError, match="nothing at"):
        open_input("memory://data/none.jsonl")


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"n":1}\n')
    before = open_input(path).describe()
    assert open_input(path).describe() == before
    write(path, '{"n":2}\n')
    assert open_input(path).describe()["blake2b"] != before["blake2b"]


def test_a_run_folder_asks_for_one_of_its_steps(tmp_path: Path) -> None:
    for name in ("graph.json", "commits.jsonl"):
        write(tmp_path / name, "{}")
    (tmp_path / "steps" / "qa").mkdir(parents=True)
    with pytest.raises(InputError, match="steps/qa"):
        open_input(tmp_path)
