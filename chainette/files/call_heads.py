"""The heads of call records: where each lies, and what it is about in two 64-bit words. Reads bytes in blocks, almost
without parsing; knows nothing of who looks for them.

The words of a record are that of its group (key and attempt) and that of its row (group and row id). Equal words are
most probably, but not surely, about the same.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from chainette.files.call_log import CALLS_PER_FILE
from chainette.files.disk import folder_error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Words = npt.NDArray[np.uint64]
    Positions = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

OFFSET_BITS = 40
"""A place is the number of the part above these bits, and where in it the record begins."""

_BLOCK_BYTES = 1 << 22

_NEWLINE, _QUOTE = b'\n"'
_OPEN, _KEY, _ATTEMPT = b'{"_id":"', b'","key":"', b'","attempt":'
_HEX_DIGITS = 32
_AFTER_ID = len(_KEY) + _HEX_DIGITS + len(_ATTEMPT) + len("0,")
_ID_WIDTHS = (40, 256)
"""Bytes in which the end of an id is looked for in all lines at once; multiples of 8."""
_HEAD = re.compile(rb'\{"_id":"((?:[^"\\]++|\\.)*+)","key":"([0-9a-f]{32})","attempt":([0-9]{1,9}),', re.DOTALL)
_ERROR = b',"error":{'

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BY_ATTEMPT = 0xD6E8FEB86659FD93
_MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)


@dataclass(frozen=True, slots=True)
class CallPart:
    path: Path
    node: str
    """The name of the node's folder."""
    skip: int
    """Lines from the first on that are left out."""


class CallHeads:
    """The heads of all records of some parts."""

    def __init__(self, parts: list[CallPart], *, answered: bool) -> None:
        """With `answered`, without those of records that have an error."""
        self._parts = parts
        self._answered = answered
        self._columns: list[Words] = []
        self._count = 0
        self.bytes = 0
        """Of the lines that were read."""
        self.damaged = 0
        """Lines that are no record."""

    def read(self) -> None:
        """Raises: RunFolderError: a part cannot be read."""
        import numpy as np

        # Memory costs nothing until it is written to, so it does not matter that last parts have fewer lines.
        self._columns = [np.empty(len(self._parts) * CALLS_PER_FILE, np.uint64) for _ in range(3)]
        for number, part in enumerate(self._parts):
            try:
                self._read_part(part, number << OFFSET_BITS)
            except OSError as error:
                raise folder_error(part.path, error, "cannot read") from error

    def _read_part(self, part: CallPart, place: int) -> None:
        import numpy as np

        skip, rest = part.skip, b""
        with open(part.path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                text = rest + block if rest else block
                ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)
                starts = np.append(0, ends + 1)[:-1]
                if len(ends) > skip:
                    self._add(text, starts[skip:], ends[skip:], place)
                skip = max(skip - len(ends), 0)
                size = int(ends[-1]) + 1 if len(ends) else 0
                place += size
                rest = text[size:]

    def _add(self, text: bytes, starts: Positions, ends: Positions, place: int) -> None:
        import numpy as np

        groups, rows, wanted = _heads(text, starts, ends)
        self.damaged += len(wanted) - int(np.count_nonzero(wanted))
        self.bytes += int(ends[-1] - starts[0])
        if self._answered:
            wanted &= ~_with_error(text, starts, ends)
        first, self._count = self._count, self._count + int(np.count_nonzero(wanted))
        if self._count > len(self._columns[0]):
            self._columns = [np.concatenate((column, np.empty_like(column), groups)) for column in self._columns]
        places = starts.astype(np.uint64) + np.uint64(place)
        for column, words in zip(self._columns, (groups, rows, places), strict=True):
            column[first : self._count] = words[wanted]

    def in_order(self) -> tuple[memoryview[int], memoryview[int], memoryview[int], memoryview[int]]:
        """The groups, in order; where the record of each lies; the rows, in order; for each its position in the groups.

        The records of one group stand as they were logged; of several of one row in one node, only the last is there.
        Leaves nothing behind, so that no memory is needed twice.
        """
        import numpy as np

        groups, rows, places = (column[: self._count] for column in self._columns)
        self._columns = []
        by_row = np.argsort(rows, kind="stable")
        rows = rows[by_row]
        older = self._older(rows, by_row, places)
        if older.any():
            kept = np.ones(len(rows), np.bool_)
            kept[by_row[older]] = False
            by_row = (np.cumsum(kept) - 1)[by_row[~older]]
            groups, rows, places = groups[kept], rows[~older], places[kept]
        by_row = by_row.astype(np.uint32)
        by_group = np.argsort(groups, kind="stable")
        groups.sort()
        places = places[by_group]
        position = np.empty(len(by_group), np.uint32)
        position[by_group] = np.arange(len(by_group), dtype=np.uint32)
        del by_group
        return groups.data, places.data, rows.data, position[by_row].data

    def _older(self, rows: Words, by_row: Positions, places: Words) -> Flags:
        """Of rows in order: whether the next record is of the same row in the same node, and so replaces it."""
        import numpy as np

        older = np.zeros(len(rows), np.bool_)
        older[:-1] = rows[1:] == rows[:-1]
        pairs = np.flatnonzero(older)
        nodes = np.unique([part.node for part in self._parts], return_inverse=True)[1]
        first, second = (nodes[places[by_row[at]] >> np.uint64(OFFSET_BITS)] for at in (pairs, pairs + 1))
        older[pairs] = first == second
        return older


def _heads(text: bytes, starts: Positions, ends: Positions) -> tuple[Words, Words, Flags]:
    """Group and row of each line, and whether it is a record at all."""
    import numpy as np

    chars = np.frombuffer(text, np.uint8)
    groups, rows = np.zeros(len(starts), np.uint64), np.zeros(len(starts), np.uint64)
    whole = chars[ends - 1] == ord("}")
    if b"\0" in text:
        whole[np.searchsorted(ends, np.flatnonzero(chars[: ends[-1]] == 0))] = False
    known = np.zeros(len(starts), np.bool_)
    for width in _ID_WIDTHS:
        fits = whole & ~known & (starts + (len(_OPEN) + width + _AFTER_ID) <= len(text))
        if fits.any():
            lines = np.flatnonzero(fits)
            groups[lines], rows[lines], known[lines] = _usual_heads(chars, starts[lines], ends[lines], width)
    for line in np.flatnonzero(whole & ~known):
        if found := _HEAD.match(text, starts[line], ends[line]):
            row_id, key, attempt = found.groups()
            groups[line] = group = group_word(key.decode(), int(attempt))
            rows[line] = row_word(group, row_id)
            known[line] = True
    return groups, rows, known


def _usual_heads(chars: Bytes, starts: Positions, ends: Positions, width: int) -> tuple[Words, Words, Flags]:
    """As `_heads`, for ids below `width` bytes without quotes, and attempts of one digit; others are not known."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    begin = sliding_window_view(chars, len(_OPEN) + width)[starts]
    ids = begin[:, len(_OPEN) :]
    lengths = (ids == _QUOTE).argmax(axis=1)
    after = starts + len(_OPEN) + lengths
    rest = sliding_window_view(chars, _AFTER_ID)[after]
    key = rest[:, len(_KEY) : len(_KEY) + _HEX_DIGITS]
    digit = rest[:, -2] - np.uint8(ord("0"))
    known = (
        _is(begin[:, : len(_OPEN)], _OPEN)
        & (after + _AFTER_ID <= ends)
        & _is(rest[:, : len(_KEY)], _KEY)
        & np.isin(key, np.frombuffer(b"0123456789abcdef", np.uint8), kind="table").all(axis=1)
        & _is(rest[:, len(_KEY) + _HEX_DIGITS : -2], _ATTEMPT)
        & (digit <= 9)
        & (rest[:, -1] == ord(","))
    )
    ids = np.where(np.arange(width) < lengths[:, None], ids, np.uint8(0))
    factors = np.array([_factor(i) for i in range(width // 8)], np.uint64)
    groups = (_as_words(key) * factors[:4]).sum(axis=1) + digit.astype(np.uint64) * np.uint64(_BY_ATTEMPT)
    mixed = _as_words(ids) * factors
    for factor in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return groups, groups + (mixed ^ (mixed >> np.uint64(33))).sum(axis=1), known


def _is(chars: Bytes, text: bytes) -> Flags:
    import numpy as np

    found: Flags = (chars == np.frombuffer(text, np.uint8)).all(axis=1)
    return found


def _as_words(chars: Bytes) -> Words:
    import numpy as np

    return np.ascontiguousarray(chars).view("<u8").astype(np.uint64, copy=False)


def _with_error(text: bytes, starts: Positions, ends: Positions) -> Flags:
    """Records of calls without an answer. In a text the quotes are escaped, so few other lines need be parsed."""
    import numpy as np

    found = np.zeros(len(starts), np.bool_)
    at = text.find(_ERROR, int(starts[0]))
    while at >= 0:
        line = int(np.searchsorted(ends, at))
        if line == len(ends):
            break
        try:
            record = orjson.loads(text[starts[line] : ends[line]])
            found[line] = isinstance(record, dict) and record.get("error") is not None
        except ValueError:
            pass  # looked at again when it is asked for
        at = text.find(_ERROR, int(ends[line]))
    return found


def group_word(key: str, attempt: int) -> int:
    words = enumerate(_words(key.encode("utf-8", "replace")))
    return (sum(word * _factor(i) for i, word in words) + attempt * _BY_ATTEMPT) & _MASK


def row_word(group: int, row_id: bytes) -> int:
    """Of an id as its JSON text. A sum, so that one for short ids and one for long ones say the same."""
    for i, word in enumerate(_words(row_id)):
        group += _mixed(word * _factor(i) & _MASK)
    return group & _MASK


def _mixed(word: int) -> int:
    for factor in _MIX:
        word = (word ^ (word >> 33)) * factor & _MASK
    return word ^ (word >> 33)


def _words(text: bytes) -> tuple[int, ...]:
    count = -(-len(text) // 8)
    return struct.unpack(f"<{count}Q", text.ljust(count * 8, b"\0"))


@lru_cache(maxsize=256)
def _factor(i: int) -> int:
    """Odd, so that no two words become one."""
    return _mixed((i + 1) * _GOLDEN & _MASK) | 1
