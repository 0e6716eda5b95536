"""One row: its whole way through the chain, what was asked and answered, its family, its note."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from chainette.files.names import INPUT_NODE
from chainette.files.reading import RunReader
from chainette.reports.journey import NoSuchRow, journey
from chainette.view.row_list import Listed, listed
from chainette.view.row_parts import at_pointer, fields_of, parts_of, spans_svg, steps_of
from chainette.view.site import NotHere, asked, our_svg, render, site_of, work


def routes() -> list[web.RouteDef]:
    return [
        web.get("/run/{run:[^/]+}/row/{step:[^/]+}/{row:[^/]+}", row),
        web.get("/run/{run:[^/]+}/text/{step:[^/]+}/{row:[^/]+}", text),
        web.get("/api/run/{run:[^/]+}/row/{step:[^/]+}/{row:[^/]+}", as_json),
    ]


async def row(request: web.Request) -> web.Response:
    """The page."""
    name, step, row_id = (asked(request, part) for part in ("run", "step", "row"))
    reader = await work(request, site_of(request).reader, name)
    way = await work(request, _way, reader, step, row_id)
    beside: Listed = await work(request, listed, site_of(request), reader, step, row_id, request.query)
    note = await work(request, _note, reader, step, row_id)
    graph = reader.graph()
    parts = parts_of(way)
    return render(
        request,
        "row.html",
        run=name,
        tab="rows",
        way=way,
        step=step,
        row_id=row_id,
        parts=parts,
        steps=steps_of(way, graph, parts),
        source=fields_of(way["input"], "/input"),
        waterfall=our_svg(spans_svg(way)),
        beside=beside,
        note=note,
        query=request.query_string,
    )


def _way(reader: RunReader, step: str, row_id: str) -> dict[str, Any]:
    known = [INPUT_NODE, *reader.step_ids()]
    if step not in known:
        from chainette.errors import nearest

        raise NotHere(f'{reader.path.name} has no step "{step}" ({nearest(step, known)})')
    try:
        return journey(reader, step, row_id, every_prompt=True)
    except NoSuchRow as error:
        raise NotHere(str(error)) from None


def _note(reader: RunReader, step: str, row_id: str) -> dict[str, Any]:
    """The note, and why there can be none."""
    from chainette.errors import RunFolderError

    try:
        found = reader.notes().of_row(step, row_id)
    except RunFolderError as error:
        return {"label": "", "text": "", "time": "", "why_not": str(error)}
    if found is None:
        return {"label": "", "text": "", "time": "", "why_not": ""}
    return {"label": found.label, "text": found.text, "time": found.time, "why_not": ""}


async def text(request: web.Request) -> web.Response:
    """One value of the row's way, whole, as plain text: `?at=` is a JSON pointer into its journey."""
    name, step, row_id = (asked(request, part) for part in ("run", "step", "row"))
    reader = await work(request, site_of(request).reader, name)
    way = await work(request, _way, reader, step, row_id)
    pointer = request.query.get("at", "")
    try:
        value = at_pointer(way, pointer)
    except (LookupError, ValueError, TypeError):
        raise NotHere(f'row "{row_id}" has nothing at "{pointer}"') from None
    from chainette.view.values import laid_out

    told = value if isinstance(value, str) else laid_out(value)[0]
    return web.Response(body=told.encode("utf-8", "replace"), content_type="text/plain", charset="utf-8")


async def as_json(request: web.Request) -> web.Response:
    """The journey as `chainette show RUN STEP ROW --json` has it, with every prompt."""
    from chainette.files.json_text import encode

    name, step, row_id = (asked(request, part) for part in ("run", "step", "row"))
    reader = await work(request, site_of(request).reader, name)
    way = await work(request, _way, reader, step, row_id)
    return web.Response(body=encode(way), content_type="application/json")
