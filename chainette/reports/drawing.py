"""The graph of a run as SVG, from its `graph.json` alone: nodes, open boxes around what control flow holds, figures.

Colours come from classes (graph.css), so the same drawing is dark or light. What a figure says can be renewed by its
text alone: every one has `data-node` and `data-field`, a field of the node in `status.json`, and `data-word` where a
word follows the number and zero says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from chainette.reports.layout import Box, Count, Edge, Layout, Placed, Point, Sign
from chainette.reports.layout_outline import (
    CELL,
    INPUT,
    MORE,
    MOST_DEEP,
    NODE_HEIGHT,
    NODE_SIDES,
    OUTPUT,
    clipped,
    laid_out,
    mappings,
    plain,
)
from chainette.reports.wording import count, short_count

Counts = Mapping[str, Mapping[str, Any]]

_SIGNS = "step ◆ apply ƒ join ⋈ cond ◇ switch ◇ while_loop ↻ scan » delay ~ gather ∪".split()
GLYPHS = dict(zip(_SIGNS[::2], _SIGNS[1::2], strict=True))
KINDS = {"while_loop": "loop"}
_FIGURES = (("done", "done"), ("failed", "failed"), ("dropped", "dropped"))
"""Fields of a node's counts, each with the word behind it."""
CORNER = 7.0
NAME_CELL = 7.3
MOST_TITLE = 600
"""Characters of a node's tooltip."""


def draw(
    graph: Mapping[str, Any],
    counts: Counts | None = None,
    live_ids: bool = True,
    links: Callable[[str], str] | None = None,
) -> str:
    """One `<svg>` element, as wide and high as it needs: put it in a box that scrolls.

    `counts` are the `nodes` of `status.json`; None leaves no room for figures. With `live_ids` each node is `node-0`,
    `node-1`, … in the order of `nodes` in `graph.json`, for one drawing in a page. `links` gives a node's address.
    """
    picture = _Picture(graph, counts, live_ids, links)
    layout = laid_out(graph, counts is not None, picture.longest_figures())
    size = (
        f'width="{_n(layout.width)}" height="{_n(layout.height)}" viewBox="0 0 {_n(layout.width)} {_n(layout.height)}"'
    )
    label = f"The graph of {plain(graph.get('chain', ''))[:200]}"
    head = f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_attribute(label)}" {size}>'
    return "\n".join([head, *picture.parts(layout), "</svg>"])


def short(number: float) -> str:
    """`9,999`, then `12.3k`, `1.2M`: what a figure in the drawing says. Scripts that renew figures say the same."""
    return count(number) if number < 10_000 else short_count(number)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(value: object) -> str:
    return escape(plain(value), quote=False)


def _attribute(value: object) -> str:
    return escape(plain(value), quote=True)


class _Picture:
    """What the parts of one drawing look like."""

    def __init__(
        self, graph: Mapping[str, Any], counts: Counts | None, live_ids: bool, links: Callable[[str], str] | None
    ) -> None:
        nodes = graph.get("nodes")
        known = [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else []
        self._facts = {str(node.get("id")): node for node in known}
        self._places = {id: place for place, id in enumerate(self._facts)} if live_ids else {}
        self._labels = dict(_labels(graph.get("outline")))
        self._counts, self._links = counts, links

    def longest_figures(self) -> int:
        """Characters of what a node says of its counts."""
        said = (" ".join(filter(None, (self._said(id, *one) for one in _FIGURES))) for id in self._facts)
        return max(map(len, said), default=0)

    def parts(self, layout: Layout) -> list[str]:
        """Frames below lines below nodes."""
        frames = [placed for placed in layout.nodes if placed.open]
        return [
            *map(self._chain, layout.chains),
            *map(self._frame, frames),
            *map(self._edge, layout.edges),
            *map(self._way, layout.ways),
            *(self._node(placed) for placed in layout.nodes),
            *(self._edge_count(edge.count) for edge in layout.edges if edge.count is not None),
        ]

    def _chain(self, sign: Sign) -> str:
        words = clipped(sign.text, int((sign.box.width / 2 - 20) / CELL))
        at = f'x="{_n(sign.box.x + 9)}" y="{_n(sign.box.y + 16)}"'
        title = f"<title>chain {_text(sign.text[:MOST_TITLE])}</title>"
        return f'<g class="g-chain">{title}{_rect(sign.box, 8)}<text class="g-quiet" {at}>{_text(words)}</text></g>'

    def _frame(self, placed: Placed) -> str:
        head = placed.head
        rule = f'<path d="M{_n(head.x)} {_n(head.bottom)}H{_n(head.right)}"/>'
        return f'<g class="g-frame g-{self._kind(placed.id)}">{_rect(placed.box, 8)}{rule}</g>'

    def _way(self, sign: Sign) -> str:
        middle = f'x="{_n(sign.box.x + sign.box.width / 2)}" y="{_n(sign.box.y + 14)}"'
        return (
            f'<g class="g-way">{_rect(sign.box, 10)}<text text-anchor="middle" {middle}>{_text(sign.text)}</text></g>'
        )

    def _edge(self, edge: Edge) -> str:
        ends = f'data-from="{_attribute(edge.start)}" data-to="{_attribute(edge.end or "")}"'
        parts = [f'<path class="g-line" d="{_rounded(edge.points)}"/>']
        x, y = edge.points[-1]
        if edge.end is None:
            parts.append(f'<circle class="g-stop" cx="{_n(x)}" cy="{_n(y)}" r="3"/>')
        elif edge.kind != "out":
            tail = 7 if edge.points[-2][1] < y else -7
            parts.append(
                f'<path class="g-tip" d="M{_n(x - 4)} {_n(y - tail)}L{_n(x)} {_n(y)}L{_n(x + 4)} {_n(y - tail)}Z"/>'
            )
        if edge.kind == "back":
            side, low = edge.points[-2][0], edge.points[-2][1]
            parts.append(
                f'<text class="g-quiet" text-anchor="end" x="{_n(side - 9)}" y="{_n(low - 5)}">next turn</text>'
            )
        return f'<g class="g-edge{" g-" + edge.kind if edge.kind else ""}" {ends}>{"".join(parts)}</g>'

    def _edge_count(self, count: Count) -> str:
        if self._counts is None:
            return ""
        figure = self._figure(count.node, count.field)
        return f'<text class="g-count" x="{_n(count.at[0])}" y="{_n(count.at[1])}">{figure}</text>'

    def _figure(self, node: str, field: str, word: str = "") -> str:
        """A number that a page may renew."""
        said = self._said(node, field, word)
        about = f'data-node="{_attribute(node)}" data-field="{field}"' + (f' data-word="{word}"' if word else "")
        return f'<tspan class="g-{field}" {about}>{said}</tspan>'

    def _said(self, node: str, field: str, word: str) -> str:
        value = (self._counts or {}).get(node, {}).get(field) or 0
        value = value if isinstance(value, int | float) else 0
        return (f"{short(value)} {word}" if value else "") if word else short(value)

    def _kind(self, id: str) -> str:
        kind = str(self._facts.get(id, {}).get("type", ""))
        return kind if kind in GLYPHS else "other"

    def _node(self, placed: Placed) -> str:
        if placed.id in (INPUT, OUTPUT, MORE):
            return _pill(placed)
        kind = self._kind(placed.id)
        place = self._places.get(placed.id)
        id = "" if place is None else f' id="node-{place}"'
        box, head = placed.box, placed.head
        shape = "" if placed.open else _rect(box, 6)
        inside = f"<title>{self._title(placed.id)}</title>{shape}{self._words(placed.id, kind, head)}"
        if self._links is not None:
            inside = f'<a href="{_attribute(self._links(placed.id))}">{inside}</a>'
        return f'<g{id} class="g-node g-{kind}" data-node="{_attribute(placed.id)}">{inside}</g>'

    def _words(self, id: str, kind: str, head: Box) -> str:
        facts, room = self._facts.get(id, {}), head.width - NODE_SIDES
        x, y = head.x, head.y
        about = " · ".join(
            filter(None, [KINDS.get(kind, kind), self._labels.get(id) or str(facts.get("engine") or "")])
        )
        name, told = _text(clipped(id, int(room / NAME_CELL))), _text(clipped(about, int(room / CELL)))
        left = f'x="{_n(x + 27)}"'
        lines = [
            f'<text class="g-glyph" x="{_n(x + 9)}" y="{_n(y + 18)}">{GLYPHS.get(kind, "·")}</text>',
            f'<text class="g-name" {left} y="{_n(y + 18)}">{name}</text>',
            f'<text class="g-quiet" {left} y="{_n(y + 34)}">{told}</text>',
        ]
        if head.height > NODE_HEIGHT:
            said = [self._figure(id, field, word) for field, word in _FIGURES]
            lines.append(f'<text class="g-figures" {left} y="{_n(y + 50)}">{" ".join(said)}</text>')
        return "".join(lines)

    def _title(self, id: str) -> str:
        facts = self._facts.get(id, {})
        words = [id, str(facts.get("type") or "")]
        words += [f"{facts[key]}" for key in ("engine",) if facts.get(key)]
        if facts.get("input") and facts.get("output"):
            words.append(f"{facts['input']} → {facts['output']}")
        name = facts.get("name")
        return _text("; ".join([*([str(name)] if name and name != id else []), *filter(None, words)])[:MOST_TITLE])


def _pill(placed: Placed) -> str:
    box, words = placed.box, {INPUT: "input", OUTPUT: "output"}.get(placed.id, "and more")
    at = f'x="{_n(box.x + box.width / 2)}" y="{_n(box.y + 17)}"'
    return f'<g class="g-end">{_rect(box, 13)}<text text-anchor="middle" {at}>{words}</text></g>'


def _rect(box: Box, corner: float) -> str:
    size = f'width="{_n(box.width)}" height="{_n(box.height)}"'
    return f'<rect x="{_n(box.x)}" y="{_n(box.y)}" {size} rx="{_n(corner)}"/>'


def _rounded(points: tuple[Point, ...]) -> str:
    """A path through points at right angles to each other, with round corners."""
    path = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        a, b = _near(corner, before, after), _near(corner, after, before)
        path.append(f"L{_n(a[0])} {_n(a[1])}Q{_n(corner[0])} {_n(corner[1])} {_n(b[0])} {_n(b[1])}")
    path.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    return "".join(path)


def _near(corner: Point, towards: Point, other: Point) -> Point:
    """On the way from a corner, as far as the shorter of its two arms allows."""
    arms = [abs(p[0] - corner[0]) + abs(p[1] - corner[1]) for p in (towards, other)]
    far = min(CORNER, arms[0] / 2, arms[1] / 2)
    step = far / arms[0] if arms[0] else 0.0
    return corner[0] + (towards[0] - corner[0]) * step, corner[1] + (towards[1] - corner[1]) * step


def _labels(items: object, deep: int = 0) -> list[tuple[str, str]]:
    """What each piece of control flow asks, by its id."""
    found: list[tuple[str, str]] = []
    for item in mappings(items) if deep < 2 * MOST_DEEP else ():
        if "compound" in item:
            found.append((str(item["compound"]), str(item.get("label") or "")))
        for way in [item, *mappings(item.get("ways")), *mappings(item.get("branches"))]:
            found += _labels(way.get("items"), deep + 1)
    return found
