"""`commits.jsonl` as it is read back, whatever a crash left of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette.events import NodeCount, RunCount
from chainette.files.disk import Position
from chainette.files.ledger import Ledger, Mark, closing_record, commit_record, stream_of


def count(rows: int, **node: int) -> RunCount:
    return RunCount(rows, rows, 0, 0, {"qa": NodeCount(**node)} if node else {})


def begun(root: Path, chunk: int, rows: int, calls: dict[str, int]) -> dict[str, object]:
    return {**commit_record(None, chunk, root, Position(root / "inputs/000.jsonl", 10 * rows, rows)), "calls": calls}


@pytest.fixture
def records(tmp_path: Path) -> list[dict[str, object]]:
    """Two whole chunks of two rows, and a third that was read and not ended."""
    part, full = tmp_path / "steps/qa/001.jsonl", tmp_path / "steps/qa/000.jsonl"
    return [
        begun(tmp_path, 0, 2, {}),
        begun(tmp_path, 1, 4, {"qa": 2}),
        commit_record("qa", 0, tmp_path, Position(full, 30, 2)),
        closing_record(0, count(2, entered=2, done=2), None),
        begun(tmp_path, 2, 6, {"qa": 5}),
        commit_record("qa", 1, tmp_path, Position(full, 45, 3)),
        commit_record("qa", 1, tmp_path, Position(part, 15, 1)),
        commit_record("qa", 1, tmp_path, Position(tmp_path / "failed/qa.jsonl", 99, 1)),
        closing_record(1, count(2, entered=2, done=1, failed=1), count(1, entered=1, failed=1)),
        {"end": 6},
    ]


def ledger(tmp_path: Path, records: list[dict[str, object]], tail: bytes = b"") -> Ledger:
    path = tmp_path / "commits.jsonl"
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records) + tail)
    return Ledger(path)


def test_a_chunk_without_its_closing_record_is_not_there(tmp_path: Path, records: list[dict[str, object]]) -> None:
    assert [chunk.index for chunk in ledger(tmp_path, records).chunks()] == [0, 1]
    assert [chunk.index for chunk in ledger(tmp_path, records[:8]).chunks()] == [0]


def test_each_chunk_knows_where_every_file_ends_after_it(tmp_path: Path, records: list[dict[str, object]]) -> None:
    first, second = ledger(tmp_path, records).chunks()
    assert first.marks == {"steps/qa": Mark("steps/qa/000.jsonl", 30, 2), "inputs": Mark("inputs/000.jsonl", 20, 2)}
    assert second.marks == {
        "steps/qa": Mark("steps/qa/001.jsonl", 15, 1),
        "failed/qa": Mark("failed/qa.jsonl", 99, 1),
        "inputs": Mark("inputs/000.jsonl", 40, 4),
    }
    assert Mark("steps/qa/000.jsonl", 45, 3) in second.seen


def test_counts_of_a_chunk_come_back_as_they_were_said(tmp_path: Path, records: list[dict[str, object]]) -> None:
    _, second = ledger(tmp_path, records).chunks()
    assert second.count == count(2, entered=2, done=1, failed=1)
    assert second.failing == count(1, entered=1, failed=1)


@pytest.mark.parametrize("tail", [b'{"chunk": 2, "rows"', b"\0" * 80, b"\0" * 80 + b"\n", b"[1]\n", b"\n"])
def test_what_is_no_record_ends_the_reading(tmp_path: Path, records: list[dict[str, object]], tail: bytes) -> None:
    read = ledger(tmp_path, records[:5], tail + json.dumps(records[8]).encode() + b"\n")
    assert [chunk.index for chunk in read.chunks()] == [0]


def test_calls_of_unfinished_chunks_lie_behind_what_was_logged_when_the_first_of_them_was_read(
    tmp_path: Path, records: list[dict[str, object]]
) -> None:
    read = ledger(tmp_path, records)
    list(read.chunks())
    assert [read.floor(chunk) for chunk in range(4)] == [{}, {"qa": 2}, {"qa": 5}, {"qa": 5}]


def test_the_end_of_the_input_is_known_once_it_was_said(tmp_path: Path, records: list[dict[str, object]]) -> None:
    for said, expected in ((records, 6), (records[:-1], None)):
        read = ledger(tmp_path, said)
        list(read.chunks())
        assert read.ended == expected


def test_a_run_without_commits_has_no_chunks(tmp_path: Path) -> None:
    assert list(Ledger(tmp_path / "commits.jsonl").chunks()) == []
    assert list(ledger(tmp_path, []).chunks()) == []


def test_an_open_part_belongs_to_the_stream_of_its_sealed_form() -> None:
    assert stream_of(".open/steps/qa/003.jsonl") == stream_of("steps/qa/000.jsonl") == "steps/qa"
    assert stream_of(".open/flattened/000.jsonl") == "flattened"
    assert stream_of("failed/qa.jsonl") == "failed/qa"
