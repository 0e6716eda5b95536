"""`chainette sql`: a run's tables asked with SQL. Knows how answers are shown, not how they are found."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.runs import AsJson, RunsDir
from chainette.cli.signals import ended_like_ctrl_c

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunReader
    from chainette.files.tables.sql import RunSql

SHOWN = 100
"""Rows of an answer that people are shown."""
_NARROWEST = 8
_RIGHT = ("INT", "DOUBLE", "FLOAT", "DECIMAL")


def sql(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    query: Annotated[
        str | None,
        typer.Argument(metavar="[QUERY]", help="A SELECT; - reads it. Without: the tables.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write all rows to a .jsonl or .csv.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help=f"At most N rows; 0 for all.  [default: {SHOWN}, all with --json and --csv]"
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Give up after.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of -o that is there.")] = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Ask a run with SQL: its steps, chain_input, flattened, failed and calls are tables."""
    from chainette.cli.export import refuse_place
    from chainette.cli.show import found_run
    from chainette.files.reading import RunReader
    from chainette.files.tables.sql import RunSql

    _check(as_csv and as_json, output)
    reader = RunReader(found_run(run, runs_dir))
    if output is not None:
        refuse_place(reader, output, force)
    asked = sys.stdin.read() if query == "-" else query
    with RunSql(reader) as database:
        if asked is None:
            _show_tables(reader, database, as_json)
            return
        columns: list[tuple[str, str]] = []
        rows = _rows(database.stream(asked, timeout_s=timeout_s, columns=columns))
        if output is not None:
            with ended_like_ctrl_c():
                _write_file(output, columns, rows, limit or 0, force=force)
        elif as_json:
            _write_json(reader.path.name, columns, rows, limit or 0)
        elif as_csv:
            _write_csv(sys.stdout, columns, _first(rows, limit or 0))
        else:
            _show(columns, rows, SHOWN if limit is None else limit)


def _check(both: bool, output: str | None) -> None:
    from chainette.cli.target import wrong_call

    if both:
        raise wrong_call("--csv", "and --json cannot be had at once", command="sql")
    if output is not None and Path(output).suffix not in (".jsonl", ".csv"):
        raise wrong_call("-o", f"{output} ends neither in .jsonl nor in .csv", command="sql")


def _rows(batches: Iterator[list[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    """Row by row. The first batch is fetched at once, so that the columns are known and a wrong query says so."""
    import itertools

    first = next(batches, [])
    return itertools.chain(first, itertools.chain.from_iterable(batches))


def _first(rows: Iterable[tuple[Any, ...]], limit: int) -> Iterator[tuple[Any, ...]]:
    from itertools import islice

    return islice(rows, limit or None)


def _names(columns: list[tuple[str, str]]) -> list[str]:
    """Each once: `count`, `count_2`."""
    names: list[str] = []
    for name, _ in columns:
        number, own = 1, name
        while own in names:
            number += 1
            own = f"{name}_{number}"
        names.append(own)
    return names


def _objects(columns: list[tuple[str, str]], rows: Iterable[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    names, types = _names(columns), [type_ for _, type_ in columns]
    for row in rows:
        yield {name: _as_json(value, type_) for name, type_, value in zip(names, types, row, strict=True)}


def _as_json(value: Any, type_: str = "") -> Any:
    import datetime
    import decimal
    import json
    import math

    if type_ == "JSON" and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _write_json(run: str, columns: list[tuple[str, str]], rows: Iterable[tuple[Any, ...]], limit: int) -> None:
    from chainette.cli.output import write_json_rows

    about = {"run": run, "columns": [{"name": n, "type": t[1]} for n, t in zip(_names(columns), columns, strict=True)]}
    write_json_rows(about, _objects(columns, _first(rows, limit)))


def _write_csv(stream: Any, columns: list[tuple[str, str]], rows: Iterable[tuple[Any, ...]]) -> int:
    import csv

    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_names(columns))
    count = 0
    for row in _objects(columns, rows):
        writer.writerow([_cell(value) for value in row.values()])
        count += 1
    return count


def _cell(value: Any) -> str:
    """As it stands in CSV and in the table: text as it is, nothing for null, the rest as JSON."""
    import json

    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _write_file(
    output: str, columns: list[tuple[str, str]], rows: Iterable[tuple[Any, ...]], limit: int, *, force: bool
) -> None:
    """The file is there whole, or as it was before."""
    import codecs
    import json

    from chainette.cli.wording import counted, one_line
    from chainette.files.delivery import delivered

    with delivered(output, force=force) as stream:
        file = codecs.getwriter("utf-8")(stream)
        if output.endswith(".csv"):
            count = _write_csv(file, columns, _first(rows, limit))
        else:
            count = 0
            for row in _objects(columns, _first(rows, limit)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    sys.stdout.write(f"{counted(count, 'row')} in {one_line(output)}\n")


def _show_tables(reader: RunReader, database: RunSql, as_json: bool) -> None:
    from chainette.cli.output import write_json
    from chainette.cli.pager import print_lines
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import counted, one_line, run_word

    counts = database.counts()
    if as_json:
        tables = [
            {"name": t.name, "rows": counts[t.name], "columns": [{"name": n, "type": c} for n, c in t.columns.items()]}
            for t in database.tables
        ]
        write_json({"run": reader.path.name, "tables": tables})
        return
    for table in database.tables:
        print_lines([line((one_line(table.name), NAME), (f"  {counted(counts[table.name], 'row')}", QUIET))])
        width = max(len(one_line(name)) for name in table.columns)
        print_lines(
            (
                line(f"  {one_line(name).ljust(width)}  ", (one_line(type_), QUIET))
                for name, type_ in table.columns.items()
            ),
            cut=True,
        )
    example = f'chainette sql {run_word(reader.place)} "select * from flattened limit 10"'
    print_lines([line((f"next: {example}", QUIET))])


def _show(columns: list[tuple[str, str]], rows: Iterator[tuple[Any, ...]], limit: int) -> None:
    from chainette.cli.pager import print_lines
    from chainette.cli.screen import QUIET, console, line
    from chainette.cli.wording import counted, one_line

    shown = list(_first(rows, limit))
    more = next(rows, None) is not None if limit else False
    if not shown:
        print_lines([line(("no rows", QUIET))])
        return
    cells = [[one_line(_cell(value), 2_000) for value in row.values()] for row in _objects(columns, shown)]
    nulls = [[value is None for value in row] for row in shown]
    names = [one_line(name) for name, _ in columns]
    right = [type_.endswith(_RIGHT) or type_.startswith(_RIGHT) for _, type_ in columns]
    width = console(sys.stdout).width
    widths = fitted([max(_cells(text) for text in column) for column in zip(names, *cells, strict=True)], width)
    print_lines(_table(names, cells, nulls, widths, right) if widths else _records(names, cells, nulls, width))
    if more:
        print_lines([line((f"the first {counted(len(shown), 'row')}; --limit 0 shows all", QUIET))])


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def fitted(wanted: list[int], width: int) -> list[int]:
    """What each column gets of a line, the widest giving way; empty when there is no room for all of them."""
    widths = list(wanted)
    room = width - 2 * (len(widths) - 1)
    while sum(widths) > room:
        widest = max(widths)
        if widest <= _NARROWEST:
            return []
        following = max((one for one in widths if one < widest), default=_NARROWEST)
        count = widths.count(widest)
        step = min(widest - max(following, _NARROWEST), -(-(sum(widths) - room) // count)) or 1
        widths = [one - step if one == widest else one for one in widths]
    return widths


def _table(
    names: list[str], cells: list[list[str]], nulls: list[list[bool]], widths: list[int], right: list[bool]
) -> Iterator[Text]:
    from rich.text import Text

    from chainette.cli.screen import NAME, QUIET

    def cell(text: str, style: str, column: int) -> Text:
        made = Text(text, style=style)
        made.truncate(widths[column], overflow="ellipsis")
        gap = " " * (widths[column] - made.cell_len)
        return Text(gap).append_text(made) if right[column] else made.append(gap)

    def joined(parts: Iterable[Text]) -> Text:
        whole = Text("  ").join(parts)
        whole.rstrip()
        return whole

    yield joined(cell(name, NAME, n) for n, name in enumerate(names))
    for row, empty in zip(cells, nulls, strict=True):
        yield joined(cell("null" if empty[n] else text, QUIET if empty[n] else "", n) for n, text in enumerate(row))


def _records(names: list[str], cells: list[list[str]], nulls: list[list[bool]], width: int) -> Iterator[Text]:
    """A line per field, where a table would be too wide."""
    from chainette.cli.screen import NAME, QUIET, line

    longest = min(max(map(_cells, names)), width // 3)
    for number, (row, empty) in enumerate(zip(cells, nulls, strict=True)):
        if number:
            yield line()
        for name, text, is_null in zip(names, row, empty, strict=True):
            made = line((name.ljust(longest), NAME), "  ", ("null", QUIET) if is_null else text)
            made.truncate(width, overflow="ellipsis")
            yield made
