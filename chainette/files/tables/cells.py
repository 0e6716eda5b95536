"""A CSV part of a table, read by place. Knows where records begin, not what is asked."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from chainette.files.disk import folder_error
from chainette.files.parts import CsvPart
from chainette.files.schema import Column
from chainette.files.tables.parts import BLOCK_ROWS, EVERY, STEP, Block, stretches
from chainette.files.tables.query import Row


class CellsPart:
    """A CSV file as we write it: whole, and never changed."""

    adds = False

    def __init__(self, path: Path, packed: list[Column]) -> None:
        self.path = path
        self._part = CsvPart(path, packed)
        self._lock = threading.Lock()
        self._starts = array("Q")
        self._records = -1

    def _open(self) -> Any:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error

    def _look(self) -> None:
        """Notes where every thousandth record begins: behind a line break that no quotes are around."""
        import numpy as np

        with self._lock, self._open() as file:
            if self._records >= 0:
                return
            at = quotes = records = 0
            starts = array("Q")
            while data := file.read(STEP):
                codes = np.frombuffer(data, np.uint8)
                odd = (np.cumsum(codes == 0x22) + quotes) & 1
                breaks = np.flatnonzero((codes == 0x0A) & (odd == 0))
                # The first record is the header: the n-th row begins behind the break of the n-th record.
                starts.extend(int(at + breaks[n] + 1) for n in range(-records % EVERY, len(breaks), EVERY))
                quotes = int(odd[-1])
                records += len(breaks)
                at += len(data)
            self._starts, self._records = starts, records

    def count(self) -> int:
        self._look()
        return max(self._records - 1, 0)

    def read(self, start: int, stop: int) -> list[Row]:
        self._look()
        if start >= min(stop, self.count()):
            return []
        nearest = start // EVERY
        rows = self._part.rows_from(self._starts[nearest])
        return list(islice(rows, start - nearest * EVERY, stop - nearest * EVERY))

    def pick(self, numbers: Sequence[int]) -> list[Row]:
        return stretches(self.read, numbers)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Block]:
        rows = self._part.rows(0, 1 << 62)
        at = 0
        while some := list(islice(rows, BLOCK_ROWS // 10)):
            yield Block(self, at, some)
            at += len(some)

    def parsed(self, line: bytes) -> Row:
        raise NotImplementedError

    def dressed(self, row: Row) -> Row:
        return row
