"""`inputs/`: the rows as they were read. What is read again is compared with it and never written twice."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from chainette.errors import InputError, RunFolderError
from chainette.files.disk import Position, RollingFile
from chainette.files.json_text import encode_rows, shortened
from chainette.files.names import part_name
from chainette.rows import InputChunk


class InputLog:
    """The input rows of one run, in order."""

    def __init__(self, root: Path, max_lines: int) -> None:
        self._folder = root / "inputs"
        self._max_lines = max_lines
        self.file = RollingFile(root, self._folder, max_lines)
        self.known = 0
        """Rows that were there when the folder was opened again."""
        self._next = -1
        self._lock = threading.Lock()
        self._closed = False
        """A reader left behind in a thread when the run was stopped must not write among the rows of the next one."""
        self._stored: Generator[tuple[bytes, Position], None, None] | None = None

    def restore(self, number: int, size: int, lines: int) -> None:
        """Goes on behind what is there."""
        self.file.restore(number, size, lines)
        self.known = self.file.total

    def add(self, chunk: InputChunk) -> Position:
        """Writes the rows that are not there yet, in order. Returns where the chunk's last row ends.

        Raises:
            InputError: a row was read before and was another one.
            RunFolderError: they cannot be written, or the log was closed meanwhile.
        """
        with self._lock:
            if self._closed:
                raise RunFolderError(f"{self._folder} was closed: the run it belonged to has ended")
            return self._add(chunk)

    def _add(self, chunk: InputChunk) -> Position:
        rows = _stored(chunk)
        block = encode_rows(rows)
        seen = min(max(self.known - chunk.first, 0), len(rows))
        position = self.file.position
        if seen:
            lines = block.split(b"\n")[:-1]
            position = self._compare(chunk, lines[:seen])
            block = b"".join([line + b"\n" for line in lines[seen:]])
        if seen < len(rows):
            self.file.append(block, len(rows) - seen)
            position = self.file.position
        return position

    def close(self) -> None:
        """Closes what is open, without making it durable. Nothing is added after it."""
        with self._lock:
            self._closed = True
            if self._stored is not None:
                self._stored.close()
                self._stored = None
            self.file.close()

    def compare(self, chunk: InputChunk) -> None:
        """
        Raises:
            InputError: a row is another one than the one that was read before.
        """
        self._compare(chunk, encode_rows(_stored(chunk)).split(b"\n")[:-1])

    def _compare(self, chunk: InputChunk, lines: list[bytes]) -> Position:
        if self._stored is None or self._next != chunk.first:
            self._stored = self._lines_from(chunk.first)
        self._next = chunk.first + len(lines)
        position = self.file.position
        for line, id in zip(lines, chunk.ids, strict=False):
            stored, position = next(self._stored)
            if line != stored[:-1]:
                now, before = (shortened(text.decode(), 100) for text in (line, stored[:-1]))
                raise InputError(
                    f'the input changed: its row "{id}" is {now}, and was {before} when the run began '
                    f"({self._folder}); bring the old input back, or take the new one with --force"
                )
        return position

    def _lines_from(self, first: int) -> Generator[tuple[bytes, Position], None, None]:
        number, skipped = divmod(first, self._max_lines)
        while True:
            path = self._folder / part_name(number)
            size = 0
            with open(path, "rb") as file:
                for row, line in enumerate(file):
                    size += len(line)
                    if row >= skipped:
                        yield line, Position(path, size, row + 1)
            number, skipped = number + 1, 0


def _stored(chunk: InputChunk) -> list[dict[str, Any]]:
    return [{"_id": id, **row} for id, row in zip(chunk.ids, chunk.raw, strict=True)]
