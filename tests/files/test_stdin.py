"""Rows from standard input: as they arrive."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainette.files import open_input


def piped_file(folder: Path, text: str) -> Path:
    (folder / "piped").write_text(text)
    return folder / "piped"


def rows() -> list[Any]:
    return [row for chunk in open_input("-").chunks(2) for row in chunk.rows]


def test_standard_input_is_jsonl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(piped_file(tmp_path, '{"n":1}\n{"n":\n')) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        found = rows()
    assert found[0] == {"n": 1}
    assert found[1].place == "stdin:2"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end that is written to of a pipe that is standard input."""
    read, write = os.pipe()
    with open(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield write


def test_rows_of_standard_input_go_on_while_it_is_open(pipe: int) -> None:
    chunks = open_input("-").chunks(50)
    os.write(pipe, b'{"n":1}\n\n{"n":2}\n{"n"')
    first = next(chunks)
    os.write(pipe, b":3}\n")
    second = next(chunks)
    os.write(pipe, b'{"n":4}')
    os.close(pipe)
    found = [first, second, *chunks]
    assert [chunk.rows for chunk in found] == [[{"n": 1}, {"n": 2}], [{"n": 3}], [{"n": 4}]]
    assert [chunk.first for chunk in found] == [0, 2, 3]
    assert [chunk.place(len(chunk.rows) - 1) for chunk in found] == ["stdin:3", "stdin:4", "stdin:5"]


def test_rows_of_standard_input_that_are_there_fill_their_chunks(pipe: int) -> None:
    os.write(pipe, b"".join(b'{"n":%d}\n' % n for n in range(5)))
    os.close(pipe)
    assert [[row["n"] for row in chunk.rows] for chunk in open_input("-").chunks(2)] == [[0, 1], [2, 3], [4]]


def test_a_line_of_standard_input_may_be_longer_than_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x" * 1_000_000
    with open(piped_file(tmp_path, f'{{"t":"{text}"}}\n{{"t":"y"}}\n')) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        assert rows() == [{"t": text}, {"t": "y"}]


def test_standard_input_may_be_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"n":1}\n{"n":2}\n{"n":3}\n')))
    assert rows() == [{"n": 1}, {"n": 2}, {"n": 3}]
