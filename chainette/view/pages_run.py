"""One run: how far it is, what it is made of, what went wrong, how quick it was."""

from __future__ import annotations

import shlex
from typing import Any

from aiohttp import web

from chainette.files.reading import RunReader
from chainette.reports import run_stats
from chainette.reports.course import Course, course_of
from chainette.reports.drawing import draw
from chainette.reports.failures import GroupedFailures, grouped_failures
from chainette.reports.styles import SHEETS, sheet
from chainette.reports.timelines import timeline_of
from chainette.view.overview import Overview, download, live_counts, overview_of
from chainette.view.site import NotHere, answer, asked, our_svg, render, site_of, work, work_long
from chainette.view.urls import run_url

_MADE_BY = {"trace.json": "trace", "report.html": "report"}
SHOWN_GROUPS = 8
"""Groups of failures on the overview."""
MOST_CALLS = 200_000
"""Above which the figures are those of a sample."""


def routes() -> list[web.RouteDef]:
    return [
        web.get("/run/{run:[^/]+}", overview),
        web.get("/run/{run:[^/]+}/course", course),
        web.get("/run/{run:[^/]+}/figures", figures),
        web.get("/run/{run:[^/]+}/failures", failures),
        web.get("/run/{run:[^/]+}/file/{file:[^/]+}", file),
        web.get("/api/run/{run:[^/]+}/live", live),
        web.get("/style/{sheet}.css", style),
    ]


async def overview(request: web.Request) -> web.Response:
    return await work(request, _overview, request)


def _overview(request: web.Request) -> web.Response:
    name = asked(request, "run")
    reader = site_of(request).reader(name)
    seen = overview_of(reader)
    return render(
        request,
        "run.html",
        run=name,
        tab="overview",
        seen=seen,
        drawing=_drawing(name, seen),
        engines=_engines(seen),
        options={k: v for k, v in _mapping(seen.graph, "options").items() if v not in (None, {}, [], "")},
    )


def _drawing(name: str, seen: Overview) -> Any:
    if not seen.graph.get("nodes"):
        return ""
    counts = {node["id"]: node for node in seen.nodes} if seen.status else None
    return our_svg(draw(seen.graph, counts, links=lambda node: f"#step-{_place(seen, node)}"))


def _place(seen: Overview, id: str) -> int:
    return next((place for place, node in enumerate(seen.nodes) if node["id"] == id), 0)


def _engines(seen: Overview) -> list[dict[str, Any]]:
    """The specs, each with what its calls came to."""
    counts = _mapping(seen.status, "engines")
    specs = [spec for spec in seen.graph.get("engines") or () if isinstance(spec, dict)]
    return [
        {"name": name, "spec": spec, "counts": counts.get(name, {})}
        for name, spec in ((str(spec.get("name")), spec) for spec in specs)
    ]


def _mapping(document: Any, key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


async def course(request: web.Request) -> web.Response:
    """Charts and timeline: a part of the overview that takes longer to make."""
    name = asked(request, "run")
    return await work_long(request, lambda: _course(request, name))


def _course(request: web.Request, name: str) -> web.Response:
    reader = site_of(request).reader(name)
    seen = overview_of(reader)
    drawn = _drawn(request, reader, seen.live)
    grouped = _grouped(request, reader)
    return render(
        request,
        "course.html",
        run=name,
        tab="overview",
        live=seen.live,
        charts=[our_svg(chart) for chart in drawn.charts],
        spans=our_svg(drawn.spans),
        failed=grouped,
        groups=grouped.groups[:SHOWN_GROUPS],
    )


def _drawn(request: web.Request, reader: RunReader, live: bool) -> Course:
    if live:
        return course_of(timeline_of(reader))
    kept = site_of(request).kept
    return kept.of("course", reader.path, ["events.jsonl"], lambda: course_of(timeline_of(reader)))


def _grouped(request: web.Request, reader: RunReader) -> GroupedFailures:
    return site_of(request).kept.of("failures", reader.path, ["failed/"], lambda: grouped_failures(reader))


async def figures(request: web.Request) -> web.Response:
    """Where time and tokens went, worked out of the calls."""
    name = asked(request, "run")
    return await work_long(request, lambda: _figures(request, name))


def _figures(request: web.Request, name: str) -> web.Response:
    reader = site_of(request).reader(name)
    files = ["status.json", "graph.json", "events.jsonl", "calls/"]
    stats = site_of(request).kept.of("stats", reader.path, files, lambda: run_stats(reader, limit=MOST_CALLS))
    return render(request, "figures.html", run=name, tab="overview", stats=stats, live=stats.state == "running")


async def failures(request: web.Request) -> web.Response:
    name = asked(request, "run")
    step = request.query.get("step", "")
    return await work_long(request, lambda: _failures(request, name, step))


def _failures(request: web.Request, name: str, step: str) -> web.Response:
    reader = site_of(request).reader(name)
    grouped = _grouped(request, reader)
    steps = list(dict.fromkeys(group.node for group in grouped.groups))
    shown = [group for group in grouped.groups if not step or group.node == step]
    return render(
        request, "failures.html", run=name, tab="failures", failed=grouped, groups=shown, steps=steps, step=step
    )


async def live(request: web.Request) -> web.Response:
    name = asked(request, "run")
    return answer(await work(request, lambda: live_counts(site_of(request).reader(name))))


async def file(request: web.Request) -> web.StreamResponse:
    """A file of the run as a download, never as a page: what is in it is not ours."""
    name, wanted = asked(request, "run"), asked(request, "file")
    path = await work(request, lambda: download(site_of(request).reader(name), wanted))
    if path is None:
        error = NotHere(f'{name} has no file "{wanted}" to give away')
        if wanted in _MADE_BY:
            error.add_note(f"next: chainette {_MADE_BY[wanted]} {shlex.quote(name)}")
        raise error
    headers = {"Content-Disposition": f'attachment; filename="{wanted}"', "Content-Type": "application/octet-stream"}
    return web.FileResponse(path, headers=headers)


async def style(request: web.Request) -> web.Response:
    """The sheets of what reports draw."""
    name = request.match_info["sheet"]
    if name not in SHEETS:
        raise NotHere(f"there is no sheet {run_url(name)}")
    return web.Response(text=sheet(name), content_type="text/css")
