"""A run folder as tables: pages by place, conditions, search and order. Knows where files are, not what a run meant.

tables = Tables(RunReader(path))
tables.page("qa", offset=5_000_000, limit=50)
found = tables.select("qa", Query((Condition("confidence", ">", 0.9),)))
found.page(0, 50)           # as soon as 50 are found
while not found.advance(0.2):
    print(found.scanned)    # counts on
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainette.errors import RunFolderError, nearest
from chainette.files.call_log import CALLS_PER_FILE
from chainette.files.names import INPUT_NODE, folder_name
from chainette.files.schema import Column
from chainette.files.tables.cells import CellsPart
from chainette.files.tables.fields import Fields
from chainette.files.tables.marks import Marks, stamp_of
from chainette.files.tables.parts import ColumnsPart, LinesPart, TablePart
from chainette.files.tables.query import (
    OPS,
    Condition,
    Op,
    Page,
    Query,
    Row,
    TableColumn,
    TableInfo,
    op_of,
    path_of,
    typed_value,
)

if TYPE_CHECKING:
    from chainette.files.reading import RunReader
    from chainette.files.tables.scan import Selection

__all__ = ["OPS", "Condition", "Op", "Page", "Query", "Row", "TableColumn", "TableInfo", "Tables"]

FLATTENED, FAILED, CALLS = "flattened", "failed", "calls/"
_ANSWERS_KEPT = 8
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(slots=True)
class _Source:
    """A table's parts at one moment, and where each begins."""

    info: TableInfo
    parts: Sequence[TablePart]
    counts: list[int]
    _starts: list[int] | None = None

    def count(self) -> int:
        return sum(self.counts)

    def start_of(self, part: int) -> int:
        if self._starts is None:
            self._starts = [0]
            for count in self.counts:
                self._starts.append(self._starts[-1] + count)
        return self._starts[part]

    def read(self, offset: int, limit: int) -> list[Row]:
        rows: list[Row] = []
        before = 0
        for part, count in zip(self.parts, self.counts, strict=True):
            if before >= offset + limit:
                break
            if before + count > offset:
                rows += part.read(max(offset - before, 0), min(offset + limit - before, count))
            before += count
        return rows


class Tables:
    """One run's tables. Safe to use from several threads; keeps where lines begin in the parts it has read."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        self._graph = reader.graph()
        self._fields = Fields(self._graph)
        self._marks = Marks(reader.path)
        self._parts: dict[Path, TablePart] = {}
        self._answers: OrderedDict[Any, Selection] = OrderedDict()
        self._lock = threading.RLock()
        self._threads: ThreadPoolExecutor | None = None
        self._database: Any = None

    def close(self) -> None:
        """Lets threads and memory go. A later question takes them again."""
        with self._lock:
            for answer in self._answers.values():
                answer.cancel()
            self._answers.clear()
            if self._threads is not None:
                self._threads.shutdown(wait=True, cancel_futures=True)
            if self._database is not None:
                self._database.close()
            self._threads = self._database = None

    def names(self) -> list[TableInfo]:
        """The tables with rows: `chain_input`, the steps as they ran, `flattened`, `failed`, `calls/qa` for a step.

        A step that has the name of another table is the one that is meant by it.
        """
        steps = self._reader.step_ids()
        found = [TableInfo(INPUT_NODE, "input")] if INPUT_NODE not in steps else []
        found += [TableInfo(step, "step", step) for step in steps]
        found += [TableInfo(name, name) for name in (FLATTENED, FAILED) if name not in steps]
        found += [TableInfo(CALLS + step, "calls", step) for step in steps if CALLS + step not in steps]
        return [info for info in found if self._files(info)]

    def _info(self, name: str) -> TableInfo:
        """Also of a table that has no rows yet."""
        steps = self._reader.step_ids()
        if name in steps:
            return TableInfo(name, "step", name)
        if name in (INPUT_NODE, FLATTENED, FAILED):
            return TableInfo(name, "input" if name == INPUT_NODE else name)
        if name.startswith(CALLS) and name.removeprefix(CALLS) in steps:
            return TableInfo(name, "calls", name.removeprefix(CALLS))
        known = [INPUT_NODE, *steps, FLATTENED, FAILED, *(CALLS + step for step in steps)]
        raise RunFolderError(f'{self._reader.path.name} has no table "{name}" ({nearest(name, known)})')

    def below(self, info: TableInfo) -> str:
        """The folder of a table's files."""
        match info.kind:
            case "input":
                return "inputs"
            case "step":
                return f"steps/{folder_name(info.step)}"
            case "calls":
                return f"calls/{folder_name(info.step)}"
        return info.kind

    def _files(self, info: TableInfo) -> list[Path]:
        return [part.path for part in self._reader.parts(self.below(info))]

    def source(self, name: str) -> _Source:
        """The table as it is now.

        Raises:
            RunFolderError: the run has no such table, or it cannot be read.
        """
        info = self._info(name)
        with self._lock:
            parts = [self._part(info, path) for path in self._files(info)]
            if info.kind == FAILED:
                order = {folder_name(id): n for n, id in enumerate([INPUT_NODE, *self._reader.step_ids()])}
                parts.sort(key=lambda part: (order.get(part.path.stem, len(order)), part.path.stem))
            return _Source(info, parts, self._counts(info, parts))

    def _part(self, info: TableInfo, path: Path) -> TablePart:
        part = self._parts.get(path)
        if part is None:
            said: Row = {}
            if info.kind == FAILED:
                names = {folder_name(id): id for id in self._reader.step_ids()}
                said = {"step": names.get(path.stem, path.stem)}
            part = self._parts[path] = _part_of(path, said, self._fields.packed(info))
        return part

    def _counts(self, info: TableInfo, parts: Sequence[TablePart]) -> list[int]:
        """Rows by part. All but the last are full, so none of them is read for it."""
        full = (
            CALLS_PER_FILE
            if info.kind == "calls"
            else int(self._graph.get("options", {}).get("max_lines_per_file") or 0)
        )
        stems = [part.path.stem for part in parts]
        if not full or info.kind == FAILED or stems != [f"{n:03d}" for n in range(len(parts))]:
            return [self._marks.count(part) for part in parts]
        return [full] * (len(parts) - 1) + [self._marks.count(part) for part in parts[-1:]]

    def count(self, name: str) -> int:
        """How many rows there are; of a run that goes on, by now.

        Raises:
            RunFolderError: the run has no such table, or it cannot be read.
        """
        return self.source(name).count()

    def page(self, name: str, offset: int = 0, limit: int = 50) -> Page:
        """Rows as they stand in the files. An offset behind the end gives no rows.

        Raises:
            RunFolderError: the run has no such table, or it cannot be read.
        """
        source = self.source(name)
        rows = source.read(max(offset, 0), max(limit, 0))
        total = source.count()
        return Page(rows, list(range(offset, offset + len(rows))), offset, total, total, total, complete=True)

    def row_at(self, name: str, place: int) -> Row | None:
        """The row at a place that a page told."""
        return next(iter(self.source(name).read(place, 1)), None) if place >= 0 else None

    def columns(self, name: str) -> list[TableColumn]:
        """The fields of a table, `_id` first: what the model says, then what else the first rows have.

        Raises:
            RunFolderError: the run has no such table.
        """
        return self._columns(self.source(name))

    def _columns(self, source: _Source) -> list[TableColumn]:
        return self._fields.columns(source.info, lambda: source.read(0, 20))

    def condition(self, name: str, field: str, op: str, text: str = "", table: str = "") -> Condition:
        """A condition from what somebody typed; the column says whether `5` is a number or a text.

        Raises:
            RunFolderError: no such table, field or operator; with the nearest name.
        """
        columns = self.columns(table or name)
        path = self._path(table or name, field, columns)
        kind = next((column.kind for column in columns if (column.name,) == path), "any")
        known = op_of(op)
        return Condition(field, known, typed_value(text, known, kind), "" if table == name else table)

    def _path(self, table: str, field: str, columns: list[TableColumn]) -> tuple[str, ...]:
        names = [column.name for column in columns]
        path = path_of(field, names)
        if names and path[0] not in names and not any(column.name == "_extra" for column in columns):
            raise RunFolderError(f'{table} has no field "{field}" ({nearest(field, names)})')
        return path

    def select(self, name: str, query: Query) -> Selection:
        """An answer that is looked for as it is asked for. The same question again is the same object while the table
        does not change, so that going on to its next page begins nothing anew.

        Raises:
            RunFolderError: no such table or field, or a value that the operator does not take.
        """
        source = self.source(name)
        state = tuple((part.path, *stamp_of(part.path)) for part in source.parts[-2:])
        key = (name, repr(query), len(source.parts), state)
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
                return found
        selection = self._selection(source, query)
        with self._lock:
            self._answers[key] = selection
            while len(self._answers) > _ANSWERS_KEPT:
                _, dropped = self._answers.popitem(last=False)
                dropped.cancel()
        return selection

    def _selection(self, source: _Source, query: Query) -> Selection:
        from chainette.files.tables.evaluator import Evaluator
        from chainette.files.tables.kin import Kindred
        from chainette.files.tables.order import Ranking
        from chainette.files.tables.scan import Selection

        name, columns = source.info.name, self._columns(source)
        own = [(self._path(name, one.field, columns), one) for one in query.where if one.table in ("", name)]
        others: dict[str, list[Condition]] = {}
        for one in query.where:
            if one.table not in ("", name):
                others.setdefault(one.table, []).append(one)
        kindred = []
        for table, conditions in others.items():
            there = self.source(table)
            known = self._columns(there)
            asked = [(self._path(table, one.field, known), one) for one in conditions]
            kindred.append((Selection(there, Evaluator(asked, "", self._engine), self._pool), Kindred()))
        ranking = None
        if query.order:
            ranking = Ranking(self._path(name, query.order, columns), query.descending, self._engine)
        evaluator = Evaluator(own, query.search, self._engine)
        return Selection(source, evaluator, self._pool, ranking=ranking, kindred=kindred)

    def _pool(self) -> Executor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tables")
            return self._threads

    def _engine(self) -> Any:
        with self._lock:
            if self._database is None:
                from chainette.files.tables.sql import small_engine

                self._database = small_engine()
            return self._database


def _part_of(path: Path, said: Row, packed: list[Column]) -> TablePart:
    """A file as a part, by its format. `said` is what its rows get beside their own fields (JSONL only)."""
    if path.suffix == ".parquet":
        return ColumnsPart(path)
    return CellsPart(path, packed) if path.suffix == ".csv" else LinesPart(path, said)
