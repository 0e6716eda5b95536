"""The rows of two runs, field by field: what changed, with the words that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chainette.errors import ChainetteError
from chainette.files.comparing import Example, NodeComparison
from chainette.files.comparing_live import LiveComparison
from chainette.files.names import INPUT_NODE
from chainette.files.reading import RunReader
from chainette.reports.changed_words import changed_words
from chainette.view.site import NotHere, Site, render, site_of, work
from chainette.view.urls import diff_url, row_url
from chainette.view.values import brief, laid_out, visible

_PAGE = 20
_PATIENCE_S = 0.7
_LONGEST = 4_000
"""Characters of a value that are compared word by word."""
_OURS = ("_id", "_turn")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    words: list[tuple[str, str]]
    """(sign, words): `-` gone, `+` new, ` ` the same."""


@dataclass(frozen=True, slots=True)
class Card:
    """One row that differs."""

    kind: str
    before_id: str
    after_id: str
    before_url: str
    after_url: str
    fields: list[Field]
    same: int
    """Fields that did not change, and are not shown."""
    failed_before: str
    failed_after: str


def routes() -> list[web.RouteDef]:
    return [web.get("/diff", diff)]


async def diff(request: web.Request) -> web.Response:
    """`a` and `b` are runs, `step` a node; `kind` and `field` choose rows, `at` is the first that is shown."""
    asked = {name: request.query.get(name, "") for name in ("a", "b", "step", "kind", "field")}
    at = request.query.get("at", "")
    first = int(at) if at.isascii() and at.isdecimal() and len(at) < 9 else 0
    shown = await work(request, _look, site_of(request), asked, first)
    template = "diff_result.html" if request.query.get("part") == "1" else "diff.html"
    return render(request, template, run=asked["b"], tab="compare", **shown)


def _look(site: Site, asked: dict[str, str], first: int) -> dict[str, Any]:
    a, b = asked["a"], asked["b"]
    if not (a and b):
        error = NotHere("a comparison needs two runs: ?a=ONE&b=OTHER")
        error.add_note("next: choose two in the list of runs")
        raise error
    readers = site.reader(a), site.reader(b)
    steps = _steps(*readers)
    step = asked["step"] or steps[-1]
    try:
        live = site.open_comparisons.of(a, b, step)
    except ChainetteError as error:
        raise NotHere(str(error)) from None
    complete = live.wait(_PATIENCE_S)
    if live.error is not None:
        raise live.error
    chosen = [example for example in list(live.examples) if _fits(example, asked["kind"], asked["field"])]
    cards = [_card(example, live.node, (a, b)) for example in chosen[first : first + _PAGE]]

    def url(**more: object) -> str:
        return diff_url(a, b, step, **{"kind": asked["kind"], "field": asked["field"], **more})

    return {
        "a": a,
        "b": b,
        "step": step,
        "steps": steps,
        "live": live,
        "node": live.node,
        "kinds": _kinds(live),
        "fields": live.fields()[:60],
        "kind": asked["kind"],
        "field": asked["field"],
        "cards": cards,
        "count": len(chosen),
        "first": first,
        "size": _PAGE,
        "url": url,
        "looking": not complete,
    }


def _steps(before: RunReader, after: RunReader) -> list[str]:
    """What there is to compare, in order: the input, and the nodes of the later run that make rows."""
    written = {node["id"] for node in after.graph().get("nodes") or [] if node.get("written", True)}
    theirs = [id for id in after.step_ids() if not written or id in written]
    gone = [id for id in before.step_ids() if id not in after.step_ids()]
    return [INPUT_NODE, *gone, *theirs]


def _kinds(live: LiveComparison) -> list[tuple[str, int]]:
    node = live.node
    counts = (
        ("changed", node.changed),
        ("added", node.added),
        ("gone", node.gone),
        ("newly failed", node.newly_failed),
        ("no longer failed", node.no_longer_failed),
        ("failed otherwise", node.failed_otherwise),
    )
    return [(kind, count) for kind, count in counts if count]


def _fits(example: Example, kind: str, field: str) -> bool:
    return (not kind or example.kind == kind) and (not field or field in example.fields)


def _card(example: Example, node: NodeComparison, runs: tuple[str, str]) -> Card:
    before, after = example.before or {}, example.after or {}
    names = list(example.fields) if example.kind == "changed" else [n for n in {**before, **after} if n not in _OURS]
    was, now = _id(example.before or example.failed_before), _id(example.after or example.failed_after)
    fields = [Field(name, _words(before, after, name)) for name in names]
    return Card(
        kind=example.kind,
        before_id=was,
        after_id=now,
        before_url=row_url(runs[0], node.before_id, was) if was and node.before_id else "",
        after_url=row_url(runs[1], node.after_id, now) if now and node.after_id else "",
        fields=fields,
        same=sum(name not in _OURS for name in {**before, **after}) - len(fields),
        failed_before=_failure(example.failed_before),
        failed_after=_failure(example.failed_after),
    )


def _id(record: dict[str, Any] | None) -> str:
    return str(record.get("_id", "")) if record else ""


def _words(before: dict[str, Any], after: dict[str, Any], name: str) -> list[tuple[str, str]]:
    if name not in before or name not in after:
        sign = "-" if name in before else "+"
        return [(sign, visible(laid_out(before.get(name, after.get(name)))[0][:_LONGEST]))]
    old, new = before[name], after[name]
    if all(isinstance(value, str | list | dict) for value in (old, new)):
        texts = [visible(laid_out(value)[0][: 20 * _LONGEST]) for value in (old, new)]
        if max(map(len, texts)) > 24 and texts[0] != texts[1]:
            return changed_words(*texts)
    return [("-", brief(old, _LONGEST) or "null"), ("+", brief(new, _LONGEST) or "null")]


def _failure(failure: dict[str, Any] | None) -> str:
    return f"{failure['kind']}: {visible(str(failure['message']))[:2_000]}" if failure else ""
