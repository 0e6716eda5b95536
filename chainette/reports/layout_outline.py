"""The outline of a `graph.json` as blocks to be placed. Takes any JSON for one; what it does not know is left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from chainette.files.names import INPUT_NODE
from chainette.reports.layout import Block, Fan, Frame, Group, Inner, Layout, Leaf, Row, Way, lay_out
from chainette.reports.outline import LOOPS

NODE_WIDTH = 204.0
NODE_SIDES = 34.0
"""Of a node's width, what its words leave free."""
NODE_HEIGHT = 44.0
COUNTED_HEIGHT = 60.0
PILL_WIDTH, PILL_HEIGHT = 96.0, 26.0
INPUT, OUTPUT, MORE = INPUT_NODE, " output", " more"
"""Ids of what is no node of the graph; no node is called like the last two."""
MOST_NODES = 2_000
MOST_DEEP = 40
CELL = 6.6
"""A character of the small text, in pixels."""
MOST_NAME = 24


def laid_out(graph: Mapping[str, Any], counted: bool, figures: int = 0) -> Layout:
    """The whole graph between its input and its output; `counted` leaves room for figures in the nodes, of `figures`
    characters at most."""
    outline = graph.get("outline")
    if not isinstance(outline, list) or not outline:
        order = graph.get("execution_order")
        outline = (
            [str(n["id"]) for n in order if isinstance(n, Mapping) and "id" in n] if isinstance(order, list) else []
        )
    width = max(NODE_WIDTH, figures * CELL + NODE_SIDES)
    reading = _Reading(width, COUNTED_HEIGHT if counted else NODE_HEIGHT)
    blocks = [
        Leaf(INPUT, PILL_WIDTH, PILL_HEIGHT, counted=""),
        *reading.blocks(outline, 0),
        Leaf(OUTPUT, PILL_WIDTH, PILL_HEIGHT, counted="rows_out"),
    ]
    return lay_out(Row(blocks))


class _Reading:
    def __init__(self, width: float, height: float) -> None:
        self._width, self._height = width, height
        self._left = MOST_NODES

    def blocks(self, items: object, deep: int) -> list[Block]:
        found: list[Block] = []
        for item in items if isinstance(items, list | tuple) else ():
            if self._left <= 0 or deep > MOST_DEEP:
                return [*found, Leaf(MORE, PILL_WIDTH, PILL_HEIGHT, counted="")]
            block = self._block(item, deep)
            if block is not None:
                found.append(block)
        return found

    def _block(self, item: object, deep: int) -> Block | None:
        if isinstance(item, str):
            return self._leaf(item)
        if not isinstance(item, Mapping):
            return None
        if "compound" in item:
            return self._compound(item, deep)
        if "branches" in item:
            ways = [self._way(b, deep, joined=_alias(b) is not None) for b in mappings(item["branches"])]
            join = item.get("join")
            return Group(ways, None if join is None else self._leaf(str(join)))
        return Inner(str(item.get("chain", "")), Row(self.blocks(item.get("items"), deep + 1)))

    def _leaf(self, id: str) -> Leaf:
        self._left -= 1
        return Leaf(id, self._width, self._height)

    def _compound(self, item: Mapping[str, Any], deep: int) -> Block:
        self._left -= 1
        id, ways = str(item["compound"]), mappings(item.get("ways"))
        if not ways:
            return Leaf(id, self._width, self._height)
        if item.get("kind") in LOOPS:
            return Frame(id, Row(self.blocks(ways[0].get("items"), deep + 1)), self._width, self._height)
        fan = Fan([self._way(way, deep, joined=True) for way in ways], lane=False)
        return Frame(id, fan, self._width, self._height)

    def _way(self, way: Mapping[str, Any], deep: int, *, joined: bool) -> Way:
        row = Row(self.blocks(way.get("items"), deep + 1))
        name, alias = str(way.get("name", "")), _alias(way)
        if alias is not None and alias != name:
            name = f"{name} as {alias}"
        if not row.blocks:
            name = f"{name}, as it is"
        name = clipped(name, MOST_NAME)
        return Way(name, row, cells(name) * CELL + 16, joined=joined)


def _alias(branch: Mapping[str, Any]) -> str | None:
    return None if branch.get("alias") is None else str(branch["alias"])


def mappings(items: object) -> list[Mapping[str, Any]]:
    """Those of any JSON's items that are objects."""
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list | tuple) else []


_FORMAT = [
    0x200B,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
    0xFFFE,
    0xFFFF,
]
_GONE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *_FORMAT], " ") | dict.fromkeys(
    range(0xD800, 0xE000), "\ufffd"
)


def plain(text: object) -> str:
    """Foreign text on one line, without what XML cannot hold or what would change how the rest is read."""
    return str(text).translate(_GONE).strip()


def cells(text: Iterable[str]) -> int:
    """How wide text is, in characters of usual width."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def clipped(text: object, most: int) -> str:
    """At most `most` cells: of a path its end, of other text its beginning."""
    line = plain(str(text)[: 20 * most] if "/" not in str(text) else str(text)[-20 * most :])
    if cells(line) <= most:
        return line
    from_end = "/" in line and cells(line.rpartition("/")[2]) < most - 1
    kept, used = [], 0
    for character in reversed(line) if from_end else line:
        used += cells(character)
        if used > most - 1:
            break
        kept.append(character)
    return "…" + "".join(reversed(kept)) if from_end else "".join(kept) + "…"
