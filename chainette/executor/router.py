"""The way of rows from node to node, by plain calls on the event loop. Knows no engines, threads or files.

It keeps what a chunk is waiting for, so that nodes close and chunks end; what a node does with rows is its operator's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from chainette.events import NodeCount
from chainette.executor.flow import Flow, Ticket
from chainette.executor.gates import GatherOperator
from chainette.executor.operators import JoinOperator, Operator
from chainette.executor.row_scan import RowScanOperator
from chainette.graph import Graph, Node
from chainette.graph.nodes import HEADS
from chainette.graph.reach import turns_around
from chainette.graph.run_scope import barriers
from chainette.rows import Absent, Failure, InputChunk, Order, Row


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
        waits = ("join", "gather", "branch", "turn", "merge", "take")
        self._working = [node.index for node in graph.nodes if node.kind not in waits]
        self._finals = finals
        self._operators: Sequence[Operator] = ()
        self._joins: dict[int, JoinOperator] = {}
        self._holders: dict[int, JoinOperator | GatherOperator] = {}
        """The nodes at which rows wait for tickets."""
        self._row_scans: dict[int, RowScanOperator] = {}
        self._may_block = False
        """Whether chunks may wait for each other."""
        self._gathers: dict[int, GatherOperator] = {}
        """Node that expands -> where its children are gathered."""
        self._regions = {node.index: _region(graph, node.index) for node in graph.nodes if node.kind in HEADS}
        self._heads = [(*n.loops, n.index) if n.kind in HEADS else n.loops for n in graph.nodes]
        """Per node the heads whose regions it is in, the outermost first."""
        self._barriers = [node.index for node in barriers(graph.nodes)]
        self._splits = [_split_targets(graph, node) for node in graph.nodes]
        self._plain = [[edge.target for edge in edges if edge.join is None] for edges in graph.edges]

    def connect(self, operators: Sequence[Operator]) -> None:
        """One per node, in order. Before the first row."""
        self._operators = operators
        self._joins = {n: operator for n, operator in enumerate(operators) if isinstance(operator, JoinOperator)}
        gathers = {n: operator for n, operator in enumerate(operators) if isinstance(operator, GatherOperator)}
        self._holders = {**self._joins, **gathers}
        self._gathers = {operator.node.gather: operator for operator in gathers.values()}
        self._row_scans = {n: operator for n, operator in enumerate(operators) if isinstance(operator, RowScanOperator)}
        self._may_block = bool(self._barriers or self._row_scans)

    def enter(self, flow: Flow) -> None:
        """Lets the rows of a chunk in."""
        inputs = flow.inputs
        for scan in self._row_scans.values():
            scan.expect(flow.index)
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
        if self._may_rest(flow):
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
        gather = self._gathers.get(index)
        if failures:
            if node.loops:
                failures = _with_turns(rows, failures, len(node.loops))
            flow.failures[index] += failures
            count.failed += len(failures)
            if gather is None:
                _settle_failures(rows, failures)
        if [row.order for row in made] == [row.order for row in rows]:
            count.done += len(rows)
        else:
            dropped = _count_outcomes(count, rows, made, failures)
            if dropped:
                flow.dropped.setdefault(index, []).extend(dropped)
        if gather is not None:
            self._leave_to_gather(flow, gather, rows, made, failures)
            return
        held = rows[0].ticket is not None
        if held:
            for row in made:
                row.ticket.live += 1
        if made:
            self._made(flow, node, made)
        if held:
            for row in rows:
                ticket: Ticket = row.ticket
                self._holders[ticket.state.node].release(flow, ticket)
        self.left(flow, index, len(rows))

    def send(self, flow: Flow, node: Node, parts: Mapping[int, Sequence[Row]], *, count: bool = True) -> None:
        """Rows of a gate or head go on, one for one, each into the node it is sent to."""
        total = 0
        for target, rows in parts.items():
            total += len(rows)
            self._enter(flow, target, rows)
        if count:
            flow.counts[node.index].done += total
            flow.counts[node.index].made += total
        self.left(flow, node.index, total)

    def _made(self, flow: Flow, node: Node, made: Sequence[Row]) -> None:
        if node.kind != "branch":
            flow.rows[node.index] += made
        if node.index == self._graph.last and self._finals is not None:
            self._finals(made)
        self._send_on(flow, node.index, made)

    def left(self, flow: Flow, index: int, rows: int) -> None:
        """So many rows are not in the node any more."""
        flow.open[index] -= rows
        self.close_if_empty(flow, index)
        if self._may_rest(flow):
            self.settle(flow)

    def _leave_to_gather(
        self,
        flow: Flow,
        gather: GatherOperator,
        rows: Sequence[Row],
        made: Sequence[Row],
        failures: Sequence[tuple[Order, Failure]],
    ) -> None:
        """Each of `rows` waits at the gather for what was made of it, unless it failed as a whole."""
        children: dict[int, list[Row]] = {id(row): [] for row in rows}
        for child in made:
            children[id(child.parent)].append(child)
        failed = {order for order, _ in failures}
        whole = [row for row in rows if failed and row.order in failed and not children[id(row)]]
        ended = {id(row) for row in whole}
        waiting = [row for row in rows if id(row) not in ended] if whole else rows
        tickets = gather.hold(flow, waiting, children)
        if failures:
            _settle_failures(whole, failures)
            by_order = {row.order: ticket for row, ticket in zip(waiting, tickets, strict=True)}
            for order, failure in failures:
                if order[:-1] in by_order:
                    by_order[order[:-1]].failed(order, failure)
        if made:
            self._made(flow, self._graph.nodes[gather.node.gather], made)
        childless = [t for row, t in zip(waiting, tickets, strict=True) if not children[id(row)]]
        if childless:
            gather.gather(flow, childless)
        for row in whole:
            if row.ticket is not None:
                self._holders[row.ticket.state.node].release(flow, row.ticket)
        self.left(flow, gather.node.gather, len(rows))

    def came_back(self, flow: Flow) -> None:
        """The chunk is under way again."""
        for scan in self._row_scans.values():
            scan.came_back(flow)

    def deal(self, flow: Flow, node: Node, made: Sequence[Row]) -> None:
        """What a barrier has for the chunk goes on, in the place of all that waited there, which are over."""
        flow.open[node.index] = 1  # until the last of them has been sent on, the chunk is not settled
        self._made(flow, node, made)
        self.left(flow, node.index, 1)

    def _may_rest(self, flow: Flow) -> bool:
        if flow.parked:
            return True
        return self._may_block and (self._is_at_barrier(flow) or self._is_blocked(flow))

    def _is_at_barrier(self, flow: Flow) -> bool:
        return any(index in flow.pending and not flow.sources[index] for index in self._barriers)

    def _is_blocked(self, flow: Flow) -> bool:
        return any(scan.is_blocked(flow) for scan in self._row_scans.values())

    def settle(self, flow: Flow) -> None:
        """Says so when each row of the chunk waits for a later stage, or for rows that do."""
        # At a barrier all else of the chunk must be over; with rows parked, rows may wait for those too.
        everywhere = flow.parked or self._is_blocked(flow)
        waiting = flow.pending if everywhere else {b: flow.pending[b] for b in self._barriers if b in flow.pending}
        for node in self._working:
            scan = self._row_scans.get(node)
            resting = len(waiting.get(node, ())) if scan is None else scan.resting_rows(flow)
            if flow.open[node] > len(flow.parked.get(node, ())) + resting:
                return
        for scan in self._row_scans.values():
            scan.rests(flow)
        self._settled(flow)
        self.settle_blocked()

    def settle_blocked(self) -> None:
        """Chunks that wait for one that rests may rest too."""
        for scan in self._row_scans.values():
            for flow in scan.blocked():
                self.settle(flow)

    def fail(self, flow: Flow, node: Node, row: Row, failure: Failure) -> None:
        """`row` stops at `node`."""
        self.leave(flow, node, [row], [], [(row.order, failure)])

    def drop(self, flow: Flow, node: Node, row: Row) -> None:
        """`row` ends at `node` without a failure."""
        self.leave(flow, node, [row], [])

    def close_if_empty(self, flow: Flow, index: int) -> None:
        """Closes the node if no row is in it and none will come; a head if that holds for all of its region."""
        if flow.open[index]:
            return
        if not flow.sources[index] and index not in self._regions:
            self._close(flow, index)
        for head in self._heads[index]:
            if head in self._row_scans and not any(flow.open[inner] for inner in self._regions[head][1:]):
                self._row_scans[head].body_is_empty(flow)
            if not flow.sources[head] and not any(flow.open[inner] for inner in self._regions[head]):
                self._close(flow, head)

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
            elif target in self._holders:
                self._operators[target].accept(flow, rows)
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
        free = []
        for row in rows:
            failure = kept.get((node.id, row.id))
            if failure is None or failure.turns != turns_around(row, len(node.loops)):
                free.append(row)
            else:
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


def _region(graph: Graph, head: int) -> list[int]:
    """The head and everything in its body."""
    return [head, *(node.index for node in graph.nodes if head in node.loops)]


def _with_turns(
    rows: Sequence[Row], failures: Sequence[tuple[Order, Failure]], depth: int
) -> list[tuple[Order, Failure]]:
    by_order = {row.order: row for row in rows}
    told = []
    for order, failure in failures:
        row = by_order.get(order) or by_order.get(order[:-1])
        turns = failure.turns or turns_around(row, depth)
        told.append((order, dataclasses.replace(failure, turns=turns)))
    return told


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
) -> list[int]:
    """What became of `rows`, one by one: a row dropped and another doubled are as many as went in. Returns the input
    rows of those that were dropped."""
    fertile = {row.parent.order for row in made if row.parent is not None}
    failed = {own for order, _ in failures for own in (order, order[:-1])}
    dropped = []
    for row in rows:
        if row.order in fertile:
            count.done += 1
        elif row.order not in failed:
            dropped.append(row.order[0])
    count.dropped += len(dropped)
    return dropped


def _split_targets(graph: Graph, node: Node) -> list[tuple[int, list[int]]]:
    """Per join whose group begins at `node`: the entries of its branches, in order."""
    groups: dict[int, dict[int, int]] = {}
    for edge in graph.edges[node.index]:
        if edge.join is not None:
            groups.setdefault(edge.join, {})[edge.branch] = edge.target
    return [(join, [entries[position] for position in sorted(entries)]) for join, entries in groups.items()]
