"""A graph's outline as lines of a tree, as arrows and as boxes. Knows the outline's shape, not the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chainette.cli.wording import Glyphs, one_line

LOOPS = ("while_loop", "scan")


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of a drawn graph: a node when `node` is set, else the head of a branch or way, or a remark."""

    prefix: str
    node: str | None
    text: str
    before: str | None = None
    """The node whose rows enter this one; None at the start of the chain."""
    inside: tuple[str, ...] = ()
    """The control flow in whose ways it lies, the outermost first."""
    about: str = ""
    """Of control flow: what it asks, in words."""


def tree_lines(outline: object, glyphs: Glyphs, max_branches: int | None = None) -> list[TreeLine]:
    """The outline from top to bottom, at most `max_branches` branches of each group and ways of each switch."""
    return list(_Tree(glyphs, max_branches).sequence(outline, "", None, ()))


def flat(items: object) -> Iterator[str | dict[str, Any]]:
    """A sequence's node ids, groups and control flow, those of the chains inside it in their place."""
    for item in items if isinstance(items, list | tuple) else []:
        if isinstance(item, dict) and "branches" not in item and "compound" not in item:
            yield from flat(item.get("items"))
        elif isinstance(item, str | dict):
            yield item


def ways_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The branches of a group, or the ways of control flow."""
    return list(item.get("ways" if "compound" in item else "branches") or [])


def end_of(item: str | dict[str, Any], before: str | None) -> str | None:
    """The node whose rows go on after an item; a group without a join ends where it began."""
    if isinstance(item, str):
        return item
    return item.get("compound") or item.get("join") or before


def last_node(items: object, before: str | None = None) -> str | None:
    """The node that a sequence ends with."""
    for item in flat(items):
        before = end_of(item, before)
    return before


class _Tree:
    def __init__(self, glyphs: Glyphs, most: int | None) -> None:
        self._glyphs = glyphs
        self._most = most

    def sequence(self, items: object, prefix: str, before: str | None, inside: tuple[str, ...]) -> Iterator[TreeLine]:
        for item in flat(items):
            if isinstance(item, str):
                yield TreeLine(prefix, item, one_line(item), before, inside)
            elif "compound" in item:
                yield from self._compound(item, prefix, before, inside)
            else:
                yield from self._group(item, prefix, before, inside)
            before = end_of(item, before)

    def _group(
        self, group: dict[str, Any], prefix: str, before: str | None, inside: tuple[str, ...]
    ) -> Iterator[TreeLine]:
        join = group.get("join")
        yield from self._ways(group, prefix, before, inside)
        if join is not None:
            yield TreeLine(f"{prefix}{self._glyphs.joined} ", join, one_line(join), before, inside)

    def _compound(
        self, item: dict[str, Any], prefix: str, before: str | None, inside: tuple[str, ...]
    ) -> Iterator[TreeLine]:
        id = str(item["compound"])
        yield TreeLine(prefix, id, one_line(id), before, inside, one_line(item.get("label", "")))
        yield from self._ways(item, prefix, id, (*inside, id))

    def _ways(
        self, item: dict[str, Any], prefix: str, before: str | None, inside: tuple[str, ...]
    ) -> Iterator[TreeLine]:
        glyphs, ways = self._glyphs, ways_of(item)
        shown = ways if self._most is None else ways[: max(self._most, 0)]
        hidden = len(ways) - len(shown)
        goes_on = "compound" not in item and item.get("join") is not None
        for position, way in enumerate(shown):
            last = not goes_on and not hidden and position == len(shown) - 1
            corner = glyphs.last if last else glyphs.branch
            yield TreeLine(f"{prefix}{corner} ", None, _title(way, "compound" in item), before, inside)
            below = prefix + (" " * (len(glyphs.pipe) + 1) if last else f"{glyphs.pipe} ")
            yield from self.sequence(way.get("items"), below, before, inside)
        if hidden:
            corner = glyphs.branch if goes_on else glyphs.last
            yield TreeLine(f"{prefix}{corner} ", None, f"{glyphs.more} and {hidden} more", before, inside)


def _title(way: dict[str, Any], passes: bool) -> str:
    name, alias = str(way.get("name", "")), way.get("alias")
    if passes and next(flat(way.get("items")), None) is None:
        return one_line(f"{name} (as it is)")
    return one_line(name if not alias or alias == name else f"{name} (as {alias})")


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
