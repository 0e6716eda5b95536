"""The rows of a step, or those that stopped there, a page at a time. Knows tables and views, not files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from chainette.cli.pager import print_lines
from chainette.cli.show import FLATTENED, INPUT
from chainette.cli.wording import in_words

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunReader
    from chainette.files.tables import Condition, Query

_WHERE = re.compile(r"(.+?)(!=|<=|>=|=~|==|=|<|>|~)(.*)", re.DOTALL)
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows somebody wants to see."""

    step: str | None
    failed: bool
    offset: int
    limit: int
    """0: all."""
    where: Sequence[str] = ()
    search: str = ""


@dataclass(slots=True)
class Found:
    """Rows as they come, and how many there are."""

    rows: Iterator[dict[str, Any]]
    shown: int | None
    """None: all that come."""
    total: int | None
    """None where that would take a look at every row."""


def show_rows(reader: RunReader, asked: Asked, *, as_json: bool, paged: bool) -> None:
    """To stdout.

    Raises:
        RunFolderError: no such step, or no such field; with the nearest name.
    """
    from chainette.cli.output import write_json_rows

    found = _failed(reader, asked) if asked.failed else _rows(reader, asked)
    if as_json:
        about = {"run": reader.path.name, "step": asked.step, "failed": asked.failed, "total": found.total}
        more = {"offset": asked.offset} if asked.offset else {}
        write_json_rows(about | more, found.rows)
        return
    print_lines(_lines(reader, asked, found), cut=True, paged=paged)


def _lines(reader: RunReader, asked: Asked, found: Found) -> Iterator[Text]:
    from chainette.cli.screen import QUIET, line

    none = True
    for row in found.rows:
        none = False
        yield from failure_lines(row, show_node=asked.step is None) if asked.failed else [row_line(row)]
    told = _none_words(reader, asked, found) if none else _more_words(asked, found)
    if told:
        yield line((told, QUIET))


def _more_words(asked: Asked, found: Found) -> str:
    if found.shown is None or (found.total is not None and found.shown >= found.total):
        return ""
    of = "" if found.total is None else f" of {found.total:,}"
    end = asked.offset + found.shown
    if asked.offset:
        return f"rows {asked.offset + 1:,} to {end:,}{of}" + ("" if end == found.total else f"; on: --offset {end}")
    if found.total is None:
        rows = f"first {found.shown:,} such rows" if found.shown != 1 else "first such row"
        return f"the {rows}; on: --offset {end}"
    return f"{found.shown:,}{of} rows; --limit 0 shows all"


def _none_words(reader: RunReader, asked: Asked, found: Found) -> str:
    what = "failed rows" if asked.failed else "rows"
    if asked.where or asked.search:
        return f"no such {what}"
    if asked.offset and found.total:
        return f"there are only {found.total:,} {what}"
    why = "" if asked.failed or asked.step is None else _why_none(reader, asked.step)
    return f"no {what}" + (f" at {asked.step}{why}" if asked.step else "")


def _why_none(reader: RunReader, step: str) -> str:
    """Of a node that writes no rows, so that nobody takes its rows to be lost."""
    nodes: dict[str, dict[str, Any]] = {node["id"]: node for node in reader.graph().get("nodes", [])}
    node = nodes.get(step, {})
    if node.get("written", True):
        return ""
    return ": its rows are not written" if node["type"] in ("step", "apply") else f": a {node['type']} writes none"


def _failed(reader: RunReader, asked: Asked) -> Found:
    from chainette.cli.target import wrong_call

    if asked.where or asked.search:
        raise wrong_call("--where", "looks at rows that were made", "without --failed, or chainette sql", "show")
    view = reader.failures(asked.step)
    chosen = view[asked.offset :] if not asked.limit else view[asked.offset : asked.offset + asked.limit]
    return Found(({**asdict(f), "cause": list(f.cause)} for f in chosen), len(chosen), len(view))


def _rows(reader: RunReader, asked: Asked) -> Found:
    from chainette.files.tables import Tables

    name = asked.step or INPUT
    view = rows_of(reader, name)
    if asked.where or asked.search:
        return _matching(reader, name, asked)
    if not asked.limit:
        return Found(islice(iter(view), asked.offset, None), None, len(view))
    page = Tables(reader).page(name, asked.offset, asked.limit)
    return Found(iter(page.rows), len(page.rows), page.table_rows)


def _matching(reader: RunReader, name: str, asked: Asked) -> Found:
    """Looks on until a page is full."""
    from chainette.files.tables import Tables

    tables = Tables(reader)
    selection = tables.select(name, _query(tables, name, asked))
    if asked.limit:
        page = selection.page(asked.offset, asked.limit)
        return Found(iter(page.rows), len(page.rows), page.total)

    def pages() -> Iterator[dict[str, Any]]:
        at = asked.offset
        while rows := selection.page(at, 1_000).rows:
            yield from rows
            at += len(rows)

    return Found(pages(), None, None)


def _query(tables: Any, name: str, asked: Asked) -> Query:
    from chainette.cli.target import wrong_call
    from chainette.files.tables import Query

    conditions: list[Condition] = []
    for text in asked.where:
        said = _WHERE.fullmatch(text)
        if said is None:
            raise wrong_call("--where", f"{text!r} compares nothing", "--where 'rating>=4'", "show")
        conditions.append(tables.condition(name, said[1].strip(), said[2], said[3].strip()))
    return Query(tuple(conditions), asked.search)


def rows_of(reader: RunReader, step: str) -> Any:
    """The rows of a step, of the input or flattened; a step of that name comes first."""
    if step not in reader.step_ids():
        if step == INPUT:
            return reader.inputs()
        if step == FLATTENED:
            return reader.flattened()
    return reader.rows(step)


def row_line(row: dict[str, Any]) -> Text:
    """One row on one line."""
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import one_line, turn_words

    text = line((one_line(row.get("_id", "?")), NAME))
    if "_turn" in row:
        text.append(f"  turn {one_line(turn_words(row['_turn']))}", style=QUIET)
    for key, value in row.items():
        if key not in ("_id", "_turn"):
            text.append(f"  {one_line(key)}: ", style=QUIET).append(one_line(in_words(value), _MOST))
    return text


def failure_lines(failure: dict[str, Any], show_node: bool) -> list[Text]:
    """Why a row stopped, and the text that was refused."""
    from chainette.cli.screen import BAD, NAME, QUIET, line
    from chainette.cli.wording import counted, one_line, turn_words

    node = f"{one_line(failure['node_id'])}  " if show_node else ""
    text = line((one_line(failure["row_id"]), NAME), f"  {node}", (failure["kind"], BAD))
    text.append(f"  {one_line(failure['message'], _MOST)}")
    if failure.get("turns"):
        text.append(f"  (turn {turn_words(failure['turns'])})", style=QUIET)
    if failure["attempts"] > 1:
        text.append(f"  ({counted(failure['attempts'], 'attempt')})", style=QUIET)
    lines = [text]
    if failure["raw"] is not None:
        lines.append(line(("    answer  ", QUIET), one_line(failure["raw"], _MOST)))
    lines += [line(("    cause   ", QUIET), one_line(cause)) for cause in failure["cause"]]
    return lines
