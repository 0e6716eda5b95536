"""The rows of a run's own `inputs/` as a source to read from. Knows the folder, not why it is read again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from chainette.files.ledger import NAME, Ledger
from chainette.files.names import source_key
from chainette.files.parts import find_parts
from chainette.files.pieces import Piece
from chainette.files.tails import part_numbers


class RecordedSource:
    """What a run read, row by row, without the ids that it was given."""

    json_like = True
    rereadable = True
    cheap = False

    def __init__(self, run: Path, *, plain: bool = False) -> None:
        """With `plain`, what has nothing but a `value` is that value, as for a chain that takes anything."""
        self._run = run
        self._plain = plain
        self._parts = find_parts(run, "inputs")

    @property
    def total(self) -> int | None:
        return sum(len(part) for part in self._parts)

    def describe(self) -> dict[str, Any]:
        return {"kind": "recorded", "source": str(self._run / "inputs")}

    def pieces(self, size: int) -> Iterator[Piece]:
        for part in self._parts:
            rows = iter(part.rows(0, len(part)))
            number = 1
            while batch := [as_read(row, plain=self._plain) for row in islice(rows, size)]:
                yield Piece(batch, str(part.path), range(number, number + len(batch)))
                number += len(batch)

    def ids(self, rows: int) -> Iterator[str]:
        """The ids that the first rows were given, in order."""
        stored = (row["_id"] for part in self._parts for row in part.rows(0, len(part)))
        return islice(stored, rows)


def as_read(row: dict[str, Any], *, plain: bool = False) -> Any:
    """A line of `inputs/` as the row it was."""
    if plain and row.keys() == {"_id", "value"}:
        return row["value"]
    return {source_key(key): value for key, value in row.items() if key != "_id"}


def is_complete(run: Path) -> bool:
    """Whether the run had read its whole input when it ended."""
    ledger = Ledger(run / NAME)
    for _ in ledger.chunks():
        pass
    if ledger.ended is None:
        return False
    rows = 0
    for path in part_numbers(run / "inputs", ".jsonl").values():
        with open(path, "rb") as file:
            rows += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return rows == ledger.ended
