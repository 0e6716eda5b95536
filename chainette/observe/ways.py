"""Which step can wait for which: the graph as far as figures need it. Knows `graph.json`, no file and no row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Ways:
    """Nodes, what they are, who serves them and how rows go between them."""

    kinds: Mapping[str, str]
    """By node what it is: `step`, `apply`, `join`, …; in order."""
    engine_of: Mapping[str, str]
    """By step its engine."""
    edges: tuple[tuple[str, str], ...]
    loops: Mapping[str, tuple[str, ...]]
    """By node the loops in whose bodies it lies, the outermost first."""
    inside: Mapping[str, frozenset[str]]
    """By control flow all nodes in its ways."""

    @classmethod
    def of(cls, graph: Mapping[str, Any]) -> Ways:
        """From what `graph.json` holds; what an older version did not write is not there."""
        nodes = [node for node in _listed(graph.get("nodes")) if isinstance(node, dict) and "id" in node]
        order = [node for node in _listed(graph.get("execution_order")) if isinstance(node, dict) and "id" in node]
        kinds = {str(node["id"]): str(node.get("type", "")) for node in order or nodes}
        edges = [tuple(map(str, edge)) for edge in _listed(graph.get("edges")) if _is_edge(edge)]
        return cls(
            kinds,
            {str(node["id"]): str(node["engine"]) for node in nodes if node.get("engine")},
            tuple((start, end) for start, end in edges),
            {str(node["id"]): tuple(map(str, _listed(node.get("loops")))) for node in nodes},
            {str(node["id"]): frozenset(_inside(node)) for node in nodes if node.get("ways")},
        )

    @cached_property
    def steps(self) -> frozenset[str]:
        return frozenset(id for id, kind in self.kinds.items() if kind == "step")

    @cached_property
    def engines(self) -> dict[str, tuple[str, ...]]:
        """By engine its steps, in order."""
        found: dict[str, list[str]] = {}
        for id in self.kinds:
            if id in self.engine_of:
                found.setdefault(self.engine_of[id], []).append(id)
        return {name: tuple(ids) for name, ids in found.items()}

    @cached_property
    def before(self) -> dict[str, frozenset[str]]:
        """By node all whose rows may become its rows; in a loop those of the turn before too, itself included."""
        above: dict[str, set[str]] = {id: set() for id in self.kinds}
        for start, end in self.edges:
            if end in above and start in above:
                above[end].add(start)
                inner = self.inside.get(start, frozenset())
                if end not in inner:  # out of control flow comes what came out of its ways
                    above[end] |= inner & above.keys()
        for id, loops in self.loops.items():
            if loops and id in above:
                above[id] |= {other for other, theirs in self.loops.items() if loops[0] in theirs and other in above}
        changed = True
        while changed:
            changed = False
            for reached in above.values():
                more = set().union(*(above[id] for id in reached)) - reached
                reached |= more
                changed = changed or bool(more)
        return {id: frozenset(reached) for id, reached in above.items()}

    def before_engine(self, engine: str) -> frozenset[str]:
        """All nodes whose rows may become calls of the engine, its own steps among them where one feeds another."""
        return frozenset().union(*(self.before.get(id, frozenset()) for id in self.engines.get(engine, ())))

    def between(self, start: str, end: str) -> list[str]:
        """The functions and delays on the ways from one node to another."""
        inside = {id for id in self.before.get(end, ()) if start in self.before.get(id, ())}
        return [id for id, kind in self.kinds.items() if id in inside and kind in ("apply", "delay")]


def _inside(node: Mapping[str, Any]) -> Iterator[str]:
    for way in _listed(node.get("ways")):
        yield from map(str, _listed(way.get("nodes")) if isinstance(way, dict) else ())


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else []


def _is_edge(edge: Any) -> bool:
    return isinstance(edge, list) and len(edge) == 2
