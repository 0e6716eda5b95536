"""Nodes into stages: which steps run while which engines are on the devices. Knows no backend.

Steps of one outermost loop are one piece of work, since rows go round between them. An apply that waits for all rows of
the run ends a segment: what comes after it is in a later stage than all that comes before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chainette.devices import Demand, Device, Placement, place
from chainette.graph import Graph, Node
from chainette.graph.run_scope import barriers
from chainette.plan.housing import Stay, house
from chainette.plan.order import Turn, loads_of, orders
from chainette.plan.segments import Part, parts_of
from chainette.plan.work import Work, bits


@dataclass(frozen=True)
class Stage:
    """Nodes whose engines live together. Chunks stream within a stage."""

    nodes: tuple[str, ...]
    engines: tuple[str, ...]
    """Those that serve steps of this stage, in the order in which the chain needs them."""
    placements: Mapping[str, Placement]
    """Of every engine that has devices in this stage, also of one that only waits for a later one."""
    loads: tuple[str, ...] = ()
    """Engines that must be loaded, or woken, at its start."""
    rests: tuple[str, ...] = ()
    """Engines that were on devices before it and must give them up at its start."""
    why: str = ""
    """Why those rest, with the arithmetic."""
    barrier: str = ""
    """The node that it begins with, if that waits for all rows of the run."""


def stages_without_devices(graph: Graph, engine_of: Mapping[int, str]) -> tuple[tuple[Stage, ...], dict[int, int]]:
    """As few as there can be, with nothing placed."""
    stage_of = segments_of(graph)
    empty = [Stay({}, (), (), "")] * (max(stage_of.values()) + 1)
    return _stages(graph, engine_of, stage_of, empty), stage_of


def make_stages(
    graph: Graph, engine_of: Mapping[int, str], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> tuple[tuple[Stage, ...], dict[int, int]]:
    """The stages, and the number of each node's, from 0. What any loop or other step demands fits on the devices.

    Engines without a demand serve wherever they are needed and cost nothing.
    """
    names = [name for name in dict.fromkeys(engine_of.values()) if name in demands]
    steps = [node for node in graph.steps if node.index in engine_of]
    groups = [[node.index for node in group] for group in loop_groups(steps)]
    segment_of = segments_of(graph)
    work = _work(graph, groups, segment_of, {i: names.index(e) for i, e in engine_of.items() if e in demands})
    count = max(segment_of.values()) + 1
    cut = _Cut([segment_of[group[0]] for group in groups], count)
    parts, stays, proved = _best(work, cut, names, demands, devices)
    stage_of = _stage_of(graph, groups, parts, segment_of)
    if not proved:
        said = "a good order, perhaps not the best: there are too many to try them all"
        stays[0] = replace(stays[0], why=said)
    return _stages(graph, engine_of, stage_of, stays), stage_of


def _stages(
    graph: Graph, engine_of: Mapping[int, str], stage_of: Mapping[int, int], stays: Sequence[Stay]
) -> tuple[Stage, ...]:
    begins = {stage_of[node.index]: node.id for node in barriers(graph.nodes)}
    stages = []
    for number, stay in enumerate(stays):
        here = [index for index, stage in stage_of.items() if stage == number]
        serving = tuple(dict.fromkeys(engine_of[index] for index in here if index in engine_of))
        barrier = begins.get(number, "")
        stages.append(Stage(_ids(graph, here), serving, stay.placements, stay.loads, stay.rests, stay.why, barrier))
    return tuple(stages)


def loop_groups(steps: Sequence[Node]) -> list[list[Node]]:
    """Steps that must run in one stage: those of one outermost loop, and each other for itself."""
    groups: dict[tuple[str, int], list[Node]] = {}
    for node in steps:
        groups.setdefault(("loop", node.loops[0]) if node.loops else ("step", node.index), []).append(node)
    return list(groups.values())


def segments_of(graph: Graph) -> dict[int, int]:
    """How many barriers lie before each node, or are it."""
    borders = [node.index for node in barriers(graph.nodes)]
    return {node.index: bisect_right(borders, node.index) for node in graph.nodes}


@dataclass(frozen=True)
class _Cut:
    """Turns to parts, each of which will be a stage."""

    segments: Sequence[int]
    count: int

    def __call__(self, turns: Sequence[Turn], work: Work) -> list[Part]:
        return parts_of(turns, work, self.segments, self.count)


def _best(
    work: Work, cut: _Cut, names: Sequence[str], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> tuple[list[Part], list[Stay], bool]:
    """The order with the fewest loads once everyone has a place, and whether it is known that no other has fewer.

    What the search finds is a bound: it knows which engines fit together, not that one may have to move for it.
    """
    found: list[tuple[int, int, list[Part], list[Stay]]] = []
    bound = 0
    for turns, proved in orders(work, _Fitting(names, demands, devices), _most(names, demands, devices)):
        parts = cut(turns, work)
        stays = house([[names[bit] for bit in bits(part.resident)] for part in parts], demands, devices)
        found.append((sum(len(stay.loads) for stay in stays), len(parts), parts, stays))
        bound = loads_of(turns) if proved else bound
        if found[-1][0] == bound:
            break
    loads, _, parts, stays = min(found, key=lambda order: order[:2])
    return parts, stays, loads == bound


@dataclass
class _Fitting:
    """Whether a set of engines, as bits, has room on the devices together. Asks once about each."""

    names: Sequence[str]
    demands: Mapping[str, Demand]
    devices: Sequence[Device]

    def __post_init__(self) -> None:
        self.known: dict[int, bool] = {0: True}

    def __call__(self, engines: int) -> bool:
        if engines not in self.known:
            wanted = [self.demands[name] for bit, name in enumerate(self.names) if engines >> bit & 1]
            self.known[engines] = len(wanted) == 1 or place(wanted, self.devices) is not None
        return self.known[engines]


def _most(names: Sequence[str], demands: Mapping[str, Demand], devices: Sequence[Device]) -> int:
    """No more engines than this have room together, by their sums."""
    asked = sorted(
        demand.share * demand.per_replica * demand.least_replicas for demand in (demands[name] for name in names)
    )
    left, count = len(devices) + 1e-3, 0
    for size in asked:
        left -= size
        if left < 0:
            break
        count += 1
    return count


def _work(
    graph: Graph, groups: Sequence[Sequence[int]], segment_of: Mapping[int, int], number: Mapping[int, int]
) -> Work:
    """`groups` are the nodes of the steps that must run together, `number` that of a step's engine."""
    bit = {index: 1 << position for position, group in enumerate(groups) for index in group}
    sources = _sources(graph)
    above = [0] * len(graph.nodes)
    for node in graph.nodes:
        for source in sources[node.index]:
            above[node.index] |= above[source] | bit.get(source, 0)
    engines, before = [], []
    for position, group in enumerate(groups):
        needed = earlier = 0
        for index in group:
            needed |= 1 << number[index] if index in number else 0
            earlier |= above[index]
        for other, members in enumerate(groups):
            earlier |= 1 << other if segment_of[members[0]] < segment_of[group[0]] else 0
        engines.append(needed)
        before.append(earlier & ~(1 << position))
    return Work(engines, before)


def _sources(graph: Graph) -> list[set[int]]:
    """Per node those whose rows it needs; they all come before it."""
    sources: list[set[int]] = [set() for _ in graph.nodes]
    for node in graph.nodes:
        ways = graph.nodes[node.head].ways if node.kind == "merge" else ()
        wanted = {node.parent, *(branch.last for branch in node.branches), *(way.last for way in ways)}
        sources[node.index] |= {index for index in wanted if 0 <= index < node.index}
        for edge in graph.edges[node.index]:
            if edge.target > node.index:
                sources[edge.target].add(node.index)
    return sources


def _stage_of(
    graph: Graph, groups: Sequence[Sequence[int]], parts: Sequence[Part], segment_of: Mapping[int, int]
) -> dict[int, int]:
    """Steps by the part that does them; every other node runs as soon as all its rows are there."""
    part_of = {
        index: next(number for number, part in enumerate(parts) if part.steps >> position & 1)
        for position, group in enumerate(groups)
        for index in group
    }
    of_loop = {graph.nodes[index].loops[0]: part for index, part in part_of.items() if graph.nodes[index].loops}
    first: dict[int, int] = {}
    for number, part in enumerate(parts):
        first.setdefault(part.segment, number)
    sources = _sources(graph)
    stage_of: dict[int, int] = {}
    for node in graph.nodes:
        earliest = max((stage_of[source] for source in sources[node.index]), default=0)
        earliest = max(earliest, first[segment_of[node.index]])
        if node.kind == "scan":  # rows wait before it for those in its body
            earliest = max(earliest, of_loop.get(node.index, 0))
        if node.loops:
            earliest = of_loop.get(node.loops[0], earliest)
        stage_of[node.index] = part_of.get(node.index, earliest)
    return stage_of


def _ids(graph: Graph, indexes: Sequence[int]) -> tuple[str, ...]:
    return tuple(graph.nodes[index].id for index in indexes if graph.nodes[index].kind != "branch")
