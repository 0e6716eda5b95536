"""The parts of one rolling file, read a stretch at a time. Knows the three formats, not what the rows mean."""

from __future__ import annotations

import os
import re
import stat
from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.names import natural_key
from chainette.files.schema import Column, json_columns, unpacked

_INDEX_EVERY = 1_000
_CELL = re.compile(r'"((?:[^"]|"")*)"|([^,]*)')


class Part(Protocol):
    path: Path

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]: ...


class JsonlPart:
    """A file of lines. Half a line at its end, as a process that was killed leaves it, is no row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _index(self) -> tuple[array[int], int]:
        """Where every thousandth line begins, and how many lines there are."""
        starts = array("Q", [0])
        count = at = 0
        with self._open() as file:
            while block := file.read(1 << 20):
                lines = block.count(b"\n")
                if (count + lines) // _INDEX_EVERY > count // _INDEX_EVERY:
                    found = -1
                    for number in range(count + 1, count + lines + 1):
                        found = block.index(b"\n", found + 1)
                        if number % _INDEX_EVERY == 0:
                            starts.append(at + found + 1)
                count += lines
                at += len(block)
        return starts, count

    def _open(self) -> Any:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error

    def __len__(self) -> int:
        return self._index[1]

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self.lines(start, stop), start):
            try:
                row = from_json(line)
            except ValueError as error:
                raise RunFolderError(f"{self.path}:{number + 1}: damaged: {error}") from error
            yield row

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        starts, count = self._index
        stop = min(stop, count)
        if start >= stop:
            return
        with self._open() as file:
            file.seek(starts[start // _INDEX_EVERY])
            for _ in range(start % _INDEX_EVERY):
                file.readline()
            for _ in range(start, stop):
                yield file.readline()


class ParquetPart:
    def __init__(self, path: Path) -> None:
        self.path = path

    def _open(self) -> Any:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        try:
            return ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise RunFolderError(f"cannot read {self.path}: {error}") from error

    @cached_property
    def _groups(self) -> list[int]:
        with self._open() as file:
            metadata = file.metadata
            return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def __len__(self) -> int:
        return sum(self._groups)

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        at = 0
        with self._open() as file:
            packed = json_columns(file.schema_arrow)
            for i, count in enumerate(self._groups):
                first, last = max(start - at, 0), min(stop - at, count)
                if first < last:
                    yield from unpacked(file.read_row_group(i).slice(first, last - first).to_pylist(), packed)
                at += count


class CsvPart:
    """CSV as we write it: text is always quoted, so an empty cell, a number and a text are told apart."""

    def __init__(self, path: Path, packed: list[Column]) -> None:
        self.path = path
        self._packed = packed

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._records()) - 1

    def __len__(self) -> int:
        return max(self._count, 0)

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        records = self._records()
        header = _header(next(records, ""))
        for number, record in enumerate(records):
            if number >= stop:
                return
            if number >= start:
                yield self._row(header, record)

    def names(self) -> list[str]:
        """Of the columns."""
        return _header(next(self._records(), ""))

    def rows_from(self, at: int) -> Iterator[dict[str, Any]]:
        """The rows from the one that begins at that byte."""
        header = self.names()
        for record in self._records(at):
            yield self._row(header, record)

    def _row(self, header: list[str], record: str) -> dict[str, Any]:
        row = unpacked([dict(zip(header, _cells(record), strict=True))], self._packed)[0]
        turn = row.get("_turn")
        return {**row, "_turn": from_json(turn)} if isinstance(turn, str) else row

    def _records(self, at: int = 0) -> Iterator[str]:
        try:
            with open(self.path, encoding="utf-8", newline="\n") as file:
                file.seek(at)
                record = ""
                for line in file:
                    record += line
                    if record.count('"') % 2 == 0:
                        yield record.removesuffix("\n")
                        record = ""
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error


def _header(record: str) -> list[str]:
    return [str(name) for name in _cells(record)]


def _cells(record: str) -> list[Any]:
    cells: list[Any] = []
    at = 0
    while True:
        found = _CELL.match(record, at)
        assert found is not None
        quoted, bare = found.groups()
        cells.append(quoted.replace('""', '"') if quoted is not None else _bare(bare))
        at = found.end() + 1
        if found.end() >= len(record):
            return cells


def _bare(text: str) -> Any:
    if not text:
        return None
    if text in ("true", "false"):
        return text == "true"
    if text == "-0":
        return -0.0
    return int(text) if text.removeprefix("-").isdecimal() else float(text)


def is_own_file(root: Path, path: Path) -> bool:
    """Whether it is there. Somebody else's run folder must not lead to other files of this machine: what is read is
    shown, exported and pushed.

    Raises:
        RunFolderError: it is a link that leads out of the folder, or neither a file nor a link.
    """
    try:
        there = os.path.realpath(path, strict=True)
        mode = os.stat(there).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error
    home = os.path.realpath(root)
    if os.path.commonpath((there, home)) != home:
        raise RunFolderError(
            f"{path} leads out of the run folder, to {there}, and is not followed (copy it to its place)"
        )
    if not stat.S_ISREG(mode):
        raise RunFolderError(f"{path} is no file")
    return True


def find_parts(root: Path, below: str, packed: list[Column] | None = None) -> list[Part]:
    """The parts of `steps/<name>` or the like, in order: sealed ones, then those still open.

    Raises:
        RunFolderError: one of them is no file of this folder.
    """
    found: dict[str, Part] = {}
    for folder in (root / below, root / ".open" / below):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(".") or path.stem in found or not is_own_file(root, path):
                continue
            if path.suffix == ".jsonl":
                found[path.stem] = JsonlPart(path)
            elif path.suffix == ".parquet":
                found[path.stem] = ParquetPart(path)
            elif path.suffix == ".csv":
                found[path.stem] = CsvPart(path, packed or [])
    return [found[stem] for stem in sorted(found, key=natural_key)]
