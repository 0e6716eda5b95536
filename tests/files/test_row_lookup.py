"""One row among many files: found by place and by bytes, with the rows it was made from and into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainette.errors import RunFolderError
from chainette.files.json_text import encode
from chainette.files.parts import JsonlPart, ParquetPart, Part
from chainette.files.row_lookup import Kin, is_kin, kin_of, neighbours, place_of

ids = st.lists(
    st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda place: ".".join(map(str, place))),
    unique=True,
    max_size=40,
).map(lambda found: sorted(found, key=lambda row_id: place_of(row_id) or ()))


def parts_of(folder: Path, rows: Sequence[dict[str, object]], size: int, tail: bytes = b"") -> list[Part]:
    folder.mkdir(exist_ok=True)
    parts: list[Part] = []
    for number, start in enumerate(range(0, max(len(rows), 1), size)):
        path = folder / f"{number:03d}.jsonl"
        path.write_bytes(b"".join(encode(row) + b"\n" for row in rows[start : start + size]) + tail)
        parts.append(JsonlPart(path))
    return parts


@settings(max_examples=150, deadline=None)
@given(rows=ids, wanted=st.lists(st.integers(0, 12), min_size=1, max_size=3), size=st.integers(1, 9))
def test_a_row_has_the_same_kin_whether_it_is_found_by_place_or_by_bytes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], wanted: list[int], size: int
) -> None:
    row_id = ".".join(map(str, wanted))
    parts = parts_of(tmp_path_factory.mktemp("step"), [{"_id": id, "x": "é" * 50} for id in rows], size)
    expected = [id for id in rows if is_kin(id, row_id)]
    for ordered in (True, False):
        found = kin_of(parts, Kin(row_id, 1_000, ordered=ordered))
        assert [row["_id"] for row in found] == expected


@settings(max_examples=150, deadline=None)
@given(rows=ids, place=st.integers(0, 39), size=st.integers(1, 9))
def test_a_row_knows_the_rows_beside_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], place: int, size: int
) -> None:
    if place >= len(rows):
        return
    parts = parts_of(tmp_path_factory.mktemp("step"), [{"_id": id} for id in rows], size)
    before = rows[place - 1] if place else None
    after = rows[place + 1] if place + 1 < len(rows) else None
    assert neighbours(parts, rows[place], ordered=False) == (before, after)
    by_place = neighbours(parts, rows[place], ordered=True)
    assert by_place[0] == before
    assert by_place[1] == after


def test_the_turns_of_a_row_are_found_over_the_end_of_a_part(tmp_path: Path) -> None:
    rows = [{"_id": "6", "_turn": 1}, *({"_id": "7", "_turn": turn} for turn in range(1, 6)), {"_id": "8", "_turn": 1}]
    for size in (1, 2, 3):
        parts = parts_of(tmp_path / str(size), rows, size)
        for ordered in (True, False):
            found = kin_of(parts, Kin("7", 20, ordered=ordered, contiguous=not ordered))
            assert [row["_turn"] for row in found] == [1, 2, 3, 4, 5]
            assert neighbours(parts, "7", ordered=ordered) == ("6", "8")


def test_half_a_line_at_the_end_is_no_row(tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "step", [{"_id": str(n)} for n in range(5)], 10, tail=b'{"_id":"5","answer":"hal')
    for ordered in (True, False):
        assert kin_of(parts, Kin("5", 20, ordered=ordered)) == []
        assert neighbours(parts, "4", ordered=ordered) == ("3", None)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_damaged_line_is_told_with_its_file(tmp_path: Path, ordered: bool) -> None:
    parts = parts_of(tmp_path / "step", [{"_id": "4"}], 10, tail=b'{"_id":"5","answer":"\\ud800"}\n')
    with pytest.raises(RunFolderError, match=r"000\.jsonl: a damaged line"):
        kin_of(parts, Kin("5", 20, ordered=ordered))


@pytest.mark.parametrize("row_id", ["doc.5", 'quote " and \\', "é", "a/b", "\ud800", "1e3", "٣", ""])
def test_ids_from_the_data_may_be_any_text(tmp_path: Path, row_id: str) -> None:
    others = ["doc.50", "doc", "docs", "a", "", "é.1x", "zz"]
    known = [id for id in others if id != row_id] + ([row_id] if row_id != "\ud800" else [])
    parts = parts_of(tmp_path / "step", [{"_id": id} for id in known], 3)
    found = [row["_id"] for row in kin_of(parts, Kin(row_id, 20, ordered=False))]
    assert found == [id for id in known if is_kin(id, row_id)]
    assert (row_id in found) is (row_id != "\ud800")


def test_sealed_parts_are_looked_through_as_open_ones_are(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parts: list[Part] = []
    for number in range(3):
        path = tmp_path / f"{number:03d}.parquet"
        rows = [{"_id": f"{number * 10 + n}.{child}", "x": n} for n in range(10) for child in range(2)]
        parquet.write_table(pa.Table.from_pylist(rows), path)
        parts.append(ParquetPart(path))
    for ordered in (True, False):
        assert [row["_id"] for row in kin_of(parts, Kin("17", 20, ordered=ordered))] == ["17.0", "17.1"]
        assert kin_of(parts, Kin("17.1", 20, ordered=ordered)) == [{"_id": "17.1", "x": 7}]
        assert neighbours(parts, "10.0", ordered=ordered) == ("9.1", "10.1")
        assert neighbours(parts, "29.1", ordered=ordered) == ("29.0", None)
