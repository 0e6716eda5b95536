"""Finished calls of a run by their key, so that a call is looked up before it is made. Knows nothing of what the calls
mean, nor of who asks.

A record is read and parsed when it is asked for, and compared with what was asked; until then it costs 29 bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from chainette.files.call_heads import OFFSET_BITS, CallHeads, CallPart, group_word, row_word
from chainette.files.call_log import CALLS_PER_FILE
from chainette.files.disk import folder_error
from chainette.files.names import folder_name

_PART = re.compile(r"[0-9]+\.jsonl")
_MAX_OPEN = 8
_LARGE_GROUP = 1024
"""Records of one key from which on it is remembered how far they were taken; of fewer, looking is as quick."""


class CallIndex:
    """Used from one thread at a time. What is appended to the folder after `of` is not in it."""

    def __init__(self, parts: list[CallPart], heads: CallHeads) -> None:
        self.damaged = heads.damaged
        """Lines that are no record; half a line at the end of a part is not among them."""
        self._parts = parts
        self._groups, self._places, self._rows, self._row_at = heads.in_order()
        self._taken = bytearray(len(self._groups))
        self._files = _Files([part.path for part in parts], heads.bytes // max(len(self._groups), 1))
        self._taken_up_to: dict[int, int] = {}

    @classmethod
    def of(cls, run: Path, *, since: Mapping[str, int] | None = None, answered: bool = False) -> CallIndex:
        """Read the heads of all records.

        `since` says for a node id how many of its records, from the first on, are left out. `answered` leaves out
        records without an answer.

        Raises:
            RunFolderError: a part cannot be read.
        """
        skips = {folder_name(node_id): count for node_id, count in (since or {}).items()}
        parts = _parts(run / "calls", skips)
        heads = CallHeads(parts, answered=answered)
        heads.read()
        return cls(parts, heads)

    def __len__(self) -> int:
        """How many records can be found."""
        return len(self._taken)

    def __enter__(self) -> CallIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give files and memory back. It can be asked for nothing more."""
        self._files.close()
        for column in (self._groups, self._places, self._rows, self._row_at):
            column.release()

    def find(self, key: str, attempt: int, row_id: str, *, node_id: str | None = None) -> dict[str, Any] | None:
        """That row's own record, the latest where a node has several.

        Where several nodes have one, that of `node_id` comes first.

        Raises:
            RunFolderError: the part cannot be read.
        """
        for at in self._own(group_word(key, attempt), row_id, node_id):
            if record := self._read(at, key, attempt, row_id):
                return record
        return None

    def take(self, key: str, attempt: int, row_id: str, *, node_id: str | None = None) -> dict[str, Any] | None:
        """The row's own record as `find` has it, else the next of that key and attempt, in the order they were logged.

        Each record is given once.

        Raises:
            RunFolderError: the part cannot be read.
        """
        group = group_word(key, attempt)
        for at in self._own(group, row_id, node_id):
            if not self._taken[at] and (record := self._read(at, key, attempt, row_id)):
                self._taken[at] = 1
                return record
        for at in self._left(group):
            if record := self._read(at, key, attempt):
                return record
        return None

    def _own(self, group: int, row_id: str, node_id: str | None) -> list[int]:
        """Where the records of the row are, those to prefer first."""
        try:
            text = orjson.dumps(row_id)[1:-1]
        except TypeError:  # a lone surrogate, which no record can hold
            return []
        word = row_word(group, text)
        first = bisect_left(self._rows, word)
        found: list[int] = []
        for i in range(first, len(self._rows)):
            if self._rows[i] != word:
                break
            found.append(self._row_at[i])
        if node_id is not None and len(found) > 1:
            name = folder_name(node_id)
            found.sort(key=lambda at: self._parts[self._places[at] >> OFFSET_BITS].node != name)
        return found

    def _left(self, group: int) -> Iterator[int]:
        """Records that nobody took; each is taken by being looked at, so that a damaged one is not read twice."""
        first = bisect_left(self._groups, group)
        end = bisect_right(self._groups, group, lo=first)
        is_large = end - first > _LARGE_GROUP
        at = self._taken_up_to.get(first, first) if is_large else first
        while (at := self._taken.find(0, at, end)) >= 0:
            self._taken[at] = 1
            if is_large:
                self._taken_up_to[first] = at + 1
            yield at
        if is_large:
            self._taken_up_to[first] = end

    def _read(self, at: int, key: str, attempt: int, row_id: str | None = None) -> dict[str, Any] | None:
        place = self._places[at]
        line = self._files.line(place >> OFFSET_BITS, place & ((1 << OFFSET_BITS) - 1))
        record = _record(line)
        if record is None or record.get("key") != key or record.get("attempt") != attempt:
            return None
        return record if row_id is None or record.get("_id") == row_id else None


def logged_calls(
    run: Path, *, since: Mapping[str, int] | None = None, containing: bytes = b""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of the node's folder and the record, node by node, in the order they were logged.

    `since` is as in `CallIndex.of`; records without these bytes are left out, as are damaged ones.

    Raises:
        RunFolderError: a part cannot be read.
    """
    skips = {folder_name(node_id): count for node_id, count in (since or {}).items()}
    for part in _parts(run / "calls", skips):
        try:
            with open(part.path, "rb") as file:
                for line in islice(file, part.skip, None):
                    record = _record(line) if containing in line else None
                    if record is not None:
                        yield part.node, record
        except OSError as error:
            raise folder_error(part.path, error, "cannot read") from error


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class _Files:
    """Lines of parts, by where they begin. Keeps the parts that were read last open."""

    def __init__(self, paths: list[Path], mean_bytes: int) -> None:
        self._paths = paths
        self._first_read = max(1024, 2 * mean_bytes)
        self._open: dict[int, BinaryIO] = {}

    def line(self, number: int, offset: int) -> bytes:
        """Without its newline; empty where the file is shorter now.

        Raises:
            RunFolderError: the part cannot be read.
        """
        try:
            file = self._file(number)
            file.seek(offset)
            text = file.read(self._first_read)
            while (end := text.find(b"\n")) < 0:
                more = file.read(len(text) + 1)
                if not more:
                    return b""
                text += more
        except OSError as error:
            raise folder_error(self._paths[number], error, "cannot read") from error
        return text[:end]

    def _file(self, number: int) -> BinaryIO:
        file = self._open.pop(number, None)
        if file is None:
            file = open(self._paths[number], "rb", buffering=0)  # noqa: SIM115 (stays open)
            if len(self._open) == _MAX_OPEN:
                self._open.pop(next(iter(self._open))).close()
        self._open[number] = file
        return file

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _parts(calls: Path, skips: Mapping[str, int]) -> list[CallPart]:
    """The parts of which something is wanted, node by node, in order."""
    parts = []
    try:
        for folder in sorted(path for path in calls.iterdir() if path.is_dir()) if calls.is_dir() else ():
            skip = skips.get(folder.name, 0)
            named = {int(path.stem): path for path in folder.iterdir() if _PART.fullmatch(path.name)}
            for number, path in sorted(named.items()):
                skip_here = max(skip - number * CALLS_PER_FILE, 0)
                if skip_here < CALLS_PER_FILE:
                    parts.append(CallPart(path, folder.name, skip_here))
    except OSError as error:
        raise folder_error(calls, error, "cannot read") from error
    return parts
