"""Rows that are in memory or come from a generator: models, dicts or scalars."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any

from pydantic import BaseModel

from chainette.errors import InputError
from chainette.files.json_text import encode
from chainette.files.pieces import Piece

_CHEAP_ROWS = 50_000
_HASHED_ROWS = 500


class IterableSource:
    """Any Python iterable. What has a length is a list to us; what is its own iterator is read once."""

    json_like = False

    def __init__(self, rows: Iterable[Any]) -> None:
        _check_rows(rows)
        self._rows = rows
        self.total: int | None = len(rows) if isinstance(rows, Sized) else None
        self.cheap = self.total is not None and self.total <= _CHEAP_ROWS
        self.rereadable = not isinstance(rows, Iterator)
        self._started = False

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": "python", "type": type(self._rows).__name__}
        if self.total is not None and isinstance(self._rows, Sequence):
            digest = hashlib.blake2b(digest_size=16)
            ends = self._rows if self.total <= 2 * _HASHED_ROWS else _ends(self._rows)
            for row in ends:
                digest.update(encode(row) + b"\n")
            digest.update(str(self.total).encode())
            found |= {"rows": self.total, "blake2b": digest.hexdigest()}
            found["of"] = "content" if ends is self._rows else "ends"
        return found

    def pieces(self, size: int) -> Iterator[Piece]:
        if self._started and not self.rereadable:
            raise InputError("the input is an iterator that was read before (pass a list, or a new iterator)")
        self._started = True
        rows = iter(self._rows)
        number = 0
        while batch := list(islice(rows, size)):
            yield Piece(batch, "", range(number, number + len(batch)), counts_lines=False)
            number += len(batch)


def _ends(rows: Sequence[Any]) -> list[Any]:
    return [*rows[:_HASHED_ROWS], *rows[-_HASHED_ROWS:]]


def _check_rows(rows: Any) -> None:
    if isinstance(rows, (dict, BaseModel)):
        raise InputError("the input is a single row: put it in a list, [row]")
    if isinstance(rows, (bytes, bytearray)):
        raise InputError("the input is bytes: pass a path, or rows (models, dicts or scalars)")
    if hasattr(rows, "__aiter__"):
        raise InputError("the input is an async iterable: collect it first, `[row async for row in ...]`")
    if not hasattr(rows, "__iter__") and not hasattr(rows, "__getitem__"):
        raise InputError(
            f"cannot read rows from {type(rows).__name__}: pass a path, a list of models or dicts, or any iterable"
        )
