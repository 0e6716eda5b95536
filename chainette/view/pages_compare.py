"""Two runs side by side: what was set otherwise, and what came of it. The rows are another page's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chainette.files.graph_changes import Change, graph_changes
from chainette.reports.changed_words import changed_words
from chainette.reports.wording import count, money, seconds
from chainette.view.overview import Overview, overview_of
from chainette.view.shown import pretty
from chainette.view.site import Site, render, site_of, work
from chainette.view.urls import compare_url

_ROWS = ("rows_in", "rows_done", "rows_out", "rows_failed", "rows_dropped")
MOST_OFFERED = 1_000
"""Runs in the fields to choose from."""


def routes() -> list[web.RouteDef]:
    return [web.get("/compare", compare)]


async def compare(request: web.Request) -> web.Response:
    picked = request.query.getall("pick", [])[:2]
    if picked:
        # Ticked in the list, which has the newest first; the older one is the one before.
        raise web.HTTPFound(compare_url(*reversed(picked)) if len(picked) == 2 else compare_url("", picked[0]))
    names = request.query.get("a", ""), request.query.get("b", "")
    return await work(request, lambda: _page(request, *names))


def _page(request: web.Request, a: str, b: str) -> web.Response:
    site = site_of(request)
    names = [run.name for run in site.summaries()[:MOST_OFFERED]]
    offered = list(dict.fromkeys([*names, *(name for name in (a, b) if name)]))
    if not (a and b):
        return render(request, "compare.html", run=b or a, tab="compare", a=a, b=b, offered=offered, both=None)
    before, after = _seen(site, a), _seen(site, b)
    return render(
        request,
        "compare.html",
        run=b,
        tab="compare",
        a=a,
        b=b,
        offered=offered,
        both=(before, after),
        changes=[_told(change) for change in graph_changes(before.graph, after.graph)],
        figures=_figures(before, after),
        steps=_steps(before, after),
    )


def _seen(site: Site, name: str) -> Overview:
    return overview_of(site.reader(name))


@dataclass(frozen=True, slots=True)
class Told:
    """A change as it is shown: in a sentence, and where that does not say all, by what became of the words."""

    sentence: str
    texts: list[tuple[str, list[tuple[str, str]]]]
    """(name, words with their signs)."""


def _told(change: Change) -> Told:
    if isinstance(change.before, dict) and isinstance(change.after, dict):
        names = list(dict.fromkeys([*change.before, *change.after]))
        pairs = [(name, change.before.get(name), change.after.get(name)) for name in names]
    else:
        pairs = [("", change.before, change.after)]
    sentence = str(change)
    untold = sentence.endswith(f"its {change.part} changed")
    texts = [(name, _text(old), _text(new)) for name, old, new in pairs] if untold else []
    return Told(sentence, [(name, changed_words(old, new)) for name, old, new in texts])


def _text(value: Any) -> str:
    return "" if value is None else pretty(value)


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    before: str
    after: str
    change: str = ""
    """By how many percent it grew, or to how many times as much."""

    @property
    def differs(self) -> bool:
        return self.before != self.after


def _figures(before: Overview, after: Overview) -> list[Figure]:
    figures = [Figure("state", before.summary.state, after.summary.state)]
    figures += [
        _figure(words, before.status.get(name), after.status.get(name), count)
        for name, words in (
            *((name, name.replace("_", " ")) for name in _ROWS),
            ("prompt_tokens", "tokens read"),
            ("cached_tokens", "of them cached"),
            ("completion_tokens", "tokens written"),
        )
    ]
    figures.append(_figure("took", before.summary.seconds, after.summary.seconds, seconds))
    figures.append(_figure("rows per second", _rate(before), _rate(after), lambda rate: f"{rate:,.1f}"))
    figures.append(_figure("cost", before.summary.cost, after.summary.cost, money))
    return [figure for figure in figures if figure.before or figure.after]


def _rate(seen: Overview) -> float | None:
    return seen.summary.rows_done / seen.summary.seconds if seen.summary.seconds else None


def _figure(name: str, before: Any, after: Any, shown: Any) -> Figure:
    known = [value if isinstance(value, int | float) else None for value in (before, after)]
    texts = ["" if value is None else shown(value) for value in known]
    grown = ""
    if known[0] and known[1] is not None and known[0] != known[1]:
        times = known[1] / known[0]
        grown = f"× {times:,.0f}" if times > 10 else f"{100 * (times - 1):+.1f}%"
    return Figure(name, texts[0], texts[1], grown)


@dataclass(frozen=True, slots=True)
class Step:
    id: str
    where: str
    """`both`, `a` or `b`."""
    figures: list[Figure]


def _steps(before: Overview, after: Overview) -> list[Step]:
    """Node by node in the order of the second run; those of only the first at the end."""
    ours, theirs = ({node["id"]: node for node in seen.nodes} for seen in (before, after))
    steps = []
    for id in list(dict.fromkeys([*theirs, *ours])):
        a, b = ours.get(id, {}), theirs.get(id, {})
        figures = [_figure(name, a.get(name), b.get(name), count) for name in ("rows_in", "done", "failed", "dropped")]
        figures.append(_figure("tokens", _tokens(a), _tokens(b), count))
        steps.append(Step(id, "both" if a and b else "a" if a else "b", figures))
    return steps


def _tokens(node: dict[str, Any]) -> int | None:
    return node["prompt_tokens"] + node["completion_tokens"] if node else None
