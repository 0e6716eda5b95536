"""SQL over the tables of a run: a query in the address, its answer below."""

from __future__ import annotations

from aiohttp import web

from chainette.errors import ChainetteError
from chainette.files.names import INPUT_NODE
from chainette.files.reading import RunReader
from chainette.files.tables.sql_tables import sql_tables
from chainette.files.tables.sql_views import name_in_sql
from chainette.view.site import Site, TooSlow, asked, render, site_of, work
from chainette.view.sql_process import MOST_ROWS, Found, ask
from chainette.view.urls import row_url

_TURN_S = 3.0
"""How long a query waits for another one to end."""

Columns = list[tuple[str, str]]


def routes() -> list[web.RouteDef]:
    return [web.get("/run/{run:[^/]+}/sql", sql)]


async def sql(request: web.Request) -> web.Response:
    """`q` is the query."""
    name, query = asked(request, "run"), request.query.get("q", "").strip()
    reader = await work(request, site_of(request).reader, name)
    tables = await work(request, _tables, reader)
    found: Found | None = None
    error: ChainetteError | None = None
    if query:
        try:
            found = await work(request, _ask, site_of(request), reader, query)
        except TooSlow:
            raise
        except ChainetteError as told:
            error = told
    return render(
        request,
        "sql.html",
        run=name,
        tab="sql",
        query=query,
        tables=tables,
        found=found,
        error=error,
        notes=list(getattr(error, "__notes__", [])),
        most=MOST_ROWS,
        example=_example(tables),
        url_of=lambda row_id: row_url(name, INPUT_NODE, row_id),
    )


def _tables(reader: RunReader) -> list[tuple[str, str, Columns]]:
    """Name, name as SQL takes it, columns with their types."""
    found = sql_tables(reader, reader.path)
    return [(one.name, name_in_sql(one.name), list(one.columns.items())) for one in found]


def _ask(site: Site, reader: RunReader, query: str) -> Found:
    if not site.open_tables.sql_turn.acquire(timeout=_TURN_S):
        raise TooSlow("another query is still being answered; try again when it is")
    try:
        return ask(str(reader.path), query)
    finally:
        site.open_tables.sql_turn.release()


def _example(tables: list[tuple[str, str, Columns]]) -> str:
    names = [in_sql for name, in_sql, _ in tables if name not in (INPUT_NODE, "flattened", "failed", "calls")]
    chosen = names[-1:] or [in_sql for _, in_sql, _ in tables[:1]]
    return f"SELECT * FROM {chosen[0]} LIMIT 20" if chosen else ""
