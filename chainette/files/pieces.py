"""Rows on their way from a file into chunks, and where each of them stands. Knows no file formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

BAD_TEXT_LENGTH = 100_000
"""How much is kept of the text of a row that was refused."""


@dataclass(slots=True)
class BadRow:
    """A row that could not be read at all."""

    message: str
    place: str
    text: str


@dataclass(slots=True)
class Piece:
    """Consecutive rows of one file, in whatever number is handy to read."""

    rows: list[Any]
    label: str
    """The file as the user named it; empty for rows that are in memory."""
    numbers: Sequence[int]
    """Per row its line in the file, or its position in the file or list (`counts_lines` false)."""
    counts_lines: bool = True
    waits: bool = False
    """Whether the row after these may be long in coming, so that they go on at once."""

    def place(self, i: int) -> str:
        if self.counts_lines:
            return f"{self.label}:{self.numbers[i]}"
        return f"{self.label} row {self.numbers[i]}".lstrip()


@dataclass(slots=True)
class RawChunk:
    """Consecutive rows as read: dicts, models, scalars, or a `BadRow`."""

    rows: list[Any]
    first: int
    """Position of the first row in the whole input."""
    json_like: bool = True
    """Whether the rows hold nothing but what JSON can say."""
    pieces: list[tuple[int, Piece, int]] = field(default_factory=list)
    """Where in `rows` a piece begins, the piece, and which of its rows that is."""

    def place(self, i: int) -> str:
        """Where the i-th row stands: `reviews.jsonl:17` (the line) or `row 17` (the position, from 0)."""
        for start, piece, offset in reversed(self.pieces):
            if start <= i:
                return piece.place(i - start + offset)
        return f"row {self.first + i}"


class Source(Protocol):
    """Where rows come from."""

    @property
    def total(self) -> int | None: ...

    @property
    def cheap(self) -> bool: ...

    @property
    def rereadable(self) -> bool: ...

    @property
    def json_like(self) -> bool: ...

    def describe(self) -> dict[str, Any]: ...

    def pieces(self, size: int) -> Iterator[Piece]: ...


def without_first(pieces: Iterator[Piece], rows: int) -> Iterator[Piece]:
    """All but the first `rows` rows."""
    for piece in pieces:
        if rows >= len(piece.rows):
            rows -= len(piece.rows)
            continue
        if rows:
            piece = replace(piece, rows=piece.rows[rows:], numbers=piece.numbers[rows:])
            rows = 0
        yield piece


def into_chunks(
    pieces: Iterator[Piece], size: int, limit: int | None, json_like: bool = True, *, first: int = 0, border: int = 0
) -> Iterator[RawChunk]:
    """Chunks of exactly `size` rows, whatever the sizes of the pieces, but for the last and after pieces that wait.

    `first` is the position of the first row in the whole input; no chunk has rows on both sides of `border`.
    """
    left = limit
    chunk = RawChunk([], first, json_like)
    for piece in pieces:
        rows = piece.rows
        if left is not None:
            rows = rows[:left]
            left -= len(rows)
        offset = 0
        while offset < len(rows):
            room = size - len(chunk.rows)
            if first < border:
                room = min(room, border - first - len(chunk.rows))
            taken = rows if offset == 0 and len(rows) <= room else rows[offset : offset + room]
            chunk.pieces.append((len(chunk.rows), piece, offset))
            chunk.rows = chunk.rows + taken if chunk.rows else taken
            offset += len(taken)
            full = len(chunk.rows) == size or first + len(chunk.rows) == border
            if full or (piece.waits and offset == len(rows)):
                yield chunk
                first += len(chunk.rows)
                chunk = RawChunk([], first, json_like)
        if left == 0:
            break
    if chunk.rows:
        yield chunk


def renaming(columns: Sequence[str], names: Sequence[str]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Takes `columns` of a row, in order, under `names`. A column that a row does not have is left out."""
    pairs = tuple(zip(columns, names, strict=True))

    def rename(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[column] for column, name in pairs if column in row}

    return rename
