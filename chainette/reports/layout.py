"""Where the parts of a drawn graph stand: boxes, open boxes that hold others, and the lines between them, in pixels.

A graph is a tree of sequences, so it is laid out by its structure: each block has an axis on which its rows come and
go, and tells how far it reaches to both sides of it. Knows no graph.json and no SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

Point = tuple[float, float]

GAP = 34.0
"""Between two nodes, one above the other: room for an arrow and a count."""
SIDE = 26.0
"""Between two ways side by side."""
PAD = 16.0
BUS = 14.0
"""From a line that runs across, to what hangs on it."""
FOOT = 20.0
"""From a way's end to the line that runs across below it: room for a count."""
PILL = 20.0
LANE = 22.0
"""Half of what the main line has for itself between branches."""
COLLECT = 12.0
"""How far beside the main line the ends of branches come down."""
LOOP = 34.0
"""At the side of a loop's body, for the way back."""
TITLE = 26.0
MOST_WIDE = 1500.0
"""Ways side by side reach about so far; more of them stand on shelves below each other."""


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Placed:
    """A node; an open one is the frame around what it holds, with `head` for its own words."""

    id: str
    box: Box
    head: Box
    open: bool = False


@dataclass(frozen=True, slots=True)
class Sign:
    """The name of a way, on its line; or that of a chain, over its frame."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Count:
    """A figure of a node that stands at an edge."""

    node: str
    field: str
    at: Point


@dataclass(frozen=True, slots=True)
class Edge:
    """Rows go from `start` to `end`, by straight lines from point to point."""

    start: str
    end: str | None
    """None: the rows end there, in the files of that branch."""
    points: tuple[Point, ...]
    count: Count | None = None
    kind: str = ""
    """`back`: a loop's next turn; `main`: past the branches of a group; `out`: to the border of what holds it."""


@dataclass(slots=True)
class Layout:
    """Everything that is drawn; what is open comes before what it holds."""

    width: float = 0.0
    height: float = 0.0
    nodes: list[Placed] = field(default_factory=list)
    chains: list[Sign] = field(default_factory=list)
    ways: list[Sign] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """An edge whose end is not known yet."""

    start: str
    points: tuple[Point, ...]
    kind: str = ""
    count: Count | None = None

    def by(self, *points: Point) -> Line:
        return replace(self, points=self.points + points)

    def to(self, end: str | None, point: Point, kind: str = "") -> Edge:
        return Edge(self.start, end, _straight((*self.points, point)), self.count, kind or self.kind)


def _straight(points: Sequence[Point]) -> tuple[Point, ...]:
    """Without points that change nothing."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        while len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return tuple(kept)


class Block(Protocol):
    """Something to be placed with its axis at `x` and its top at `y`."""

    left: float
    right: float
    height: float

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        """Takes the lines that come from above; returns those that go on."""
        ...


class Leaf:
    """One node."""

    def __init__(self, id: str, width: float, height: float, counted: str = "rows_in") -> None:
        """`counted` is the field that is told where rows come in, "" for none."""
        self.id = id
        self.left = self.right = width / 2
        self.height = height
        self._counted = counted

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        box = Box(x - self.left, y, self.left + self.right, self.height)
        on.nodes.append(Placed(self.id, box, box))
        enter(self.id, x, y, lines, on, self._counted)
        return [Line(self.id, ((x, box.bottom),))]


def enter(id: str, x: float, y: float, lines: list[Line], on: Layout, counted: str = "rows_in") -> None:
    """Ends lines at a node's upper edge: those that come down close beside its axis, where they are."""
    for line in lines:
        at = line.points[-1][0]
        edge = line.to(id, (at if abs(at - x) <= COLLECT else x, y))
        if counted == "rows_out" and edge.count is None:
            edge = replace(edge, count=Count(line.start, "rows_out", (x + 7, y - 10)))
        elif counted and not edge.kind and edge.count is None:
            edge = replace(edge, count=Count(id, counted, (x + 7, y - 10)))
        on.edges.append(edge)


class Row:
    """Blocks one below the other."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)
        self.left = max((block.left for block in blocks), default=0.0)
        self.right = max((block.right for block in blocks), default=0.0)
        self.height = sum(block.height for block in blocks) + GAP * max(0, len(blocks) - 1)

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        for block in self.blocks:
            lines = block.place(x, y, lines, on)
            y += block.height + GAP
        return lines


class Way:
    """A branch or a case: its name on its line, then what happens there."""

    def __init__(self, name: str, row: Row, name_width: float, *, joined: bool) -> None:
        self._name, self._row, self._wide = name, row, name_width
        self.joined = joined
        """Its last rows go on below; else they end there."""
        self.left = max(row.left, name_width / 2)
        self.right = max(row.right, name_width / 2)
        self.height = PILL + (GAP + row.height if row.blocks else 0.0)

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        on.ways.append(Sign(self._name, Box(x - self._wide / 2, y, self._wide, PILL)))
        return self._row.place(x, y + PILL + GAP, lines, on)


@dataclass(frozen=True, slots=True)
class _Shelf:
    ways: tuple[tuple[int, float], ...]
    """(place of the way, how far its axis is from the fan's)."""
    left: float
    right: float
    height: float


class Fan:
    """Ways side by side, on shelves where they are many; `lane` keeps the axis free for the main line."""

    def __init__(self, ways: Sequence[Way], *, lane: bool) -> None:
        self.ways = list(ways)
        groups = _shelved(self.ways)
        self._split = lane or len(groups) > 1
        self._shelves = [_shelf(self.ways, group, LANE if self._split else 0.0) for group in groups]
        self.left = max((shelf.left for shelf in self._shelves), default=0.0)
        self.right = max((shelf.right for shelf in self._shelves), default=0.0)
        self.height = sum(shelf.height + 2 * BUS + FOOT for shelf in self._shelves)

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        """Returns the ends of the ways that are joined, each beside the axis and above what comes next."""
        ends: list[Line] = []
        for shelf in self._shelves:
            across, below = y, y + BUS + shelf.height + FOOT
            for index, shift in shelf.ways:
                way, at = self.ways[index], x + shift
                inner = way.place(at, y + BUS, [line.by((x, across), (at, across)) for line in lines], on)
                beside = x + (COLLECT if shift > 0 else -COLLECT) if self._split else x
                ends += _ended(way, inner, at, (at, below), (beside, below), on)
            y = below + BUS
        return ends


def _ended(way: Way, lines: list[Line], x: float, below: Point, beside: Point, on: Layout) -> list[Line]:
    if not way.joined:
        on.edges += [line.to(None, (x, line.points[-1][1] + BUS)) for line in lines]
        return []
    ended = []
    for line in lines:
        foot = line.points[-1]
        made = Count(line.start, "rows_out", (x + 7, foot[1] + 13)) if len(line.points) == 1 else line.count
        ended.append(replace(line.by(below, beside), count=made))
    return ended


def _shelved(ways: Sequence[Way]) -> list[list[int]]:
    groups: list[list[int]] = []
    used = 0.0
    for index, way in enumerate(ways):
        wide = way.left + way.right + SIDE
        if not groups or used + wide > MOST_WIDE:
            groups.append([])
            used = 0.0
        groups[-1].append(index)
        used += wide
    return groups


def _shelf(ways: Sequence[Way], group: Sequence[int], lane: float) -> _Shelf:
    """Around the axis: in two halves when it has a lane, else centred as one."""
    height = max(ways[index].height for index in group)
    widths = [ways[index].left + ways[index].right for index in group]
    half = len(group) // 2
    if lane:
        start = -lane - sum(widths[:half]) - SIDE * max(0, half - 1)
    else:
        half, start = 0, -(sum(widths) + SIDE * (len(group) - 1)) / 2
    placed, at = [], start
    for position, index in enumerate(group):
        if lane and position == half:
            at = lane
        placed.append((index, at + ways[index].left))
        at += widths[position] + SIDE
    left = -min(start, -lane)
    return _Shelf(tuple(placed), left, max(at - SIDE, lane), height)


class Group:
    """Branches beside the main line, and the join where some of them come back."""

    def __init__(self, ways: Sequence[Way], join: Leaf | None) -> None:
        self._fan = Fan(ways, lane=True)
        self._join = join
        self.left = max(self._fan.left, join.left if join else 0.0)
        self.right = max(self._fan.right, join.right if join else 0.0)
        self.height = self._fan.height + (BUS + join.height if join else -BUS)

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        ends = self._fan.place(x, y, lines, on)
        if self._join is None:
            return lines
        main = [replace(line, kind="main") for line in lines]
        return self._join.place(x, y + self._fan.height + BUS, [*main, *ends], on)


class Frame:
    """Control flow as an open box: its own words at the top, below them what it holds."""

    def __init__(self, id: str, holds: Row | Fan, head_width: float, head_height: float) -> None:
        """A `Row` is a loop's body, with a way back; a `Fan` are the cases of which a row takes one."""
        self.id, self._holds, self._head = id, holds, head_height
        self._loops = isinstance(holds, Row)
        self.left = max(holds.left + PAD, head_width / 2)
        self.right = max(holds.right + PAD + (LOOP if self._loops else 0.0), head_width / 2)
        self._before = GAP if self._loops else BUS * 2
        self.height = head_height + self._before + holds.height + (BUS * 3 if self._loops else BUS)

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        box = Box(x - self.left, y, self.left + self.right, self.height)
        head = Box(box.x, y, box.width, self._head)
        on.nodes.append(Placed(self.id, box, head, open=True))
        enter(self.id, x, y, lines, on)
        inner = [Line(self.id, ((x, head.bottom),))]
        ends = self._holds.place(x, head.bottom + self._before, inner, on)
        for line in ends:
            if self._loops:
                on.edges.append(line.to(self.id, (x, box.bottom), "out"))
                on.edges.append(self._back(line, head, box.bottom - BUS * 1.6))
            else:
                last, y_end = line.points[-1], box.bottom - BUS
                on.edges.append(line.by((last[0], y_end), (x, y_end)).to(self.id, (x, box.bottom), "out"))
        return [Line(self.id, ((x, box.bottom),))]

    def _back(self, line: Line, head: Box, y: float) -> Edge:
        x, side = line.points[-1][0], head.right - PAD
        return line.by((x, y), (side, y)).to(self.id, (side, head.bottom), "back")


class Inner:
    """A chain inside the chain: a quiet frame with its name."""

    def __init__(self, name: str, row: Row) -> None:
        self._name, self._row = name, row
        self.left, self.right = row.left + PAD, row.right + PAD
        self.height = TITLE + row.height + PAD

    def place(self, x: float, y: float, lines: list[Line], on: Layout) -> list[Line]:
        on.chains.append(Sign(self._name, Box(x - self.left, y, self.left + self.right, self.height)))
        return self._row.place(x, y + TITLE, lines, on)


def lay_out(row: Row, margin: float = 12.0) -> Layout:
    """Places a whole graph, its upper left corner at 0, 0."""
    on = Layout(row.left + row.right + 2 * margin, row.height + 2 * margin)
    row.place(row.left + margin, margin, [], on)
    return on
