"""The table of a step's rows, or of any other table of a run: pages by place, conditions, search, order, columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chainette.errors import ChainetteError, nearest
from chainette.files.names import INPUT_NODE
from chainette.files.notes import Note
from chainette.files.tables import Page, TableInfo, Tables
from chainette.view.site import NotHere, Site, asked, render, site_of, work
from chainette.view.table_request import OPS, SIZES, TableRequest, fields_to_filter
from chainette.view.urls import row_url, rows_url
from chainette.view.values import Cell, cell_of

_PATIENCE_S = 0.9
"""Longest that a page waits for rows; the script of the page asks on."""


@dataclass(frozen=True, slots=True)
class Line:
    id: str
    turn: str
    url: str
    cells: list[Cell]
    note: Note | None


def routes() -> list[web.RouteDef]:
    return [
        web.get("/run/{run:[^/]+}/rows", first_table),
        web.get("/run/{run:[^/]+}/rows/{table:[^/]+}", rows),
    ]


async def first_table(request: web.Request) -> web.Response:
    """To the table that is looked at most: that of the run's result."""
    name = asked(request, "run")
    tables = await work(request, site_of(request).open_tables.of, name)
    listed = await work(request, tables.names)
    if not listed:
        return render(request, "rows_none.html", run=name, tab="rows", table="")
    reader = await work(request, site_of(request).reader, name)
    last = (await work(request, reader.graph)).get("last")
    steps = [info.name for info in listed if info.kind == "step"]
    chosen = last if last in steps else steps[-1] if steps else listed[0].name
    raise web.HTTPSeeOther(rows_url(name, chosen) + (f"?{request.query_string}" if request.query_string else ""))


async def rows(request: web.Request) -> web.Response:
    """A page of rows; with `part=1` no more than the table, for the script that asks on."""
    name, table = asked(request, "run"), asked(request, "table")
    wanted = TableRequest.of(table, request.query)
    if await work(request, _is_empty, site_of(request), name, table):
        return render(request, "rows_none.html", run=name, tab="rows", table=table)
    shown = await work(request, _look, site_of(request), name, wanted, request.query.get("count") == "1")
    template = "rows_result.html" if request.query.get("part") == "1" else "rows.html"
    return render(request, template, run=name, tab="rows", wanted=wanted, OPS=OPS, SIZES=SIZES, **shown)


def _is_empty(site: Site, name: str, table: str) -> bool:
    """Whether it is a node of the run whose rows were not written, or not yet: other pages have links to it."""
    if any(info.name == table for info in site.open_tables.of(name).names()):
        return False
    return table in (INPUT_NODE, *site.reader(name).step_ids())


def _look(site: Site, name: str, wanted: TableRequest, counting: bool) -> dict[str, Any]:
    """Everything the template needs."""
    tables = site.open_tables.of(name)
    listed = tables.names()
    info = info_of(listed, wanted.table, name)
    columns = tables.columns(wanted.table)
    error: ChainetteError | None = None
    page = None
    try:
        page = page_of(tables, wanted, counting)
    except NotHere:
        raise
    except ChainetteError as found:
        if wanted.is_plain:
            raise
        error = found
    fields = wanted.shown([column.name for column in columns])
    return {
        "tables": listed,
        "info": info,
        "columns": columns,
        "fields": fields,
        "groups": fields_to_filter(tables, wanted.table),
        "page": page,
        "lines": _lines(site, name, info, wanted, (page, fields)) if page is not None else [],
        "error": str(error) if error else "",
        "counting": counting,
    }


def info_of(listed: list[TableInfo], table: str, run: str) -> TableInfo:
    """
    Raises:
        NotHere: the run has no such table; with the nearest name.
    """
    for info in listed:
        if info.name == table:
            return info
    raise NotHere(f'{run} has no rows of "{table}" ({nearest(table, [info.name for info in listed]) or "it has none"})')


def page_of(tables: Tables, wanted: TableRequest, counting: bool = False, patience_s: float = _PATIENCE_S) -> Page:
    """The rows that are asked for, as many as were found in a moment."""
    if wanted.is_plain:
        return tables.page(wanted.table, wanted.at, wanted.size)
    selection = tables.select(wanted.table, wanted.asked(tables))
    if counting:
        selection.advance(patience_s)
    return selection.page(wanted.at, wanted.size, patience_s)


def _lines(site: Site, name: str, info: TableInfo, wanted: TableRequest, found: tuple[Page, list[str]]) -> list[Line]:
    page, fields = found
    notes = _notes(site, name, step_of(info))
    lines = []
    for number, row in enumerate(page.rows):
        id = str(row.get("_id", ""))
        step = step_of(info, row)
        url = row_url(name, step, id) + wanted.query(list=wanted.table, at=wanted.at + number)
        turn = row.get("_turn", row.get("turn"))
        turns = ", ".join(map(str, turn)) if isinstance(turn, list) else str(turn or "")
        lines.append(Line(id, turns, url, [cell_of(row.get(field)) for field in fields], notes.get(id)))
    return lines


def _notes(site: Site, name: str, step: str) -> dict[str, Note]:
    try:
        found = site.reader(name).notes().of_step(step)
    except ChainetteError:  # of a run that is elsewhere
        return {}
    return {row_id: note for (row_id, _), note in found.items()}


def step_of(info: TableInfo, row: dict[str, Any] | None = None) -> str:
    """The node at which a row of the table is looked at."""
    if info.kind == "failed" and row is not None:
        return str(row.get("step") or row.get("node_id") or INPUT_NODE)
    return info.step or INPUT_NODE
