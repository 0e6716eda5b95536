"""The parts of a table, read by place and block by block. Knows formats and where lines begin, not what is asked.

A part of lines is never read as a whole: where every thousandth line begins is noted as far as it was needed, and a
file that grew is read on from there.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.json_text import encode
from chainette.files.parts import ParquetPart
from chainette.files.schema import Column, json_columns, unpacked
from chainette.files.tables.query import Row

EVERY = 1_000
STEP = 1 << 20
_TAIL = 1 << 14
BLOCK_BYTES = 4 << 20
BLOCK_ROWS = 40_000
"""Of Parquet and CSV."""


@dataclass(slots=True)
class Lines:
    """Whole lines of a part, in one piece."""

    data: bytes
    starts: Any = None
    """numpy offsets of the lines and of the end, once they are known."""

    def index(self) -> Any:
        """Where each line begins, and behind the last one the end."""
        if self.starts is None:
            import numpy as np

            breaks = np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10)
            starts = np.empty(len(breaks) + 1, np.int32)
            starts[0] = 0
            np.add(breaks, 1, out=starts[1:], casting="unsafe")
            self.starts = starts
        return self.starts

    def line(self, number: int) -> bytes:
        starts = self.index()
        return self.data[starts[number] : starts[number + 1] - 1]


@dataclass(slots=True)
class Columns:
    """Consecutive rows of a part that is kept by columns."""

    table: Any
    """A pyarrow Table."""
    packed: Sequence[Column]
    """Its columns of JSON text."""


@dataclass(slots=True)
class Block:
    """Consecutive rows of a part, as much as is worked on at a time."""

    part: TablePart
    start: int
    """Of its first row in the part; -1 where lines were not counted yet."""
    content: Lines | Columns | list[Row]

    def __len__(self) -> int:
        if isinstance(self.content, Lines):
            return len(self.content.index()) - 1
        return self.content.table.num_rows if isinstance(self.content, Columns) else len(self.content)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """Rows by their place in the block."""
        content = self.content
        if isinstance(content, Lines):
            return [self.part.parsed(content.line(number)) for number in numbers]
        if isinstance(content, Columns):
            taken = content.table.take(numbers) if len(numbers) else content.table.slice(0, 0)
            return [self.part.dressed(row) for row in _plain(taken, content.packed)]
        return [content[number] for number in numbers]


class TablePart(Protocol):
    """One file of a table."""

    path: Path

    @property
    def adds(self) -> bool:
        """Whether its rows have more than stands in the file."""
        ...

    def count(self) -> int:
        """How many rows it has. Reads what of it was not read before."""

    def read(self, start: int, stop: int) -> list[Row]:
        """Fewer rows where it ends."""

    def pick(self, numbers: Sequence[int]) -> list[Row]:
        """Rows by their places in the part, ascending."""
        ...

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Block]:
        """All rows; with only these columns where a part can leave others out."""
        ...

    def parsed(self, line: bytes) -> Row: ...

    def dressed(self, row: Row) -> Row: ...


@dataclass(slots=True)
class _Dressing:
    """What every row of a file gets that does not stand in it."""

    said: Row = field(default_factory=dict)

    def put_on(self, row: Row) -> Row:
        if not self.said:
            return row
        return {"_id": row.get("_id"), **self.said, **{key: value for key, value in row.items() if key != "_id"}}


class LinesPart:
    """A file of JSON lines, which may grow. Half a line at its end is no row."""

    def __init__(self, path: Path, said: Row | None = None) -> None:
        self.path = path
        self._dressing = _Dressing(said or {})
        self._lock = threading.Lock()
        self._starts = array("Q", [0])
        self._lines = 0
        self._at = 0
        self._inode = -1

    @property
    def adds(self) -> bool:
        return bool(self._dressing.said)

    def _open(self) -> Any:
        try:
            return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error

    def _look(self, until: int) -> None:
        """Notes where lines begin, as far as line `until` or the end."""
        with self._lock, self._open() as file:
            now = os.fstat(file.fileno())
            if now.st_ino != self._inode or now.st_size < self._at:
                self._starts, self._lines, self._at, self._inode = array("Q", [0]), 0, 0, now.st_ino
            file.seek(self._at)
            rest = b""
            while self._lines < until and (data := file.read(STEP)):
                data = rest + data if rest else data
                end = data.rfind(b"\n") + 1
                rest = data[end:]
                if end:
                    self._note(data[:end])

    def _note(self, data: bytes) -> None:
        breaks = Lines(data).index()
        first = -self._lines % EVERY or EVERY
        self._starts.extend(int(self._at + breaks[n]) for n in range(first, len(breaks), EVERY))
        self._lines += len(breaks) - 1
        self._at += len(data)

    def count(self) -> int:
        self._look(1 << 62)
        return self._lines

    def count_behind(self, at: int, lines: int) -> int:
        """As `count`, where that many lines are known to end at byte `at`."""
        with self._open() as file:
            if os.fstat(file.fileno()).st_size < at:
                return self.count()
            file.seek(at)
            while data := file.read(STEP):
                lines += data.count(b"\n")
        return lines

    def read(self, start: int, stop: int) -> list[Row]:
        return [self.parsed(line) for line in self.lines(start, stop)]

    def lines(self, start: int, stop: int) -> list[bytes]:
        """Without line breaks."""
        self._look(start - start % EVERY + 1 if start >= EVERY else 0)
        nearest = start // EVERY
        with self._lock:
            if nearest >= len(self._starts):
                return []
            at = self._starts[nearest]
        skipped, found = start - nearest * EVERY, list[bytes]()
        with self._open() as file:
            file.seek(at)
            rest = b""
            while len(found) < skipped + stop - start and (data := file.read(STEP if skipped else STEP // 4)):
                data = rest + data if rest else data
                *whole, rest = data.split(b"\n")
                found += whole
        return found[skipped : skipped + stop - start]

    def pick(self, numbers: Sequence[int]) -> list[Row]:
        return stretches(self.read, numbers)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Block]:
        with self._open() as file:
            at = 0
            while end := _line_end(file, at):
                file.seek(at)
                data = file.read(end - at)
                at += len(data)
                yield Block(self, -1, Lines(data))

    def parsed(self, line: bytes) -> Row:
        try:
            row = from_json(line)
            if type(row) is not dict:
                raise ValueError("it is no object")
        except ValueError as error:
            raise RunFolderError(f"{self.path}: damaged at {line[:60]!r}…: {error}") from error
        return self._dressing.put_on(row) if self._dressing.said else row

    def dressed(self, row: Row) -> Row:
        return self._dressing.put_on(row)


def _line_end(file: Any, at: int) -> int:
    """Where the last of the whole lines ends that make up the next block; 0 where there is none.

    Found before the block is read, so that it need not be cut out of what was read.
    """
    target = min(at + BLOCK_BYTES, os.fstat(file.fileno()).st_size)
    for start, stop in ((max(at, target - _TAIL), target), (at, max(at, target - _TAIL))):
        file.seek(start)
        found = file.read(stop - start).rfind(b"\n") if start < stop else -1
        if found >= 0:
            return int(start + found + 1)
    file.seek(target)
    while data := file.read(STEP):
        found = data.find(b"\n")
        if found >= 0:
            return int(target + found + 1)
        target += len(data)
    return 0


class ColumnsPart:
    """A Parquet file: whole, and never changed."""

    adds = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = ParquetPart(path)

    def count(self) -> int:
        return len(self._part)

    def read(self, start: int, stop: int) -> list[Row]:
        return [as_json_says(row) for row in self._part.rows(start, stop)]

    def pick(self, numbers: Sequence[int]) -> list[Row]:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        rows: list[Row] = []
        try:
            with ParquetFile(self.path) as file:
                packed = json_columns(file.schema_arrow)
                at = 0
                for group in range(file.num_row_groups):
                    end = at + file.metadata.row_group(group).num_rows
                    here = [number - at for number in numbers if at <= number < end]
                    if here:
                        rows += _plain(file.read_row_group(group, use_threads=False).take(here), packed)
                    at = end
        except (OSError, pa.ArrowException) as error:
            raise RunFolderError(f"cannot read {self.path}: {error}") from error
        return rows

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Block]:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(self.path) as file:
                packed = json_columns(file.schema_arrow)
                names = None if columns is None else [name for name in file.schema_arrow.names if name in columns]
                at = 0
                groups: list[int] = []
                for number in range(file.num_row_groups):
                    groups.append(number)
                    rows = sum(file.metadata.row_group(group).num_rows for group in groups)
                    if rows >= BLOCK_ROWS or number == file.num_row_groups - 1:
                        table = file.read_row_groups(groups, columns=names, use_threads=False)
                        yield Block(self, at, Columns(table, packed))
                        at += rows
                        groups = []
        except (OSError, pa.ArrowException) as error:
            raise RunFolderError(f"cannot read {self.path}: {error}") from error

    def parsed(self, line: bytes) -> Row:
        raise NotImplementedError

    def dressed(self, row: Row) -> Row:
        return row


def stretches(read: Callable[[int, int], list[Row]], numbers: Sequence[int]) -> list[Row]:
    """Rows by their places, ascending; those near each other are read together."""
    rows: list[Row] = []
    at = 0
    while at < len(numbers):
        end = at + 1
        while end < len(numbers) and numbers[end] // EVERY == numbers[at] // EVERY:
            end += 1
        stretch = read(numbers[at], numbers[end - 1] + 1)
        rows += [stretch[number - numbers[at]] for number in numbers[at:end] if number - numbers[at] < len(stretch)]
        at = end
    return rows


def _plain(table: Any, packed: Sequence[Column]) -> list[Row]:
    present = [column for column in packed if column.name in table.column_names]
    return [as_json_says(row) for row in unpacked(table.to_pylist(), present)]


def as_json_says(row: Row) -> Row:
    """Without dates, which Parquet gives as objects."""
    plain: Row = from_json(encode(row))
    return plain
