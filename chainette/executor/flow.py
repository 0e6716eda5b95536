"""A chunk under way, and the tickets its rows hold. Decides nothing: operators do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainette.events import NodeCount
from chainette.graph import Graph
from chainette.rows import Failure, InputChunk, JoinedRow, Row

if TYPE_CHECKING:
    from chainette.executor.step import Asking


class Flow:
    """One chunk: per node what is open, what came out and what failed."""

    __slots__ = (
        "begun",
        "closed",
        "counts",
        "dropped",
        "drops",
        "failures",
        "index",
        "inputs",
        "open",
        "origins",
        "parked",
        "pending",
        "rows",
        "settled_s",
        "sources",
    )

    def __init__(self, graph: Graph, inputs: InputChunk) -> None:
        count = len(graph.nodes)
        self.index = inputs.index
        self.inputs = inputs
        self.open = [0] * count
        """Rows that entered a node and have not left it."""
        self.sources = [0] * count
        """Edges into a node along which rows may still come."""
        for edges in graph.edges:
            for edge in edges:
                self.sources[edge.target] += 1
        for node in graph.nodes:
            if node.kind == "join":
                self.sources[node.index] += 1  # the main line, which has no edge of its own to the join
        self.rows: list[list[Row]] = [[] for _ in range(count)]
        """What came out of each node, in the order it came."""
        self.pending: dict[int, list[Row]] = {}
        """Rows that wait at a node for the rest of their chunk."""
        self.parked: dict[int, list[Parked]] = {}
        """Rows that wait at a step for its stage; never an empty list."""
        self.settled_s = 0.0
        """When the last of its rows could go no further in the stage that was, on the monotonic clock."""
        self.failures: list[list[tuple[tuple[int, ...], Failure]]] = [[] for _ in range(count)]
        self.begun: dict[tuple[int, int], float] = {}
        """(Chain, input position) -> when its first node there took it, on the monotonic clock."""
        self.counts = [NodeCount() for _ in range(count)]
        """What became of the chunk's rows at each node, so far."""
        self.origins: dict[int, int] = {}
        """Of rows that a function over the whole run gave this chunk: `order[0]` -> the input row's position, or -1."""
        self.drops: dict[int, list[tuple[tuple[int, ...], str]]] = {}
        """Per node the rows that were dropped with a word why."""
        self.dropped: dict[int, list[int]] = {}
        """Per node, of each row that was dropped, its input row: `order[0]`."""
        self.closed = 0
        """Nodes that no row can enter or leave any more."""

    def deadline(self, row: Row, limits: Sequence[tuple[int, float]]) -> float:
        """When the time of the input row behind `row` is over, on the monotonic clock: the smallest of `limits`, each a
        chain's position and its `deadline_s`. A chain's time begins at the row's first call in it."""
        position = row.order[0]
        if len(limits) == 1:
            (chain, deadline_s), *_ = limits
            return self.begun.setdefault((chain, position), time.monotonic()) + deadline_s
        now = time.monotonic()
        return min(self.begun.setdefault((chain, position), now) + limit_s for chain, limit_s in limits)

    def park(self, node: int, row: Row, asking: Asking | None) -> None:
        """The row waits at its step for a later stage; `asking` is how far it came without a call."""
        self.parked.setdefault(node, []).append(Parked(row, asking, time.monotonic()))

    def set_clocks(self) -> None:
        """Takes the time that input rows spent parked out of their own; called when the chunk is brought back."""
        now = time.monotonic()
        last: dict[int, float] = {}
        for waiting in self.parked.values():
            for parked in waiting if self.begun else ():
                position = parked.row.order[0]
                last[position] = max(last.get(position, 0.0), parked.since_s)
                parked.since_s = now  # it may have to wait for another stage
        for clock in self.begun:
            self.begun[clock] += now - last.get(clock[1], self.settled_s)


class Parked:
    """A row that waits for the stage of its step."""

    __slots__ = ("asking", "row", "since_s")

    def __init__(self, row: Row, asking: Asking | None, since_s: float) -> None:
        self.row = row
        self.asking = asking
        self.since_s = since_s


class JoinState:
    """A row that waits at a join for its branches."""

    __slots__ = ("main", "node", "tickets", "waiting")

    def __init__(self, main: Row, node: int, branches: int) -> None:
        self.main = main
        self.node = node
        self.waiting = branches
        self.tickets: Sequence[Ticket] = [Ticket(self, position) for position in range(branches)]


class Ticket:
    """A row's counted hold on one branch: closed when no descendant of the row is left in it."""

    __slots__ = ("arrived", "failure", "failure_order", "live", "position", "state")

    def __init__(self, state: JoinState, position: int) -> None:
        self.state = state
        self.position = position
        self.live = 1
        self.arrived: list[Row] = []
        self.failure: Failure | None = None
        self.failure_order: tuple[tuple[int, ...], str] = ((), "")

    def failed(self, order: tuple[int, ...], failure: Failure) -> None:
        """Keeps the first failure in row order, so that which came first in time does not matter."""
        key = (order, failure.node_id)
        if self.failure is None or key < self.failure_order:
            self.failure, self.failure_order = failure, key


def joined_row(state: JoinState, node: int) -> JoinedRow:
    """The main line's row at the join, still without aliases."""
    main = state.main
    row = JoinedRow(main.id, main.order, main.value, node, main, main.ticket)
    row.aliases = {}
    return row
