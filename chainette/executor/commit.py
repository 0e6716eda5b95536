"""A finished flow to what the run folder takes: rows in input order, and which of them make up each final row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from chainette.events import NodeCount, RunCount
from chainette.executor.flow import Flow
from chainette.executor.run_scope_columns import with_dealt
from chainette.executor.turns import kept_turns, turns_column
from chainette.graph import INPUT_ID, Graph, Node
from chainette.graph.nodes import GATES, Edge
from chainette.graph.reach import find, turns_around
from chainette.graph.run_scope import is_barrier
from chainette.rows import Failure, NodeChunk, Order, Row

_BY_ORDER = attrgetter("order")


@dataclass(slots=True)
class Committed:
    """What one chunk leaves behind."""

    nodes: list[NodeChunk]
    final: list[Row]
    flat: dict[str, Sequence[int]]
    """Column -> per final row the position among the node's values, -1 for none."""
    count: RunCount
    failing: RunCount | None
    """What of `count` its failed rows add, None without any; costs (tokens, seconds) are not told apart."""


def gather(graph: Graph, flow: Flow, columns: Sequence[Node]) -> Committed:
    """Sorts what every node made of the chunk and ties it to the final rows. `columns` are the nodes to flatten."""
    ordered = [_sorted(rows) for rows in flow.rows]
    chunks = []
    for node in graph.nodes:
        if node.loops:
            ordered[node.index] = kept_turns(graph, node, ordered[node.index])
    for node in graph.nodes:
        failures = _failures(flow, node.index)
        makes = node.kind in ("step", "apply") or node.result
        if makes or failures:
            kept = ordered[node.rows_at] if makes else []
            turns = turns_column(kept, len(node.loops)) if node.loops else None
            chunk = NodeChunk(node.id, [row.id for row in kept], [row.value for row in kept], failures, turns)
            chunks.append(chunk)
    final = ordered[graph.last]
    flat = _flatten(graph, flow, ordered, final, columns)
    if any(map(is_barrier, graph.nodes)):
        flat = with_dealt(graph, flat, chunks, final, columns)
    failed = {order[0] for found in flow.failures for order, _ in found}
    reached = {row.order[0] for row in final}
    present = len(flow.inputs.present)
    dropped = present - len(failed | reached)
    nodes = {node.id: flow.counts[node.index] for node in graph.shown}
    count = RunCount(present, len(final), len(failed), dropped, nodes)
    failing = _failing(graph, flow, failed, final) if failed else None
    if failing is not None:
        _count_drops(graph, flow, failed, failing)
    return Committed(chunks, final, flat, count, failing)


def _count_drops(graph: Graph, flow: Flow, failed: set[int], failing: RunCount) -> None:
    """Why rows of failed input rows were dropped."""
    for index, drops in flow.drops.items():
        failing.nodes[graph.nodes[index].id].count_drops(why for order, why in drops if order[0] in failed)


def _failing(graph: Graph, flow: Flow, failed: set[int], final: Sequence[Row]) -> RunCount:
    """The rows of failed input rows, counted node by node; a retry takes them out before it adds theirs again."""
    if any(node.kind not in _STRAIGHT for node in graph.nodes):
        return _failing_by_outcome(graph, flow, failed, final)
    made: list[list[Row]] = [[row for row in rows if row.order[0] in failed] for rows in flow.rows]
    opened = len(failed) - len(flow.failures[0])
    came_out = [opened if node.kind == "input" else len(made[node.index]) for node in graph.nodes]
    entered = [0] * len(graph.nodes)
    for node in graph.nodes[1:]:  # parents come first
        sources = [n for n, edges in enumerate(graph.edges) for edge in edges if edge.target == node.index]
        entered[node.index] = sum(came_out[n] for n in ([node.parent] if node.kind == "join" else sources))
        if node.kind == "branch":
            came_out[node.index] = entered[node.index]
    total = RunCount(len(failed), sum(row.order[0] in failed for row in final), len(failed))
    for node in graph.shown:
        index = node.index
        fertile = {row.parent.order for row in made[index] if row.parent is not None}
        samples = node.kind == "step" and node.step.samples > 1
        # A row of which no prompt can be made stops itself; otherwise each of a step's samples stops alone.
        stopped = {order[:-1] if samples and f.kind != "prompt" else order for order, f in flow.failures[index]}
        total.nodes[node.id] = NodeCount(
            entered=entered[index],
            done=len(fertile),
            made=len(made[index]),
            failed=len(flow.failures[index]),
            dropped=entered[index] - len(fertile | stopped),
        )
    return total


_STRAIGHT = ("input", "step", "apply", "branch", "join")


def _failing_by_outcome(graph: Graph, flow: Flow, failed: set[int], final: Sequence[Row]) -> RunCount:
    """The same where rows take different ways: what entered a node is what it made something of, what failed, and what
    it dropped."""
    total = RunCount(len(failed), sum(row.order[0] in failed for row in final), len(failed))
    for node in graph.shown:
        stopped = len(flow.failures[node.index])
        made = [row for row in flow.rows[node.rows_at] if row.order[0] in failed]
        if node.out >= 0:
            entered = sum(row.order[0] in failed for row in flow.rows[node.index])
            done = entered - stopped if node.kind in GATES else len(made)
            count = NodeCount(entered=entered, done=done, made=done, failed=stopped)
        else:
            count = NodeCount(made=len(made), failed=stopped)
            fertile, ended = _fertile(node, made), _ended(node, flow.failures[node.index])
            count.entered, count.done = len(fertile | ended), len(fertile)
        count.dropped = sum(position in failed for position in flow.dropped.get(node.index, ()))
        count.entered += count.dropped if node.out < 0 else 0
        total.nodes[node.id] = count
    return total


def _fertile(node: Node, made: Sequence[Row]) -> set[object]:
    """The rows of which the node made something, by order and turns."""
    depth = len(node.loops)
    sources = made if node.kind == "delay" else [row.parent for row in made if row.parent is not None]
    return {(row.order, turns_around(row, depth)) for row in sources}


def _ended(node: Node, failures: Sequence[tuple[tuple[int, ...], Failure]]) -> set[object]:
    """The rows that failed there, by order and turns; of one with samples each may fail alone."""
    samples = node.kind == "step" and node.step.samples > 1
    return {(order[:-1] if samples and f.kind != "prompt" else order, f.turns) for order, f in failures}


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=_BY_ORDER)


def _failures(flow: Flow, node: int) -> list[Failure]:
    """In input order, and then by turn: a row may fail in one turn of an un-joined branch and go on to the next."""
    found = flow.failures[node]
    return [failure for _, failure in sorted(found, key=_by_order_and_turns)] if found else []


def _by_order_and_turns(found: tuple[Order, Failure]) -> tuple[Order, Order]:
    return found[0], found[1].turns


def _flatten(
    graph: Graph, flow: Flow, ordered: list[list[Row]], final: list[Row], columns: Sequence[Node]
) -> dict[str, Sequence[int]]:
    first = flow.inputs.first
    flat: dict[str, Sequence[int]] = {INPUT_ID: [row.order[0] - first for row in final]}
    orders = [row.order for row in final]
    line = _main_line(graph)
    for node in columns:
        rows = ordered[node.rows_at]
        if node.index in line and not node.loops and len(rows) == len(orders) and [row.order for row in rows] == orders:
            flat[node.id] = range(len(orders))
        else:
            flat[node.id] = _positions(graph, node, rows, final)
    return flat


def _main_line(graph: Graph) -> set[int]:
    """The nodes every final row has come through."""
    line, index = set(), graph.last
    while index >= 0:
        line.add(index)
        index = graph.nodes[index].parent
    return line


def _positions(graph: Graph, node: Node, rows: list[Row], final: list[Row]) -> list[int]:
    by_row = {id(row): position for position, row in enumerate(rows)}
    by_order = {row.order: position for position, row in enumerate(rows)}
    sink = sink_split(graph, node)
    positions = []
    for row in final:
        found = find(graph, row, node.rows_at)
        if found is not None:
            positions.append(by_row.get(id(found), -1))
            continue
        split = find(graph, row, sink) if sink is not None else None
        positions.append(-1 if split is None else by_order.get(split.order, -1))
    return positions


def sink_split(graph: Graph, node: Node) -> int | None:
    """The node whose rows went into the un-joined branch that `node` is in; None on the way to the end."""
    while node.kind != "input":
        if node.kind == "branch" and graph.nodes[node.parent].main:
            return None if any(edge.join is not None for edge in _entering(graph, node)) else node.parent
        node = graph.nodes[node.parent]
    return None


def _entering(graph: Graph, node: Node) -> list[Edge]:
    return [edge for edge in graph.edges[node.parent] if edge.target == node.index]
