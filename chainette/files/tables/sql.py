"""The one door to DuckDB: a run's tables for SELECTs, and nothing else. It reads the files of the run and no others,
writes nothing, loads no extensions, and spills what does not fit its memory to a folder of its own that goes with it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chainette.errors import RunFolderError, nearest
from chainette.files.tables.sql_tables import SqlTable, sql_tables
from chainette.files.tables.sql_views import LINE_BYTES, LONG_LINE_BYTES, name_in_sql, text_in_sql, view_of
from chainette.files.tables.tables import CALLS, Tables

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

MEMORY_MB = 512
_THREADS = 4
_MORE = 4
"""So many times the memory, where rows are longer than most."""
_BATCH = 1_000
_OUTSIDE: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_unsigned_extensions": False,
}


def small_engine(memory_mb: int = 128) -> Any:
    """A database in memory that reads only what it is handed, one thread for each cursor that is used."""
    import duckdb

    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": f"{memory_mb}MB",
        "enable_external_access": False,
        **_OUTSIDE,
    }
    return duckdb.connect(config={**config, "lock_configuration": True})


@dataclass(slots=True)
class Answer:
    """What a query found."""

    columns: list[tuple[str, str]]
    """(name, SQL type)."""
    rows: list[tuple[Any, ...]]
    more: bool
    """Whether there are rows that were not fetched."""
    seconds: float


class RunSql:
    """One run for SQL, as its files are when this is made. One query at a time; others wait."""

    def __init__(self, reader: RunReader, *, memory_mb: int = MEMORY_MB, threads: int | None = None) -> None:
        """
        Raises:
            RunFolderError: the run cannot be read.
        """
        self._reader = reader
        self._name = reader.path.name
        self._scratch = Path(tempfile.mkdtemp(prefix="chainette-sql-"))
        self._lock = threading.Lock()
        try:
            # Files are named through a link, since `*`, `?` and `[` in a path would be patterns.
            root = self._scratch / "run"
            root.symlink_to(reader.path.resolve(), target_is_directory=True)
            self.tables: list[SqlTable] = sql_tables(reader, root)
            self._memory_mb = memory_mb
            self._threads = threads or min(_THREADS, os.cpu_count() or 1)
            self._connection = self._connected(loose=False)
        except BaseException:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise

    def __enter__(self) -> RunSql:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def counts(self) -> dict[str, int]:
        """Rows by table; of millions without reading them."""
        tables = Tables(self._reader)
        found = {}
        for table in self.tables:
            calls = [CALLS + id for id in self._reader.step_ids()] if table.name == "calls" and not table.step else []
            found[table.name] = sum(tables.count(name) for name in calls or [table.name])
        return found

    def _connected(self, *, loose: bool) -> Any:
        import duckdb

        memory_mb = self._memory_mb * (_MORE if loose else 1)
        settings: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "threads": self._threads}
        connection = duckdb.connect(config={**settings, **_OUTSIDE})
        paths = [text_in_sql(str(file.path)) for table in self.tables for file in table.files]
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = {text_in_sql(str(self._scratch / 'spill'))}")
            for table in self.tables:
                strict = table.columns, table.files, LINE_BYTES
                view = view_of(*(table.loose_columns, table.files, LONG_LINE_BYTES) if loose else strict)
                connection.execute(f"CREATE VIEW {name_in_sql(table.name)} AS {view}")
            connection.execute(f"SET allowed_paths = [{', '.join(paths)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            connection.close()
            raise RunFolderError(f"{self._name} cannot be read with SQL: {_first(error)}") from error
        return connection

    def ask(self, query: str, *, max_rows: int = 1_000, timeout_s: float | None = None) -> Answer:
        """The first rows of the answer.

        Raises:
            RunFolderError: the query is wrong, writes something, or took longer than `timeout_s`.
        """
        rows: list[tuple[Any, ...]] = []
        began = time.monotonic()
        columns: list[tuple[str, str]] = []
        for batch in self.stream(query, timeout_s=timeout_s, columns=columns):
            rows += batch
            if len(rows) > max_rows:
                break
        return Answer(columns, rows[:max_rows], len(rows) > max_rows, time.monotonic() - began)

    def stream(
        self, query: str, *, timeout_s: float | None = None, columns: list[tuple[str, str]] | None = None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The answer in batches; `columns` is filled before the first of them, which may be empty.

        Raises:
            RunFolderError: as of `ask`.
        """
        with self._lock:
            try:
                yield from self._fetched(query, timeout_s, columns)
            except _TooNarrow:
                # A very long row, an integer that no 64 bits hold, or a value that is not like those of the first rows.
                self._connection.close()
                self._connection = self._connected(loose=True)
                yield from self._fetched(query, timeout_s, columns)

    def _fetched(
        self, query: str, timeout_s: float | None, columns: list[tuple[str, str]] | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        import duckdb

        connection, begun = self._connection, False
        timer = threading.Timer(timeout_s, connection.interrupt) if timeout_s else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            self._check(query)
            found = connection.execute(query)
            if columns is not None:
                columns[:] = [(one[0], str(one[1])) for one in found.description]
            batch = found.fetchmany(_BATCH)
            begun = True
            yield batch
            while batch:
                batch = found.fetchmany(_BATCH)
                if batch:
                    yield batch
        except duckdb.Error as error:
            if not begun and _is_too_narrow(error):
                raise _TooNarrow from error
            raise self._explained(error, query, timeout_s) from None
        finally:
            if timer is not None:
                timer.cancel()

    def _check(self, query: str) -> None:
        """Only SELECTs, one at a time: they read."""
        import duckdb

        statements = self._connection.extract_statements(query)
        if not statements:
            raise RunFolderError("there is no query")
        for statement in statements:
            if statement.type != duckdb.StatementType.SELECT:
                kind = str(statement.type).rpartition(".")[2]
                error = RunFolderError(f"{kind} is refused: a run is only read with SQL (SELECT, DESCRIBE, SUMMARIZE)")
                error.add_note("next: chainette export writes rows to a file")
                raise error
        if len(statements) > 1:
            raise RunFolderError(f"{len(statements)} queries at once; ask one")

    def _explained(self, error: Exception, query: str, timeout_s: float | None) -> RunFolderError:
        import duckdb

        text = str(error).replace(str(self._scratch / "run"), self._name)
        if isinstance(error, duckdb.InterruptException):
            return RunFolderError(f"the query was stopped after {timeout_s or 0:g} s")
        if isinstance(error, duckdb.OutOfMemoryException):
            told = RunFolderError(f"the query needs more memory than it may have ({self._memory_mb} MB)")
            told.add_note("next: select fewer columns or rows, or group before sorting")
            return told
        message = re.sub(r"^\w+ Error: ", "", text)
        message = re.sub(r"\n(?:Did you mean|Candidate \w+:|Try setting|  file = |  \w+ = )[^\n]*", "", message).strip()
        found = RunFolderError(f"SQL: {message}")
        for note in self._hints(text):
            found.add_note(note)
        return found

    def _hints(self, text: str) -> list[str]:
        names = [table.name for table in self.tables]
        if table := re.search(r'Table with name "?(.+?)"? does not exist', text):
            return [f"tables: {nearest(table[1], names)}", *_quoting(names)]
        if column := re.search(r'(?:Referenced column|column named) "(.+?)"', text):
            fields = [name for one in self.tables for name in one.columns]
            return [f"columns: {nearest(column[1], fields)}"]
        if table := re.search(r'Referenced table "(.+?)" not found', text):
            dotted = [name for one in self.tables for name in one.columns if name.startswith(f"{table[1]}.")]
            written = re.search(rf"{re.escape(table[1])}\.[\w.]+", text)
            meant = written[0] if written and written[0] in dotted else next(iter(dotted), "")
            return [f"names with a dot stand in quotes: {name_in_sql(meant)}"] if meant else []
        return _quoting(names) if text.startswith("Parser") else []


class _TooNarrow(Exception):
    """A value does not fit the type its column was given."""


def _is_too_narrow(error: Exception) -> bool:
    text = str(error)
    return (
        "JSON transform error" in text
        or "maximum_object_size" in text
        or "Maximum line size" in text
        or "Could not convert" in text
        or "Failed to cast" in text
    )


def _quoting(names: list[str]) -> list[str]:
    odd = [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*", name)]
    return [f"this name stands in quotes: {name_in_sql(odd[0])}"] if odd else []


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]
