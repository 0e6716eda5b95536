"""Nodes into stages: which steps run while which engines are on the devices. Knows no backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainette.devices import Demand, Device, Placement, place
from chainette.graph import Graph
from chainette.plan.housing import Stay, house
from chainette.plan.order import Turn, loads_of, orders
from chainette.plan.work import Work


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


def one_stage(graph: Graph, engines: Sequence[str]) -> tuple[tuple[Stage, ...], dict[int, int]]:
    """Everything at once, with nothing placed."""
    stage = Stage(_ids(graph, range(len(graph.nodes))), tuple(engines), {})
    return (stage,), {node.index: 0 for node in graph.nodes}


def make_stages(
    graph: Graph, engine_of: Mapping[int, str], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> tuple[tuple[Stage, ...], dict[int, int]]:
    """The stages, and the number of each node's, from 0. Every demand alone fits on the devices.

    Engines without a demand serve wherever they are needed and cost nothing.
    """
    names = [name for name in dict.fromkeys(engine_of.values()) if name in demands]
    steps = [node.index for node in graph.steps if node.index in engine_of]
    work = _work(graph, steps, engine_of, names)
    turns, stays, proved = _best(work, names, demands, devices)
    stage_of = _stage_of(graph, steps, turns)
    stages = []
    for number, stay in enumerate(stays):
        here = [index for index, stage in stage_of.items() if stage == number]
        serving = dict.fromkeys(engine_of[index] for index in here if index in engine_of)
        why = stay.why if proved or number else "a good order, perhaps not the best: there are too many to try them all"
        stages.append(Stage(_ids(graph, here), tuple(serving), stay.placements, stay.loads, stay.rests, why))
    return tuple(stages), stage_of


def _best(
    work: Work, names: Sequence[str], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> tuple[list[Turn], list[Stay], bool]:
    """The order with the fewest loads once everyone has a place, and whether it is known that no other has fewer.

    What the search finds is a bound: it knows which engines fit together, not that one may have to move for it.
    """
    found: list[tuple[int, int, list[Turn], list[Stay]]] = []
    bound = 0
    for turns, proved in orders(work, _Fitting(names, demands, devices), _most(names, demands, devices)):
        residents = [[name for bit, name in enumerate(names) if turn.resident >> bit & 1] for turn in turns]
        stays = house(residents, demands, devices)
        found.append((sum(len(stay.loads) for stay in stays), len(turns), turns, stays))
        bound = loads_of(turns) if proved else bound
        if found[-1][0] == bound:
            break
    loads, _, turns, stays = min(found, key=lambda order: order[:2])
    return turns, stays, loads == bound


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


def _work(graph: Graph, steps: Sequence[int], engine_of: Mapping[int, str], names: Sequence[str]) -> Work:
    bit = {index: 1 << position for position, index in enumerate(steps)}
    number = {name: position for position, name in enumerate(names)}
    sources = _sources(graph)
    above = [0] * len(graph.nodes)
    for node in graph.nodes:
        for source in sources[node.index]:
            above[node.index] |= above[source] | bit.get(source, 0)
    return Work([number.get(engine_of[index], -1) for index in steps], [above[index] for index in steps])


def _sources(graph: Graph) -> list[set[int]]:
    """Per node those whose rows it needs; they all come before it."""
    sources: list[set[int]] = [set() for _ in graph.nodes]
    for node in graph.nodes:
        wanted = {node.parent, *(branch.last for branch in node.branches)}
        sources[node.index] |= {index for index in wanted if 0 <= index < node.index}
        for edge in graph.edges[node.index]:
            if edge.target > node.index:
                sources[edge.target].add(node.index)
    return sources


def _stage_of(graph: Graph, steps: Sequence[int], turns: Sequence[Turn]) -> dict[int, int]:
    """Steps by their turn; every other node runs as soon as all its rows are there."""
    turn_of = {
        index: next(number for number, turn in enumerate(turns) if turn.done >> position & 1)
        for position, index in enumerate(steps)
    }
    sources = _sources(graph)
    stage_of: dict[int, int] = {}
    for node in graph.nodes:
        earliest = max((stage_of[source] for source in sources[node.index]), default=0)
        stage_of[node.index] = turn_of.get(node.index, earliest)
    return stage_of


def _ids(graph: Graph, indexes: Sequence[int]) -> tuple[str, ...]:
    return tuple(graph.nodes[index].id for index in indexes if graph.nodes[index].kind != "branch")
