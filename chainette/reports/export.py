"""One table out of a run: which rows, under which columns, in which format. Knows the reader and files, no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from chainette.errors import RunFolderError, nearest
from chainette.files.names import INPUT_NODE
from chainette.files.plain_rows import PlainRows
from chainette.files.schema import TURN, TURNS, Column
from chainette.files.views import failure_record

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

Format = Literal["jsonl", "csv", "parquet"]
FLATTENED = "flattened"
_ENDINGS: dict[str, Format] = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "jsonlines": "jsonl",
    "csv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
}
_FAILURE = [
    Column("_id", "string"),
    Column("step", "string"),
    Column("kind", "string"),
    Column("message", "string"),
    Column("attempts", "int64"),
    Column("raw", "string"),
    Column("cause", "list", (Column("", "string"),)),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a run is to be exported."""

    step: str | None = None
    """None: the flattened rows; `chain_input`: those that were read."""
    failed: bool = False
    columns: tuple[str, ...] = ()
    """In this order; none: all there are."""
    names: Mapping[str, str] | None = None
    """What columns are called in the table, where that is something else."""
    spreadsheet: bool = False
    """CSV: formulas are defused, and it says that it is UTF-8."""


@dataclass(frozen=True, slots=True)
class Exported:
    rows: int
    columns: tuple[str, ...] | None
    """None in JSONL, where each row has its own."""
    formulas: int = 0
    """Cells that a spreadsheet takes for formulas."""


def format_of(target: str) -> Format:
    """By the ending of a file's name.

    Raises:
        RunFolderError: no such ending, or one of a compression that the format has no use for.
    """
    name = target.rpartition("/")[2].lower()
    stem = name.removesuffix(".gz").removesuffix(".zst")
    found = _ENDINGS.get(stem.rpartition(".")[2]) if "." in stem else None
    if found is None:
        endings = ", ".join(f".{ending}" for ending in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "csv"))
        raise RunFolderError(f"{target}: what format that is its ending does not say ({endings}; or --format)")
    if found == "parquet" and stem != name:
        raise RunFolderError(f"{target}: Parquet is compressed in itself (name it {target[: len(stem) - len(name)]})")
    return found


class Export:
    """The rows that are wanted of a run, found; written by `write`."""

    def __init__(self, reader: RunReader, wanted: Wanted) -> None:
        """
        Raises:
            RunFolderError: no such step, no rows there, or no such column; nothing is written.
        """
        self._wanted = wanted
        self._graph = reader.graph()
        self._run = reader.path.name
        self.rows, self._declared = self._found(reader)
        self._is_empty = not len(self.rows)
        if self._is_empty:
            if not is_empty_table(reader, wanted):
                raise self._nothing(reader)
            self._declared = self._declared_of_none()
        self._picks = self._picked()

    def _found(self, reader: RunReader) -> tuple[_Rows, list[Column]]:
        wanted, steps = self._wanted, reader.step_ids()
        if wanted.failed:
            return _Failures(reader, wanted.step), _FAILURE[1:]
        # A step of such a name comes before what we call so.
        if wanted.step is None or (wanted.step == FLATTENED and FLATTENED not in steps):
            rows = PlainRows(reader.flattened(), flattened_schemas(self._graph))
        elif wanted.step == INPUT_NODE and INPUT_NODE not in steps:
            rows = PlainRows(reader.inputs(), [("", self._graph.get("input_schema") or {})])
        else:
            if wanted.step not in steps:
                hint = nearest(wanted.step, [*steps, INPUT_NODE, FLATTENED])
                raise RunFolderError(f'{self._run} has no step "{wanted.step}" ({hint})')
            rows = PlainRows(reader.rows(wanted.step), [("", node_of(self._graph, wanted.step).get("schema") or {})])
        return rows, rows.declared

    def _declared_of_none(self) -> list[Column]:
        """The columns of a table without rows, `_id` left out."""
        if not isinstance(self.rows, PlainRows):
            return self._declared
        step = self._wanted.step
        loops = len(node_of(self._graph, step).get("loops") or ()) if step is not None else 0
        turn = [TURN if loops == 1 else TURNS] if loops else []
        return [*turn, *self.rows.of_none]

    def _nothing(self, reader: RunReader) -> RunFolderError:
        wanted = self._wanted
        if wanted.failed:
            where = f' at "{wanted.step}"' if wanted.step else ""
            return RunFolderError(f"no row failed{where} in {self._run}: there is nothing to export")
        if wanted.step is None:
            off = (self._graph.get("options") or {}).get("flattened") is False
            why = "it was run with --no-flattened" if off else "none has come to the end"
            error = RunFolderError(f"{self._run} has no flattened rows: {why} (name a step: --step ID)")
            error.add_note(f"next: chainette show {self._run}")
            return error
        node = node_of(self._graph, wanted.step)
        if node.get("written", True):
            why = "it has made none"
        else:
            kind = node.get("type")
            why = "they are not written (yield_output=False)" if kind in ("step", "apply") else f"a {kind} makes none"
        return RunFolderError(f'"{wanted.step}" has no rows in {self._run}: {why}')

    def _picked(self) -> list[Any]:
        from chainette.files.columns import picks

        columns, names = self._wanted.columns, dict(self._wanted.names or {})
        if self._is_empty and not (isinstance(self.rows, PlainRows) and self.rows.says_all):
            # Which columns its rows would have nobody can say: those that were asked for.
            known = {"_id", *(column.name for column in self._declared)}
            asked = dict.fromkeys([*columns, *names])
            self._declared = [*self._declared, *(Column(name, "string") for name in asked if name not in known)]
        found = picks(columns, self.rows, self._declared) if columns else []
        for old in names if columns else ():
            if old not in columns:
                raise RunFolderError(f'--rename: "{old}" is none of the columns ({nearest(old, columns)})')
        if names and not columns:
            # They must be there, and stay where they are.
            picks(list(names), self.rows, self._declared)
        named = [replace(pick, name=names.get(pick.name, pick.name)) for pick in found]
        taken = [pick.name for pick in named]
        if twice := next((name for name in taken if taken.count(name) > 1), None):
            raise RunFolderError(f'--rename: two columns would be called "{twice}"')
        return named

    def write(self, stream: BinaryIO, format: Format) -> Exported:
        """All of it.

        Raises:
            RunFolderError: a row is damaged, or the rows make no table.
            OSError: `stream` takes no more.
        """
        if format == "jsonl":
            return self._write_lines(stream)
        return self._write_table(stream, format)

    def _write_lines(self, stream: BinaryIO) -> Exported:
        from chainette.files.tabling import write_lines

        plain = not self._picks and not self._wanted.names
        if not plain or not isinstance(self.rows, PlainRows):
            chosen = tuple(pick.name for pick in self._picks) or None
            return Exported(write_lines(stream, self._chosen()), chosen)
        written = 0
        for line in self.rows.lines():
            stream.write(line)
            written += 1
        return Exported(written, None)

    def _write_table(self, stream: BinaryIO, format: Format) -> Exported:
        from chainette.files.tabling import Formulas, write_csv, write_parquet

        columns = self._columns()
        formulas = Formulas(defuse=self._wanted.spreadsheet)
        with _told():
            if format == "csv":
                rows = write_csv(stream, self._chosen(), columns, formulas)
            else:
                rows = write_parquet(stream, self._chosen(), columns)
        return Exported(rows, tuple(column.name for column in columns), formulas.found)

    def write_parts(self, folder: Path, rows_each: int) -> int:
        """As Parquet files `00000.parquet` … in a folder that is made, all with the same columns. Returns the rows.

        Raises:
            RunFolderError: as `write`, or a file cannot be written.
        """
        from chainette.files.delivery import delivered
        from chainette.files.tabling import write_parquet

        columns, rows, written = self._columns(), self._chosen(), 0
        folder.mkdir(parents=True)
        for number in count():
            part = islice(rows, rows_each)
            first = next(part, None)
            if first is None:
                return written
            with delivered(str(folder / f"{number:05d}.parquet")) as stream, _told():
                written += write_parquet(stream, chain([first], part), columns)
        return written

    def _columns(self) -> list[Column]:
        from chainette.files.columns import Survey

        survey = Survey(self._declared_chosen())
        for row in self._chosen():
            survey.see(row)
        columns = survey.columns()
        if self._picks:
            order = [pick.name for pick in self._picks]
            columns.sort(key=lambda column: order.index(column.name))
        return columns

    def _chosen(self) -> Iterator[dict[str, Any]]:
        names = self._wanted.names
        for row in self.rows:
            if self._picks:
                yield {pick.name: pick.of(row) for pick in self._picks}
            elif names:
                yield {names.get(key, key): value for key, value in row.items()}
            else:
                yield row

    def _declared_chosen(self) -> list[Column]:
        names = self._wanted.names or {}
        declared = [Column("_id", "string"), *self._declared]
        if not self._picks:
            return [replace(column, name=names.get(column.name, column.name)) for column in declared]
        known = {column.name: column for column in declared}
        found = [(pick.name, _below(known.get(pick.key), pick.path)) for pick in self._picks]
        return [Column(name, "json") if column is None else replace(column, name=name) for name, column in found]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    from chainette.files.tabling import Misfit

    try:
        yield
    except Misfit as misfit:
        raise RunFolderError(
            f'column "{misfit.column}": its values fit no column of a table: {misfit.__cause__} (export JSONL)'
        ) from misfit


class _Failures:
    """The failed rows of a run, or of one step, as rows of a table."""

    def __init__(self, reader: RunReader, step: str | None) -> None:
        self._view = reader.failures(step)

    def __len__(self) -> int:
        return len(self._view)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for failure in self._view:
            record = failure_record(failure)
            yield {"_id": record.pop("_id"), "step": failure.node_id, **record}


_Rows = PlainRows | _Failures


def _below(column: Column | None, path: Iterable[str]) -> Column | None:
    for name in path:
        column = next((part for part in column.parts if part.name == name), None) if column is not None else None
    return column


def node_of(graph: Mapping[str, Any], id: str) -> dict[str, Any]:
    """What `graph.json` says of a node; empty for one it does not know."""
    return next((node for node in graph.get("nodes") or [] if node.get("id") == id), {})


def is_empty_table(reader: RunReader, wanted: Wanted) -> bool:
    """Whether the run ended well and was to write these rows, of which there are none."""
    graph, status, steps = reader.graph(), reader.status(), reader.step_ids()
    if wanted.failed or status.get("state") != "done":
        return False
    if wanted.step is None or (wanted.step == FLATTENED and FLATTENED not in steps):
        is_written, rows = (graph.get("options") or {}).get("flattened") is not False, status.get("rows_out")
    elif wanted.step == INPUT_NODE and INPUT_NODE not in steps:
        is_written, rows = True, status.get("rows_in")
    else:
        is_written = node_of(graph, wanted.step).get("written", True)
        rows = ((status.get("nodes") or {}).get(wanted.step) or {}).get("rows_out")
    # Rows that were made and are not there are lost, and no empty table.
    return bool(is_written) and rows == 0


def flattened_schemas(graph: Mapping[str, Any]) -> Sequence[tuple[str, dict[str, Any]]]:
    """(prefix, JSON schema) of what stands in a flattened row."""
    known = [(INPUT_NODE, graph.get("input_schema")), *((n["id"], n.get("schema")) for n in graph.get("nodes") or [])]
    return [(prefix, schema) for prefix, schema in known if isinstance(schema, dict)]


def progress_of(reader: RunReader) -> tuple[str, int, int]:
    """(state, input rows that are finished, input rows that were read)."""
    from chainette.files.runs import summarise

    summary = summarise(reader.path)
    return summary.state, summary.rows_done, summary.rows_in
