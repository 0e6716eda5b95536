"""Where the functions of one node run, and what they may ask about it. Knows rows, not what calls the functions."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chainette.chain import Chain
from chainette.chain.context import Context, Reach, Unreachable
from chainette.errors import nearest
from chainette.executor.flow import Flow
from chainette.executor.own_copy import OwnCopy
from chainette.graph import INPUT_ID, Graph, Node
from chainette.graph.nodes import HEADS, Reference
from chainette.graph.reach import getter, turns_around
from chainette.graph.reach import turns_of as turns_made
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

Limits = tuple[tuple[int, float], ...]
"""Position of a chain in the graph, and its `deadline_s`."""

_SEVERAL = "for a function that gets several rows; one that gets a row can ask"
_SAFE = (str, bytes, int, float, bool, type(None))


def limits_of(graph: Graph, node: Node) -> Limits:
    """The chains around the node that limit a row's time."""
    chains = _chains(graph, node)
    return tuple((number, chain.deadline_s) for number, chain in chains if chain.deadline_s is not None)


class Whereabouts:
    """What there is to know at one node."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self.graph = executor.graph
        self.run_id = executor.folder.run_id
        self.limits = limits_of(executor.graph, node)
        own = node.decl.metadata if node.decl is not None else {}
        layers = [*(chain.metadata for _, chain in _chains(executor.graph, node)), own]
        self._params = _own_mapping(executor.params)
        self._metadata = _own_mapping({name: value for layer in layers for name, value in layer.items()})
        self.takes_several = node.kind == "apply" and node.apply.shape.takes == "list"
        self.copy = OwnCopy()
        self._getters: dict[str, Callable[[Row], Any]] = {}

    def here(self, flow: Flow | None, rows: Sequence[Row], attempt: int = 1) -> Here:
        """For `chainette.chain.context.current`. `rows` may be set anew when the function goes on to other rows."""
        return Here(self, flow, rows, attempt)

    @property
    def params(self) -> Mapping[str, Any]:
        return self._params()

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._metadata()

    def turns(self, row: Row) -> tuple[int, ...]:
        """In which turn of each loop around the node the row is, the outermost first; empty outside of loops. At the
        head of a loop also the turn that the row has just made, 0 before the first."""
        around = turns_around(row, len(self.node.loops)) if self.node.loops else ()
        if self.node.kind not in HEADS:
            return around
        return (*around, turns_made(self.graph, row, self.node.ways[0].entry)[-1])

    def turn(self, row: Row) -> int | tuple[int, ...] | None:
        """As `Context.turn` tells it."""
        turns = self.turns(row)
        return (turns[0] if len(turns) == 1 else turns) or None

    def getter(self, name: str) -> Callable[[Row], Any]:
        """From a row to what `name` stands for.

        Raises:
            KeyError: nothing of that name is in reach; says what is.
        """
        found = self._getters.get(name)
        if found is None:
            visible, hidden = self.node.visible, self.node.hidden
            if name not in visible:
                hint = hidden.get(name) or nearest(name, list(visible)) or "nothing is before it"
                raise KeyError(f'no "{name}" in reach of "{self.node.id}" ({hint})')
            found = self._getters[name] = getter(self.graph, visible[name])
        return found

    def chain_input(self, row: Row) -> Any:
        """The row as it came in."""
        found = self._getters.get("")
        if found is None:
            type_ = self.graph.nodes[0].output_type
            found = self._getters[""] = getter(self.graph, Reference("value", type_, 0, source=INPUT_ID))
        return found(row)


class Here:
    """Where a thread or task is. One per call or slice, never per row."""

    __slots__ = ("_at", "_flow", "attempt", "rows", "until")

    def __init__(self, at: Whereabouts, flow: Flow | None, rows: Sequence[Row], attempt: int) -> None:
        self._at = at
        self._flow = flow
        self.rows = rows
        self.attempt = attempt
        self.until: float | None = None
        """When the call's own time is over, on the monotonic clock."""

    def context(self) -> Context:
        at, rows = self._at, tuple(self.rows)
        return Context(
            at.run_id,
            at.node.id,
            tuple([row.id for row in rows]),
            self.attempt,
            self.deadline(),
            at.params,
            at.metadata,
            at.turn(rows[0]) if rows else None,
            Unreachable(_SEVERAL) if at.takes_several or len(rows) != 1 else _RowReach(at, rows[0]),
        )

    def deadline(self) -> float | None:
        """In unix time."""
        limits = [] if self.until is None else [self.until]
        if self._at.limits and self._flow is not None:
            limits += [self._flow.deadline(row, self._at.limits) for row in self.rows]
        return time.time() + min(limits) - time.monotonic() if limits else None


class _RowReach(Reach):
    """The past of one row."""

    __slots__ = ("_at", "_row")

    def __init__(self, at: Whereabouts, row: Row) -> None:
        self._at = at
        self._row = row

    def chain_input(self) -> Any:
        return self._at.copy(self._at.chain_input(self._row))

    def steps(self) -> Mapping[str, Any]:
        return _Steps(self._at, self._row)


class _Steps(Mapping[str, Any]):
    def __init__(self, at: Whereabouts, row: Row) -> None:
        self._at = at
        self._row = row

    def __getitem__(self, name: str) -> Any:
        return self._at.copy(self._at.getter(name)(self._row))

    def __contains__(self, name: object) -> bool:
        return name in self._at.node.visible

    def __iter__(self) -> Iterator[str]:
        return iter(self._at.node.visible)

    def __len__(self) -> int:
        return len(self._at.node.visible)


def _chains(graph: Graph, node: Node) -> list[tuple[int, Chain]]:
    return [(number, graph.chains[number]) for number in node.chains] or [(0, graph.chain)]


def _own_mapping(given: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
    """A function that gives a mapping nobody can change for others."""
    kept = dict(given)
    shown = MappingProxyType(kept)
    if all(isinstance(value, _SAFE) for value in kept.values()):
        return lambda: shown
    return lambda: MappingProxyType(copy.deepcopy(kept))
