"""The executor: rows go from node to node by plain calls; only engines, threads and files are waited for.

See docs/design/001 for the objects and their lifetimes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import anyio
import anyio.abc

from chainette.engine.protocol import Engine
from chainette.errors import InputError
from chainette.events import ChunkCommitted, EngineCount, Listener, NodeCount, Progressed
from chainette.executor.apply import ApplyOperator
from chainette.executor.commit import Committed, gather
from chainette.executor.feed import Feed
from chainette.executor.flow import Flow, Ticket
from chainette.executor.lane import Lane
from chainette.executor.operators import BranchOperator, JoinOperator, Operator
from chainette.executor.step import StepOperator
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node
from chainette.plan import Plan
from chainette.prompts import CompiledPrompt
from chainette.rows import Failure, InputChunk, Row

_TICK_S = 0.25
_SYNC_S = 1.0


class Engines(Protocol):
    """Where live engines come from."""

    def acquire(self, name: str) -> AbstractAsyncContextManager[Engine]: ...


@dataclass(frozen=True)
class ExecutorOptions:
    chunk_rows: int = 512
    open_rows: int = 16_384
    """Input rows that may be under way or waiting to be committed."""
    max_failed: float | None = None
    """Failed input rows at which the run stops; None: never."""
    max_failed_share: float | None = None
    """The same as a share of all rows, judged when the number of rows is known or the run ends."""
    rows_total: int | None = None
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass
class Outcome:
    """How far the executor got."""

    rows_read: int = 0
    rows_done: int = 0
    rows_failed: int = 0
    rows_dropped: int = 0
    rows_out: int = 0
    stopped: str = ""
    """Why it ended before the last row; empty when it did not."""
    error: InputError | None = None
    causes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(node id, kind, message) -> how often."""


class Executor:
    """One run of one plan. Used once."""

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        prompts: Mapping[int, CompiledPrompt],
        folder: RunFolder,
        engines: Engines,
        options: ExecutorOptions,
        listener: Listener | None = None,
        results: Callable[[int, Sequence[Row]], Any] | None = None,
        finals: Callable[[Sequence[Row]], None] | None = None,
        sync: Callable[[Progressed], None] | None = None,
    ) -> None:
        """`results` gets (chunk, final rows in input order) when a chunk is committed and may be awaitable;
        `finals` gets final rows as they are made; `sync` is called once a second in a thread."""
        self.graph = graph
        self.folder = folder
        self.params = options.params
        self.outcome = Outcome()
        self.counts = [NodeCount() for _ in graph.nodes]
        self.tasks: anyio.abc.TaskGroup
        self.stopping = False
        self._plan = plan
        self._engines = engines
        self._options = options
        self._listener = listener
        self._results = results
        self._finals = finals
        self._sync = sync
        self.observed: dict[str, set[type]] = {}
        """Types that came out of applies without annotations."""
        self._started_s = time.monotonic()
        self._engine_counts = {name: EngineCount() for name in plan.engines}
        self._lanes = self._make_lanes()
        self._operators = [self._operator(node, prompts) for node in graph.nodes]
        self._joins = {n: op for n, op in enumerate(self._operators) if isinstance(op, JoinOperator)}
        self._splits = [self._split_targets(node) for node in graph.nodes]
        self._plain = [[e.target for e in graph.edges[n.index] if e.join is None] for n in graph.nodes]
        self._undeclared = {n.id for n in graph.nodes if n.kind == "apply" and not n.apply.shape.declared}
        self._columns = [node for node in graph.nodes if node.written]
        self._feed = Feed(self, options, list(self._lanes.values()))
        self._finished: dict[int, Flow] = {}
        self._next_commit = 0
        self._commit_event = anyio.Event()
        self._flows_started = 0
        self._all_fed = False
        self._starting: set[anyio.CancelScope] = set()

    async def run(self, chunks: Iterator[InputChunk]) -> Outcome:
        """Takes every chunk through the graph. Returns when all is committed, or when it was told to stop and what was
        in flight is."""
        async with anyio.create_task_group() as background:
            background.start_soon(self._tick)
            async with anyio.create_task_group() as self.tasks:
                for name, lane in self._lanes.items():
                    self.tasks.start_soon(self._serve_lane, name, lane)
                self.tasks.start_soon(self._commit)
                self.tasks.start_soon(self._feed_chunks, chunks)
            background.cancel_scope.cancel()
        self._say_progress()
        return self.outcome

    def stop(self, why: str) -> None:
        """No new chunks, rows or calls; what is in flight finishes and is committed where its chunk is whole."""
        if not self.stopping:
            self.stopping = True
            self.outcome.stopped = why
            self._close_lanes()
            for scope in self._starting:
                scope.cancel()
            self._feed.wake()
            self._commit_event.set()

    def statistics(self) -> Progressed:
        """A snapshot of the counters."""
        engines = {}
        for name, lane in self._lanes.items():
            count = self._engine_counts[name]
            served = [self.counts[i] for i, engine in self._plan.engine_of.items() if engine == name]
            count.window, count.running, count.waiting = lane.window, lane.running, lane.waiting
            count.prompt_tokens = sum(c.prompt_tokens for c in served)
            count.completion_tokens = sum(c.completion_tokens for c in served)
            count.busy_s = sum(c.seconds for c in served)
            engines[name] = count
        nodes = {n.id: self.counts[n.index] for n in self.graph.nodes if n.decl is not None or n.kind == "join"}
        elapsed = time.monotonic() - self._started_s
        return Progressed(self.outcome.rows_read, self.outcome.rows_done, elapsed, nodes, engines)

    def leave(
        self,
        flow: Flow,
        node: Node,
        rows: Sequence[Row],
        made: Sequence[Row],
        failures: Sequence[tuple[tuple[int, ...], Failure]] = (),
    ) -> None:
        """`rows` are done at `node`: `made` goes on, in any number, `failures` stop there, the rest was dropped."""
        index = node.index
        count = self.counts[index]
        count.made += len(made)
        if failures:
            flow.failures[index] += failures
            count.failed += len(failures)
            self._settle_failures(rows, failures)
        if len(made) != len(rows) or failures:
            count.dropped += self._settle_dropped(node, rows, made, failures)
        else:
            count.done += len(rows)
        held = rows[0].ticket is not None
        if held:
            for row in made:
                row.ticket.live += 1
        if made:
            if node.decl is not None or index == self.graph.last:
                flow.rows[index] += made
            if index == self.graph.last and self._finals is not None:
                self._finals(made)
            self._send_on(flow, index, made)
        if held:
            for row in rows:
                ticket: Ticket = row.ticket
                self._joins[ticket.state.node].release(flow, ticket)
        flow.open[index] -= len(rows)
        if not flow.open[index] and not flow.sources[index]:
            self._close(flow, index)

    def fail(self, flow: Flow, node: Node, row: Row, failure: Failure) -> None:
        """`row` stops at `node`."""
        self.leave(flow, node, [row], [], [(row.order, failure)])

    def drop(self, flow: Flow, node: Node, row: Row) -> None:
        """`row` ends at `node` without a failure."""
        self.leave(flow, node, [row], [])

    def close_if_empty(self, flow: Flow, index: int) -> None:
        if not flow.open[index] and not flow.sources[index]:
            self._close(flow, index)

    def start_flow(self, inputs: InputChunk) -> None:
        """Lets a chunk in."""
        flow = Flow(self.graph, inputs)
        self._flows_started += 1
        first = inputs.first
        rows, failures = [], []
        for position, (id, value) in enumerate(zip(inputs.ids, inputs.values, strict=True)):
            order = (first + position,)
            if isinstance(value, Failure):
                failures.append((order, value))
            else:
                rows.append(Row(id, order, value, 0, None))
        self.outcome.rows_read += len(inputs.ids)
        flow.open[0] = len(inputs.ids)
        flow.sources[0] = 0
        flow.failures[0] += failures
        self.counts[0].failed += len(failures)
        self.counts[0].entered += len(inputs.ids)
        if self.graph.last == 0:
            flow.rows[0] += rows
        self._send_on(flow, 0, rows)
        flow.open[0] = 0
        self._close(flow, 0)

    def _settle_failures(self, rows: Sequence[Row], failures: Sequence[tuple[tuple[int, ...], Failure]]) -> None:
        """Tells the ticket of each failed row, so that its join knows why there is nothing."""
        by_order = {row.order: row for row in rows}
        for order, failure in failures:
            row = by_order.get(order) or by_order.get(order[:-1])
            if row is not None and row.ticket is not None:
                row.ticket.failed(order, failure)

    def _settle_dropped(
        self,
        node: Node,
        rows: Sequence[Row],
        made: Sequence[Row],
        failures: Sequence[tuple[tuple[int, ...], Failure]],
    ) -> int:
        """Counts what became of `rows`; returns how many were dropped."""
        fertile = {row.parent.order if row.parent is not None else row.order for row in made}
        depth = len(rows[0].order)
        failed = {order[:depth] for order, _ in failures}
        done = sum(1 for row in rows if row.order in fertile)
        self.counts[node.index].done += done
        return sum(1 for row in rows if row.order not in fertile and row.order not in failed)

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
            node = self.graph.nodes[target]
            if node.kind == "branch":
                self._enter(flow, target, [Row(r.id, r.order, r.value, target, r) for r in rows])
            elif node.kind == "join":
                self._joins[target].accept(flow, rows)
            else:
                self._enter(flow, target, rows)

    def _enter(self, flow: Flow, target: int, rows: Sequence[Row]) -> None:
        if rows:
            flow.open[target] += len(rows)
            self.counts[target].entered += len(rows)
            self._operators[target].accept(flow, rows)

    def _close(self, flow: Flow, index: int) -> None:
        """No row can enter or leave `index` any more in this chunk."""
        flow.sources[index] = -1
        flow.closed += 1
        targets = [edge.target for edge in self.graph.edges[index]] + [join for join, _ in self._splits[index]]
        for target in targets:
            flow.sources[target] -= 1
            if flow.sources[target] == 0:
                self._operators[target].drained(flow)
        if flow.closed == len(self.graph.nodes):
            self._finished[flow.index] = flow
            self._commit_event.set()

    def _split_targets(self, node: Node) -> list[tuple[int, list[int]]]:
        """Per join whose group begins at `node`: the entries of its branches, in order."""
        groups: dict[int, dict[int, int]] = {}
        for edge in self.graph.edges[node.index]:
            if edge.join is not None:
                groups.setdefault(edge.join, {})[edge.branch] = edge.target
        return [(join, [entries[i] for i in sorted(entries)]) for join, entries in groups.items()]

    def _make_lanes(self) -> dict[str, Lane]:
        lanes = {}
        for name in self._plan.engines:
            served = [self.graph.nodes[i] for i, engine in self._plan.engine_of.items() if engine == name]
            lanes[name] = Lane(name, [(node.index, node.step.priority, node.depth) for node in served])
        return lanes

    def _operator(self, node: Node, prompts: Mapping[int, CompiledPrompt]) -> Operator:
        if node.kind == "step":
            lane = self._lanes[self._plan.engine_of[node.index]]
            return StepOperator(node, self, prompts[node.index], lane)
        if node.kind == "apply":
            return ApplyOperator(node, self)
        return JoinOperator(node, self) if node.kind == "join" else BranchOperator(node, self)

    async def _feed_chunks(self, chunks: Iterator[InputChunk]) -> None:
        try:
            await self._feed.run(chunks)
        except InputError as error:  # what was read before the bad line is finished first
            self.outcome.error = error
            self.stop(str(error))
        self._all_fed = True
        self._commit_event.set()

    async def _serve_lane(self, name: str, lane: Lane) -> None:
        if self._plan.engines[name].lazy:
            await lane.more()
            if lane.closed:
                return
        async with AsyncExitStack() as stack:
            with anyio.CancelScope() as starting:
                self._starting.add(starting)
                engine = await stack.enter_async_context(self._engines.acquire(name))
            self._starting.discard(starting)
            if starting.cancelled_caught:
                return
            lane.window = engine.window
            for operator in self._operators:
                if isinstance(operator, StepOperator) and self._plan.engine_of[operator.node.index] == name:
                    operator.bind(engine)
            self._feed.wake()
            async with anyio.create_task_group() as workers:
                for _ in range(engine.window):
                    workers.start_soon(self._serve, lane)

    async def _serve(self, lane: Lane) -> None:
        count = self._engine_counts[lane.name]
        while True:
            job = lane.take()
            if job is None:
                if lane.closed:
                    return
                await lane.more()
                continue
            operator, flow, row, deadline = job
            lane.running += 1
            if lane.waiting < 2 * lane.window:
                self._feed.wake()
            await operator.serve(flow, row, deadline)
            lane.running -= 1
            count.calls += 1

    async def _commit(self) -> None:
        while True:
            ready = []
            while self._next_commit in self._finished:
                ready.append(self._finished.pop(self._next_commit))
                self._next_commit += 1
            if ready:
                await self._commit_flows(ready)
                continue
            over = self.stopping or (self._all_fed and self._next_commit == self._flows_started)
            if over and not self._in_flight():
                self._close_lanes()
                return
            self._commit_event = anyio.Event()
            with anyio.move_on_after(_TICK_S if self.stopping else None):
                await self._commit_event.wait()

    def _in_flight(self) -> bool:
        return any(lane.running for lane in self._lanes.values()) or any(count.running for count in self.counts)

    async def _commit_flows(self, flows: list[Flow]) -> None:
        done = await anyio.to_thread.run_sync(self._write, flows)
        for flow, committed in zip(flows, done, strict=True):
            self._note(flow, committed)
            if self._results is not None:
                waiting = self._results(flow.index, committed.final)
                if waiting is not None:
                    await waiting
        self._feed.committed(sum(len(flow.inputs.ids) for flow in flows))
        if self._listener is not None:
            self._listener(ChunkCommitted(flows[-1].index, self.outcome.rows_done))

    def _write(self, flows: list[Flow]) -> list[Committed]:
        """In a thread, in order: the chunks' rows to the run folder."""
        done = []
        for flow in flows:
            committed = gather(self.graph, flow, self._columns)
            ids = [row.id for row in committed.final]
            self.folder.add_chunk(flow.index, committed.nodes, ids, committed.flat, flow.inputs)
            for chunk in committed.nodes:
                if chunk.node_id in self._undeclared:
                    self.observed.setdefault(chunk.node_id, set()).update(map(type, chunk.values))
            done.append(committed)
        return done

    def _note(self, flow: Flow, committed: Committed) -> None:
        outcome = self.outcome
        outcome.rows_done += len(flow.inputs.ids)
        outcome.rows_failed += committed.failed_rows
        outcome.rows_dropped += committed.dropped_rows
        outcome.rows_out += len(committed.final)
        for found in flow.failures:
            for _, failure in found:
                key = (failure.node_id, failure.kind, failure.message[:200])
                if key in outcome.causes or len(outcome.causes) < 1000:
                    outcome.causes[key] = outcome.causes.get(key, 0) + 1
        self._stop_if_too_many()

    def _stop_if_too_many(self) -> None:
        failed, options = self.outcome.rows_failed, self._options
        if options.max_failed is not None and failed > options.max_failed:
            self.stop(f"{failed} rows failed, more than the {options.max_failed:g} allowed by --max-failed")
        total = options.rows_total
        if options.max_failed_share is not None and total and failed > options.max_failed_share * total:
            self.stop(f"{failed} rows failed, more than {options.max_failed_share:.3%} of {total} (--max-failed)")

    def _close_lanes(self) -> None:
        for lane in self._lanes.values():
            lane.close()

    async def _tick(self) -> None:
        synced = time.monotonic()
        while True:
            await anyio.sleep(_TICK_S)
            self._say_progress()
            if self._sync is not None and time.monotonic() - synced >= _SYNC_S:
                await anyio.to_thread.run_sync(self._sync, self.statistics())
                synced = time.monotonic()

    def _say_progress(self) -> None:
        if self._listener is not None:
            self._listener(self.statistics())


__all__ = ["Executor", "ExecutorOptions", "Outcome"]
