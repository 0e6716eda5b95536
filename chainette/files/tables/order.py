"""The first rows of an answer by the value of a field, in one pass and in the memory of those rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from chainette.files.tables.column_blocks import column_field, numbered
from chainette.files.tables.evaluator import line_table
from chainette.files.tables.field_bytes import FlatLines, Scratch
from chainette.files.tables.parts import Block, Columns, Lines
from chainette.files.tables.predicates import FieldSql, fields_of, json_field, order_by, pointer
from chainette.files.tables.query import Path, rank_of, value_at
from chainette.files.tables.sql_views import name_in_sql

_FIRST = 1_000
_MOST = 20_000
_FEW = 100
"""Rows of a block that are quicker read than asked for."""


@dataclass(slots=True)
class RankedBlock:
    """What a block adds to the order."""

    first: list[tuple[tuple[int, Any], int]]
    """What a row is sorted by, and its number."""
    valued: int
    """Rows with a value."""
    without: Any
    """The numbers of those without."""


class Ranking:
    """The first rows so far."""

    def __init__(self, path: Path, descending: bool, engine: Callable[[], Any]) -> None:
        self.path = path
        self._descending = descending
        self._engine = engine
        self._most = _FIRST
        self._kept: list[tuple[tuple[int, Any], int, int]] = []
        self._valued = 0

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows with a value than are kept."""
        return self._valued > len(self._kept)

    def widen(self, offset: int, wanted: int) -> bool:
        """Keep that many, as far as is allowed. Returns whether all rows must be gone through again."""
        if offset >= _MOST or wanted <= self._most or self._most >= _MOST or (self._valued and not self.is_capped):
            return False
        self._most = min(max(wanted, 10 * self._most), _MOST)
        again = self._valued > 0
        self._kept, self._valued = [], 0
        return again

    def places(self) -> list[tuple[int, int]]:
        """(part, row of it), in order."""
        return [(part, number) for _, part, number in self._kept]

    def add(self, ranked: RankedBlock, part: int, start: int) -> None:
        """The rows of a block, the blocks in the order of the files."""
        self._valued += ranked.valued
        if not ranked.first:
            return
        kept = self._kept + [(key, part, start + number) for key, number in ranked.first]
        # Stable both ways: rows of equal keys stay as they stand in the files.
        kept.sort(key=lambda one: one[0], reverse=self._descending)
        self._kept = kept[: self._most]

    def of_block(self, block: Block, hits: Any) -> RankedBlock:
        """The block's first rows among `hits`, and those of `hits` without a value."""
        if isinstance(block.content, Lines) and not block.part.adds and len(hits) >= _FEW:
            found = self._numbers(block.content, hits) or self._at_once(block.content, hits)
            if found is not None:
                return found
        if isinstance(block.content, Columns):
            field = column_field(block.content, self.path)
            if field is not None:
                return self._by_column(block.content, field, hits)
        return self._one_by_one(block, hits)

    def _numbers(self, lines: Lines, hits: Any) -> RankedBlock | None:
        """None where there is anything but plain numbers and nulls."""
        import numpy as np

        flat = FlatLines.of(lines, Scratch()) if len(self.path) == 1 else None
        column = flat.column(self.path[0]) if flat is not None else None
        if column is None:
            return None
        null = column.first()[hits] == 0x6E
        values, plain = column.numbers()
        if not (plain[hits] | null).all():
            return None
        valued = hits[~null]
        keys = values[valued]
        kept = self._kept
        if len(kept) >= self._most and kept[-1][0][0] == 0:
            # Of equal rows the earlier ones stay, so a later row must be better.
            better = keys > kept[-1][0][1] if self._descending else keys < kept[-1][0][1]
            chosen, keys = valued[better], keys[better]
        else:
            chosen = valued
        order = np.argsort(-keys if self._descending else keys, kind="stable")[: self._most]
        first = [((0, float(keys[n])), int(chosen[n])) for n in order]
        return RankedBlock(first, len(valued), hits[null])

    def _by_column(self, content: Columns, field: FieldSql, hits: Any) -> RankedBlock:
        import numpy as np
        import pyarrow as pa

        way = "DESC" if self._descending else "ASC"
        name = name_in_sql(self.path[0])
        cursor = self._engine().cursor()
        try:
            cursor.register("block", numbered(content.table).take(pa.array(hits, pa.int64())))
            first = cursor.execute(
                f"SELECT i, {name} FROM block WHERE NOT {field.null} ORDER BY {name} {way}, i LIMIT {self._most}"
            ).fetchall()
            without = [
                number for (number,) in cursor.execute(f"SELECT i FROM block WHERE {field.null} ORDER BY i").fetchall()
            ]
        finally:
            cursor.close()
        ranked = [(rank_of(value), number) for number, value in first]
        return RankedBlock(ranked, len(hits) - len(without), np.array(without, np.int64))

    def _one_by_one(self, block: Block, hits: Any) -> RankedBlock:
        import numpy as np

        ranked: list[tuple[tuple[int, Any], int]] = []
        without: list[int] = []
        for number, row in zip(map(int, hits), block.rows([int(number) for number in hits]), strict=True):
            value = value_at(row, self.path)
            if value is None:
                without.append(number)
            else:
                ranked.append((rank_of(value), number))
        ranked.sort(key=lambda one: one[0], reverse=self._descending)
        return RankedBlock(ranked, len(ranked), np.array(without, np.int64))

    def _at_once(self, lines: Lines, hits: Any) -> RankedBlock | None:
        import duckdb
        import numpy as np
        import pyarrow.compute as pc

        said = pointer(self.path)
        if said is None:
            return None
        cursor = self._engine().cursor()
        field = json_field("f0")
        try:
            cursor.register("block", line_table(lines, hits))
            found = cursor.sql(
                f"SELECT i, nullif(f0, 'null') AS f0 FROM ({fields_of('block', [said])})"
            ).to_arrow_table()
            cursor.register("found", found)
            order = order_by(field, "f0", self._descending)
            first = cursor.execute(
                f"SELECT i, f0 FROM found WHERE f0 IS NOT NULL ORDER BY {order} LIMIT {self._most}"
            ).fetchall()
        except duckdb.Error:
            return None
        finally:
            cursor.close()
        without = np.array([], np.int64)
        if found["f0"].null_count:
            without = np.sort(found["i"].filter(pc.is_null(found["f0"])).to_numpy()).astype(np.int64)
        ranked = [(rank_of(from_json(token)), number) for number, token in first]
        return RankedBlock(ranked, len(found) - len(without), without)
