"""A graph's outline as lines of a tree. Knows the outline's shape, not the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chainette.cli.wording import Glyphs, one_line
from chainette.reports.outline import end_of, flat, ways_of


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
