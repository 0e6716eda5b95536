"""How many rows a file has, from what `commits.jsonl` says of it last, or else by counting once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from chainette.files.ledger import NAME
from chainette.files.tables.parts import LinesPart, TablePart

_TAIL = 1 << 17


class Marks:
    """Counts of a run's files, each known until the file changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[Path, tuple[tuple[int, int], int]] = {}
        self._tail: tuple[tuple[int, int], dict[str, tuple[int, int]]] | None = None
        self._lock = threading.Lock()

    def count(self, part: TablePart) -> int:
        """The rows of a part.

        Raises:
            RunFolderError: it cannot be read.
        """
        stamp = stamp_of(part.path)
        with self._lock:
            known = self._counts.get(part.path)
        if known is not None and known[0] == stamp:
            return known[1]
        count = self._counted(part, stamp[0])
        with self._lock:
            self._counts[part.path] = stamp, count
        return count

    def _counted(self, part: TablePart, size: int) -> int:
        if not isinstance(part, LinesPart) or size < _TAIL:
            return part.count()
        at, rows = self._last_marks().get(part.path.relative_to(self._root).as_posix(), (0, 0))
        return part.count_behind(at, rows) if rows else part.count()

    def _last_marks(self) -> dict[str, tuple[int, int]]:
        """Per file the last (bytes, rows) that the end of the ledger says."""
        import orjson

        path = self._root / NAME
        stamp = stamp_of(path)
        with self._lock:
            if self._tail is not None and self._tail[0] == stamp:
                return self._tail[1]
        marks: dict[str, tuple[int, int]] = {}
        try:
            with open(path, "rb") as file:
                file.seek(max(0, stamp[0] - _TAIL))
                lines = file.read().split(b"\n")[1 if stamp[0] > _TAIL else 0 : -1]
        except OSError:
            return marks
        for line in lines:
            try:
                record = orjson.loads(line)
                marks[record["file"]] = int(record["bytes"]), int(record["rows"])
            except (ValueError, KeyError, TypeError):
                continue
        with self._lock:
            self._tail = stamp, marks
        return marks


def stamp_of(path: Path) -> tuple[int, int]:
    """What changes when the file does; zeros where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
