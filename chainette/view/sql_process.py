"""One SQL query in a process of its own: what it takes in memory or breaks is gone with it. Knows no page.

echo '{"run": …, "query": …}' | python -m chainette.view.sql_process
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from chainette.errors import RunFolderError
from chainette.view.values import Cell, cell_of

MOST_ROWS = 1_000
TIMEOUT_S = 20.0
_PATIENCE_S = 26.0
_MEMORY_MB = 512
_MOST_CHARACTERS = 4_000_000
"""Of all long values together; the others stay short."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer, ready to be shown."""

    columns: list[tuple[str, str]]
    """(name, SQL type)."""
    lines: list[list[tuple[Cell, str]]]
    """Of each row the cells, with the id of the row that a cell names, or nothing."""
    more: bool
    seconds: float


def ask(run: str, query: str) -> Found:
    """
    Raises:
        RunFolderError: the query is wrong, was stopped, or needs too much memory; with notes.
    """
    asked = json.dumps({"run": run, "query": query}).encode("ascii")
    command = [sys.executable, "-m", "chainette.view.sql_process"]
    try:
        ended = subprocess.run(command, input=asked, capture_output=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise RunFolderError(f"the query was stopped after {TIMEOUT_S:g} s") from None
    try:
        told = json.loads(ended.stdout)
    except ValueError:
        last = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:500]
        raise RunFolderError(f"the query's process ended with {ended.returncode}: {last}") from None
    if "error" in told:
        error = RunFolderError(told["error"])
        for note in told["notes"]:
            error.add_note(note)
        raise error
    lines = [[(Cell(*cell), id) for *cell, id in line] for line in told["lines"]]
    return Found([(name, type_) for name, type_ in told["columns"]], lines, told["more"], told["seconds"])


def main() -> None:
    """Answers the question on stdin as JSON on stdout."""
    from chainette.errors import ChainetteError
    from chainette.files.reading import RunReader
    from chainette.files.tables.sql import RunSql

    asked = json.load(sys.stdin)
    try:
        with RunSql(RunReader(asked["run"]), memory_mb=_MEMORY_MB, threads=2) as engine:
            answer = engine.ask(asked["query"], max_rows=MOST_ROWS, timeout_s=TIMEOUT_S)
    except ChainetteError as error:
        told: dict[str, Any] = {"error": str(error), "notes": list(getattr(error, "__notes__", []))}
    else:
        lines = _lines([name for name, _ in answer.columns], answer.rows)
        told = {"columns": answer.columns, "lines": lines, "more": answer.more, "seconds": answer.seconds}
    sys.stdout.write(json.dumps(told))


def _lines(names: list[str], rows: list[tuple[Any, ...]]) -> list[list[list[str]]]:
    room = _MOST_CHARACTERS
    lines = []
    for row in rows:
        line = []
        for name, value in zip(names, row, strict=True):
            cell = cell_of(value)
            room -= len(cell.long)
            id = value if name == "_id" and isinstance(value, str) else ""
            line.append([cell.short, cell.long if room > 0 else "", cell.kind, id])
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
