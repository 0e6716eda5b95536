"""The way of rows from node to node, by plain calls on the event loop. Knows no engines, threads or files.

It keeps what a chunk is waiting for, so that nodes close and chunks end; what a node does with rows is its operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainette.events import NodeCount
from chainette.executor.flow import Flow, Ticket
from chainette.executor.operators import JoinOperator, Operator
from chainette.graph import Graph, Node
from chainette.rows import Absent, Failure, InputChunk, Row

Order = tuple[int, ...]


class Router:
    """Takes rows out of nodes and into the next."""

    def __init__(
        self,
        graph: Graph,
        ended: Callable[[Flow], None],
        settled: Callable[[Flow], None],
        finals: Callable[[Sequence[Row]], None] | None,
    ) -> None:
        """`ended` gets each chunk that no row is under way in any more, `settled` those of which no row can move before
        a later stage; `finals` final rows as they are made."""
        self._graph = graph
        self._ended = ended
        self._settled = settled
        self._working = [node.index for node in graph.nodes if node.kind in ("input", "step", "apply")]
        self._finals = finals
        self._operators: Sequence[Operator] = ()
        self._joins: dict[int, JoinOperator] = {}
        self._splits = [_split_targets(graph, node) for node in graph.nodes]
        self._plain = [[edge.target for edge in edges if edge.join is None] for edges in graph.edges]

    def connect(self, operators: Sequence[Operator]) -> None:
        """One per node, in order. Before the first row."""
        self._operators = operators
        self._joins = {n: operator for n, operator in enumerate(operators) if isinstance(operator, JoinOperator)}

    def enter(self, flow: Flow) -> None:
        """Lets the rows of a chunk in."""
        inputs = flow.inputs
        rows, failures = _opened(inputs)
        flow.sources[0] = 0
        flow.failures[0] += failures
        flow.counts[0].failed += len(failures)
        flow.counts[0].entered += len(rows) + len(failures)
        if self._graph.last == 0:
            flow.rows[0] += rows
        flow.open[0] = 1  # until the last of its rows has been sent on, the chunk is not settled
        self._send_on(flow, 0, rows)
        flow.open[0] = 0
        self._close(flow, 0)
        if flow.parked:
            self.settle(flow)

    def leave(
        self,
        flow: Flow,
        node: Node,
        rows: Sequence[Row],
        made: Sequence[Row],
        failures: Sequence[tuple[Order, Failure]] = (),
    ) -> None:
        """`rows` are done at `node`: `made` goes on, in any number, `failures` stop there, the rest was dropped."""
        index = node.index
        count = flow.counts[index]
        count.made += len(made)
        if failures:
            flow.failures[index] += failures
            count.failed += len(failures)
            _settle_failures(rows, failures)
        if [row.order for row in made] == [row.order for row in rows]:
            count.done += len(rows)
        else:
            _count_outcomes(count, rows, made, failures)
        held = rows[0].ticket is not None
        if held:
            for row in made:
                row.ticket.live += 1
        if made:
            if node.kind != "branch":
                flow.rows[index] += made
            if index == self._graph.last and self._finals is not None:
                self._finals(made)
            self._send_on(flow, index, made)
        if held:
            for row in rows:
                ticket: Ticket = row.ticket
                self._joins[ticket.state.node].release(flow, ticket)
        flow.open[index] -= len(rows)
        self.close_if_empty(flow, index)
        if flow.parked:
            self.settle(flow)

    def settle(self, flow: Flow) -> None:
        """Says so when each row of the chunk waits for a later stage, or for rows that do."""
        for node in self._working:
            if flow.open[node] > len(flow.parked.get(node, ())) + len(flow.pending.get(node, ())):
                return
        self._settled(flow)

    def fail(self, flow: Flow, node: Node, row: Row, failure: Failure) -> None:
        """`row` stops at `node`."""
        self.leave(flow, node, [row], [], [(row.order, failure)])

    def drop(self, flow: Flow, node: Node, row: Row) -> None:
        """`row` ends at `node` without a failure."""
        self.leave(flow, node, [row], [])

    def close_if_empty(self, flow: Flow, index: int) -> None:
        if not flow.open[index] and not flow.sources[index]:
            self._close(flow, index)

    def _send_on(self, flow: Flow, index: int, rows: Sequence[Row]) -> None:
        for join, entries in self._splits[index]:
            entering: list[list[Row]] = [[] for _ in entries]
            for row in rows:
                tickets = self._joins[join].split(flow, row)
                for position, ticket in enumerate(tickets):
                    entering[position].append(Row(row.id, row.order, row.value, entries[position], row, ticket))
            for entry, inside in zip(entries, entering, strict=True):
                self._enter(flow, entry, inside)
        for target in self._plain[index]:
            node = self._graph.nodes[target]
            if node.kind == "branch":
                self._enter(flow, target, [Row(r.id, r.order, r.value, target, r) for r in rows])
            elif node.kind == "join":
                self._joins[target].accept(flow, rows)
            else:
                self._enter(flow, target, rows)

    def _enter(self, flow: Flow, target: int, rows: Sequence[Row]) -> None:
        if not rows:
            return
        flow.open[target] += len(rows)
        flow.counts[target].entered += len(rows)
        if flow.inputs.again is not None and flow.inputs.again.kept:
            rows = self._keep_failed(flow, self._graph.nodes[target], rows)
        if rows:
            self._operators[target].accept(flow, rows)

    def _keep_failed(self, flow: Flow, node: Node, rows: Sequence[Row]) -> Sequence[Row]:
        """Failures that nobody asked to heal stay; returns the other rows."""
        assert flow.inputs.again is not None
        kept = flow.inputs.again.kept
        free = [row for row in rows if (node.id, row.id) not in kept]
        for row in rows if len(free) < len(rows) else ():
            failure = kept.get((node.id, row.id))
            if failure is not None:
                self.fail(flow, node, row, failure)
        return free

    def _close(self, flow: Flow, index: int) -> None:
        """No row can enter or leave `index` any more in this chunk."""
        flow.sources[index] = -1
        flow.closed += 1
        is_last = flow.closed == len(self._graph.nodes)
        targets = [edge.target for edge in self._graph.edges[index]] + [join for join, _ in self._splits[index]]
        for target in targets:
            flow.sources[target] -= 1
            if flow.sources[target] == 0:
                self._operators[target].drained(flow)
        if is_last:
            self._ended(flow)


def _opened(inputs: InputChunk) -> tuple[list[Row], list[tuple[Order, Failure]]]:
    rows: list[Row] = []
    failures: list[tuple[Order, Failure]] = []
    for position, (id, value) in enumerate(zip(inputs.ids, inputs.values, strict=True)):
        order = (inputs.first + position,)
        if isinstance(value, Failure):
            failures.append((order, value))
        elif value is not Absent:
            rows.append(Row(id, order, value, 0, None))
    return rows, failures


def _settle_failures(rows: Sequence[Row], failures: Sequence[tuple[Order, Failure]]) -> None:
    """Tells the ticket of each failed row, so that its join knows why there is nothing."""
    by_order = {row.order: row for row in rows}
    for order, failure in failures:
        row = by_order.get(order) or by_order.get(order[:-1])
        if row is not None and row.ticket is not None:
            row.ticket.failed(order, failure)


def _count_outcomes(
    count: NodeCount, rows: Sequence[Row], made: Sequence[Row], failures: Sequence[tuple[Order, Failure]]
) -> None:
    """What became of `rows`, one by one: a row dropped and another doubled are as many as went in."""
    fertile = {row.parent.order for row in made if row.parent is not None}
    failed = {own for order, _ in failures for own in (order, order[:-1])}
    for row in rows:
        if row.order in fertile:
            count.done += 1
        elif row.order not in failed:
            count.dropped += 1


def _split_targets(graph: Graph, node: Node) -> list[tuple[int, list[int]]]:
    """Per join whose group begins at `node`: the entries of its branches, in order."""
    groups: dict[int, dict[int, int]] = {}
    for edge in graph.edges[node.index]:
        if edge.join is not None:
            groups.setdefault(edge.join, {})[edge.branch] = edge.target
    return [(join, [entries[position] for position in sorted(entries)]) for join, entries in groups.items()]
