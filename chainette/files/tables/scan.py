"""One pass over a table for the rows that meet a query: the first ones as soon as they are found, the rest as long as
somebody asks. Knows parts and blocks, not what a table is called.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from chainette.files.tables.evaluator import Evaluator
from chainette.files.tables.kin import Kindred
from chainette.files.tables.order import RankedBlock, Ranking
from chainette.files.tables.parts import Block, TablePart
from chainette.files.tables.query import Page, Row

AHEAD = 4
"""Blocks that are worked on or wait to be, at a time."""
_PATIENCE_S = 3600.0


class Source(Protocol):
    """The rows of a table at one moment."""

    parts: Sequence[TablePart]

    def count(self) -> int: ...

    def start_of(self, part: int) -> int:
        """Which of the table's rows the part's first is."""
        ...


@dataclass(slots=True)
class _Looked:
    """What is known of one block."""

    rows: int
    hits: Any
    """The numbers of its rows that meet the query; of an ordered query, those of them without a value."""
    found: int
    ranked: RankedBlock | None
    start: int = 0


@dataclass(slots=True)
class _Hits:
    """Rows of one block in as few bytes as they take."""

    part: int
    start: int
    rows: int
    count: int
    packed: Any

    def numbers(self) -> Any:
        """By their place in the part."""
        import numpy as np

        if self.packed is None:
            return np.arange(self.start, self.start + self.rows)
        if self.packed.dtype == np.uint8:
            return np.flatnonzero(np.unpackbits(self.packed, count=self.rows)) + self.start
        return self.packed.astype(np.int64) + self.start


def _pack(numbers: Any, rows: int) -> Any:
    """None for all rows, bits for many, numbers for few."""
    import numpy as np

    if len(numbers) == rows:
        return None
    if len(numbers) * 4 < rows / 8:
        return numbers.astype(np.uint32)
    bits = np.zeros(rows, bool)
    bits[numbers] = True
    return np.packbits(bits)


class _Found:
    """The places of many rows, in order."""

    def __init__(self) -> None:
        self._hits: list[_Hits] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, part: int, start: int, rows: int, numbers: Any) -> None:
        if len(numbers):
            self._hits.append(_Hits(part, start, rows, len(numbers), _pack(numbers, rows)))
            self._ends.append(len(self) + len(numbers))

    def between(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(part, row of it)."""
        at = bisect_right(self._ends, start)
        while at < len(self._hits) and start < stop:
            hits = self._hits[at]
            before = self._ends[at] - hits.count
            chosen = hits.numbers()[start - before : stop - before]
            for number in chosen:
                yield hits.part, int(number)
            start += len(chosen)
            at += 1


class Selection:
    """The answer to a query, as far as it was looked for. Threads may share it; one looks at a time."""

    def __init__(
        self,
        source: Source,
        evaluator: Evaluator,
        pool: Callable[[], Executor],
        *,
        ranking: Ranking | None = None,
        kindred: Sequence[tuple[Selection, Kindred]] = (),
    ) -> None:
        """`kindred` are answers of other tables, of whose items the rows must be."""
        self._source = source
        self._evaluator = evaluator
        self._pool = pool
        self._ranking = ranking
        self._kindred = list(kindred)
        self._lock = threading.Lock()
        self._cancelled = False
        self._begin()

    def _begin(self) -> None:
        self._found = _Found()
        self._count = 0
        self._scanned = 0
        self._complete = False
        self._waiting: deque[tuple[int, bool, Future[_Looked]]] = deque()
        self._blocks = self._all_blocks()
        self._part, self._row = 0, 0

    def _all_blocks(self) -> Iterator[tuple[int, Block]]:
        columns = self._evaluator.columns
        if columns is not None:
            columns = sorted({*columns, "_id", *(self._ranking.path[:1] if self._ranking else ())})
        for number, part in enumerate(self._source.parts):
            for block in part.blocks(columns):
                yield number, block

    @property
    def found(self) -> int:
        """Rows of the answer that are known."""
        return self._count

    @property
    def scanned(self) -> int:
        """Rows of the table that were looked at."""
        return self._scanned

    @property
    def complete(self) -> bool:
        """Whether all rows were looked at."""
        return self._complete

    def cancel(self) -> None:
        """Whoever looks stops soon; what was found stays. Looking may be taken up again."""
        self._cancelled = True

    def advance(self, seconds: float = 0.2) -> bool:
        """Looks on for about so long. Returns whether all rows were looked at.

        Raises:
            RunFolderError: a part cannot be read, or a row is damaged.
        """
        self._cancelled = False
        return self._look(time.monotonic() + seconds, None)

    def page(self, offset: int = 0, limit: int = 50, patience_s: float = _PATIENCE_S) -> Page:
        """Looks on until there are so many rows (or for so long), and gives those there are. An order needs all rows:
        before that, the page is empty.

        Raises:
            RunFolderError: a part cannot be read, or a row is damaged.
        """
        self._cancelled = False
        wanted = offset + limit
        until = time.monotonic() + patience_s
        if self._ranking is not None:
            if self._ranking.widen(offset, wanted):
                with self._lock:
                    self._drop_waiting()
                    self._begin()
            self._look(until, None)
        else:
            self._look(until, wanted)
        with self._lock:
            places = list(self._places(offset, wanted))
            capped = self._ranking is not None and self._ranking.is_capped
        rows = rows_at(self._source.parts, places)
        return Page(
            rows=rows,
            places=[self._source.start_of(part) + number for part, number in places][: len(rows)],
            offset=offset,
            found=self._count,
            scanned=self._scanned,
            table_rows=max(self._source.count(), self._scanned),
            complete=self._complete,
            capped=capped,
        )

    def _places(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        if self._ranking is None:
            yield from self._found.between(start, stop)
            return
        if not self._complete:
            return
        ranked = self._ranking.places()
        yield from ranked[start:stop]
        if not self._ranking.is_capped:
            yield from self._found.between(max(start - len(ranked), 0), max(stop - len(ranked), 0))

    def _look(self, until: float, wanted: int | None) -> bool:
        with self._lock:
            for other, kindred in self._kindred:
                if not other._look_for(kindred, until, lambda: self._cancelled):
                    return False
            while not self._complete and not self._cancelled and (wanted is None or self._count < wanted):
                if time.monotonic() > until:
                    break
                self._step()
            return self._complete

    def _look_for(self, kindred: Kindred, until: float, cancelled: Callable[[], bool]) -> bool:
        """Gathers the ids of the rows that meet the query. Returns whether that is done."""
        with self._lock:
            while not self._complete and not cancelled():
                if time.monotonic() > until:
                    return False
                self._step(kindred)
            if self._complete:
                kindred.close()
            return self._complete

    def _step(self, kindred: Kindred | None = None) -> None:
        """One more block."""
        while len(self._waiting) < AHEAD:
            following = next(self._blocks, None)
            if following is None:
                break
            part, block = following
            self._waiting.append((part, block.start < 0, self._pool().submit(self._work, block, kindred)))
        if not self._waiting:
            self._complete = True
            return
        part, counts_on, future = self._waiting[0]
        looked = future.result()  # a damaged row is told again each time
        self._waiting.popleft()
        if part != self._part or not counts_on:
            self._part, self._row = part, 0 if counts_on else looked.start
        self._found.add(part, self._row, looked.rows, looked.hits)
        if self._ranking is not None and looked.ranked is not None:
            self._ranking.add(looked.ranked, part, self._row)
        self._count += looked.found
        self._scanned += looked.rows
        self._row += looked.rows

    def _work(self, block: Block, kindred: Kindred | None) -> _Looked:
        hits = self._evaluator.matches(block)
        for _, others in self._kindred:
            hits = others.keep(block, hits)
        found, ranked = len(hits), None
        if kindred is not None:
            kindred.add(block, hits)
        if self._ranking is not None:
            ranked = self._ranking.of_block(block, hits)
            hits = ranked.without
        return _Looked(len(block), hits, found, ranked, start=block.start)

    def _drop_waiting(self) -> None:
        for _, _, future in self._waiting:
            future.cancel()


def rows_at(parts: Sequence[TablePart], places: Sequence[tuple[int, int]]) -> list[Row]:
    """Rows by (part, row of it), in that order."""
    wanted: dict[int, set[int]] = {}
    for part, number in places:
        wanted.setdefault(part, set()).add(number)
    rows: dict[tuple[int, int], Row] = {}
    for part, numbers in wanted.items():
        ordered = sorted(numbers)
        rows.update(((part, number), row) for number, row in zip(ordered, parts[part].pick(ordered), strict=False))
    return [rows[place] for place in places if place in rows]
