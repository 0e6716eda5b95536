"""The tables and comparisons of runs that were looked at last, kept from page to page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from chainette.files.comparing_live import LiveComparison
from chainette.files.reading import RunReader
from chainette.files.tables import Tables

_KEPT = 4
_COMPARED = 2
_SIGNS = ("graph.json", "commits.jsonl")
"""Files that are replaced, and not only grow, when the rows become others: by a retry, or a run under the same name."""


class OpenTables:
    """Safe to use from several threads."""

    def __init__(self, reader: Callable[[str], RunReader]) -> None:
        """`reader` gives a run by its name."""
        self._reader = reader
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, tuple[int, ...]], Tables] = OrderedDict()
        self.sql_turn = threading.Lock()
        """Whose turn it is to ask with SQL: that takes memory and processors."""

    def of(self, name: str) -> Tables:
        """The tables of the run as it is now.

        Raises:
            RunFolderError: there is no such run.
        """
        reader = self._reader(name)
        key = _key(reader)
        with self._lock:
            if key not in self._open:
                self._open[key] = Tables(reader)
                while len(self._open) > _KEPT:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            return self._open[key]


class OpenComparisons:
    """Safe to use from several threads. Those that make room for others are stopped."""

    def __init__(self, reader: Callable[[str], RunReader]) -> None:
        """`reader` gives a run by its name."""
        self._reader = reader
        self._lock = threading.Lock()
        self._open: OrderedDict[object, LiveComparison] = OrderedDict()

    def of(self, before: str, after: str, step: str) -> LiveComparison:
        """The comparison of a node, begun when it is first asked for.

        Raises:
            RunFolderError: there is no such run, or neither has that node.
        """
        readers = self._reader(before), self._reader(after)
        key = _key(readers[0]), _key(readers[1]), _sizes(readers[0]), _sizes(readers[1]), step
        with self._lock:
            found = self._open.get(key)
            if found is None or found.stopped or found.error is not None:
                found = self._open[key] = LiveComparison(*readers, step)
                while len(self._open) > _COMPARED:
                    self._open.popitem(last=False)[1].stop()
            self._open.move_to_end(key)
            return found


def _key(reader: RunReader) -> tuple[str, tuple[int, ...]]:
    return str(reader.path), tuple(_identity(reader.path / sign) for sign in _SIGNS)


def _sizes(reader: RunReader) -> int:
    """Of a run that goes on, how far it is."""
    try:
        return (reader.path / "commits.jsonl").stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
