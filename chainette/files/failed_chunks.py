"""The failures of a finished run, chunk by chunk, as they stand in `failed/`. Knows no graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from chainette.files.ledger import NAME, Ledger
from chainette.files.parts import JsonlPart
from chainette.files.views import failure_of
from chainette.rows import Failure


@dataclass(frozen=True, slots=True)
class FailedChunk:
    """A whole chunk with failures in it."""

    index: int
    first: int
    """Position of its first row in the whole input."""
    rows: int
    failures: list[Failure]
    """Node by node, each in input order."""


def failed_chunks(run: Path, node_ids: list[str], names: dict[str, str]) -> Iterator[FailedChunk]:
    """In order. `names` are the files' names by node id."""
    files = {}
    for id in node_ids:
        part = JsonlPart(run / "failed" / f"{names[id]}.jsonl")
        if part.path.is_file():
            files[id] = iter(part.rows(0, len(part)))
    read = dict.fromkeys(files, 0)
    first = 0
    for chunk in Ledger(run / NAME).chunks():
        failures: list[Failure] = []
        for id, rows in files.items():
            mark = chunk.marks.get(f"failed/{names[id]}")
            if mark is not None and mark.rows > read[id]:
                failures += [failure_of(row, id) for row in islice(rows, mark.rows - read[id])]
                read[id] = mark.rows
        if failures:
            yield FailedChunk(chunk.index, first, chunk.count.rows, failures)
        first += chunk.count.rows
