"""A graph's outline as arrows between nodes and as boxes around them. Knows the outline's shape, not the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainette.reports.outline import LOOPS, flat, ways_of


@dataclass(frozen=True, slots=True)
class Arrow:
    """Rows go from one node to another; `start` is None where they come from the input."""

    start: str | None
    end: str
    label: str = ""
    back: bool = False
    """The way from the end of a loop's body to its next turn."""


_Ends = list[tuple[str | None, str]]
"""Where rows come from, and the word at the arrow that takes them on."""


def arrows(outline: object) -> list[Arrow]:
    """Every way that rows take, labelled with the branch or way they enter or the alias they bring to a join."""
    found: list[Arrow] = []
    _follow(outline, [(None, "")], found)
    return found


def _follow(items: object, ends: _Ends, found: list[Arrow]) -> _Ends:
    """Adds the arrows of a sequence that begins behind `ends`; returns where it ends."""
    for item in flat(items):
        if isinstance(item, str):
            ends = _into(item, ends, found)
        elif "compound" in item:
            ends = _through(item, ends, found)
        else:
            ends = _side_by_side(item, ends, found)
    return ends


def _into(id: str, ends: _Ends, found: list[Arrow]) -> _Ends:
    found += [Arrow(start, id, label) for start, label in ends]
    return [(id, "")]


def _side_by_side(group: dict[str, Any], ends: _Ends, found: list[Arrow]) -> _Ends:
    join = group.get("join")
    brought: _Ends = []
    for branch in ways_of(group):
        name, alias = str(branch.get("name", "")), branch.get("alias")
        last = _follow(branch.get("items"), [(start, name) for start, _ in ends], found)
        brought += [(start, str(alias)) for start, _ in last] if alias else []
    return ends if join is None else _into(join, [*ends, *brought], found)


def _through(item: dict[str, Any], ends: _Ends, found: list[Arrow]) -> _Ends:
    id = str(item["compound"])
    _into(id, ends, found)
    if item.get("kind") in LOOPS:
        for way in ways_of(item):
            last = _follow(way.get("items"), [(id, "")], found)
            found += [Arrow(start, id, "next turn", back=True) for start, _ in last if start not in (None, id)]
        return [(id, "")]
    return [end for way in ways_of(item) for end in _follow(way.get("items"), [(id, str(way.get("name", "")))], found)]


@dataclass(frozen=True, slots=True)
class Box:
    """Control flow with what is inside it, for drawings that frame it."""

    id: str
    label: str
    items: tuple[str | Box, ...]
    """Nodes and boxes; the control flow's own node is the first."""


def boxes(outline: object) -> tuple[str | Box, ...]:
    """The outline as nodes and frames around control flow."""
    found: list[str | Box] = []
    for item in flat(outline):
        if isinstance(item, str):
            found.append(item)
            continue
        inside = [inner for way in ways_of(item) for inner in boxes(way.get("items"))]
        if "compound" in item:
            id = str(item["compound"])
            about = ", ".join(filter(None, [str(item.get("kind", "")), str(item.get("label", ""))]))
            found.append(Box(id, about, (id, *inside)))
        else:
            found += [*inside, *([item["join"]] if item.get("join") is not None else [])]
    return tuple(found)
