"""The executor: rows go from node to node by plain calls; only engines, threads and files are waited for.

See docs/design/001 for the objects and their lifetimes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import anyio
import anyio.abc
import anyio.to_thread

from chainette.errors import RunStoppedError
from chainette.events import ChunkCommitted, Listener, NodeCount, Progressed
from chainette.executor.apply import ApplyOperator
from chainette.executor.committer import Committer, Results
from chainette.executor.feed import Feed
from chainette.executor.flow import Flow, Ticket
from chainette.executor.lane import Lane
from chainette.executor.operators import BranchOperator, JoinOperator, Operator
from chainette.executor.outcome import ExecutorOptions, Outcome
from chainette.executor.service import Engines, LaneService
from chainette.executor.step import StepOperator
from chainette.executor.threads import Threads
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node
from chainette.plan import Plan
from chainette.prompts import CompiledPrompt
from chainette.rows import Failure, InputChunk, Row

_TICK_S = 0.25
_SYNC_S = 0.5
"""Finished calls are on disk within a second, the tick and the sync itself included."""


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
        *,
        results: Results | None = None,
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
        self.threads = Threads()
        self.loop: asyncio.AbstractEventLoop
        self.stopping = False
        self._options = options
        self._listener = listener
        self._finals = finals
        self._sync = sync
        self._started_s = time.monotonic()
        lanes = _make_lanes(graph, plan)
        self._operators = [self._operator(node, plan, prompts, lanes) for node in graph.nodes]
        self._joins = {n: op for n, op in enumerate(self._operators) if isinstance(op, JoinOperator)}
        self._splits = [_split_targets(graph, node) for node in graph.nodes]
        self._plain = [[edge.target for edge in edges if edge.join is None] for edges in graph.edges]
        self._feed = Feed(self, options, list(lanes.values()))
        self._services = {name: self._service(lane, plan, engines) for name, lane in lanes.items()}
        self._committer = Committer(self, results)

    @property
    def observed(self) -> Mapping[str, set[type]]:
        """Types that came out of applies without annotations, by node id."""
        return self._committer.observed

    async def run(self, chunks: Iterator[InputChunk]) -> Outcome:
        """Takes every chunk through the graph. Returns when all is committed, or when it was told to stop and what was
        in flight is."""
        self.loop = asyncio.get_running_loop()
        try:
            await self._run(chunks)
        finally:
            self.threads.close()
        self._say_progress()
        self._check_all_arrived()
        return self.outcome

    async def _run(self, chunks: Iterator[InputChunk]) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._tick)
            async with anyio.create_task_group() as self.tasks:
                for service in self._services.values():
                    self.tasks.start_soon(service.run)
                self.tasks.start_soon(self._commit)
                self.tasks.start_soon(self._feed_chunks, chunks)
            background.cancel_scope.cancel()

    def _check_all_arrived(self) -> None:
        """A run is never `done` with rows that nobody knows of."""
        outcome = self.outcome
        if not self.stopping and outcome.rows_done != outcome.rows_read:
            lost = outcome.rows_read - outcome.rows_done
            raise RunStoppedError(
                f"{lost} rows did not come to their end; this is a fault of Chainette, please report it"
            )

    def stop(self, why: str) -> None:
        """No new chunks, rows or calls; what is in flight finishes and is committed where its chunk is whole."""
        if not self.stopping:
            self.stopping = True
            self.outcome.stopped = why
            for service in self._services.values():
                service.close()
            self._feed.stop()
            self._committer.wake()

    def in_flight(self) -> bool:
        """Whether a call or a function is still at work."""
        return any(service.lane.running for service in self._services.values()) or any(
            count.running for count in self.counts
        )

    def committed(self, chunk: int, rows: int) -> None:
        """Chunks up to `chunk`, with this many input rows, are in the folder."""
        self._feed.committed(rows)
        why = self.outcome.too_many(self._options)
        if why:
            self.stop(why)
        if self._listener is not None:
            self._listener(ChunkCommitted(chunk, self.outcome.rows_done))

    def statistics(self) -> Progressed:
        """A snapshot of the counters."""
        nodes = {node.id: replace(self.counts[node.index]) for node in self.graph.shown}
        engines = {name: service.count() for name, service in self._services.items()}
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
        if [row.order for row in made] == [row.order for row in rows]:
            count.done += len(rows)
        else:
            self._count_outcomes(count, rows, made, failures)
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
        self._committer.begun(flow)
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

    def _count_outcomes(
        self,
        count: NodeCount,
        rows: Sequence[Row],
        made: Sequence[Row],
        failures: Sequence[tuple[tuple[int, ...], Failure]],
    ) -> None:
        """What became of `rows`, one by one: a row dropped and another doubled are as many as went in."""
        fertile = {row.parent.order for row in made if row.parent is not None}
        failed = {own for order, _ in failures for own in (order, order[:-1])}
        for row in rows:
            if row.order in fertile:
                count.done += 1
            elif row.order not in failed:
                count.dropped += 1

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
        is_last = flow.closed == len(self.graph.nodes)
        targets = [edge.target for edge in self.graph.edges[index]] + [join for join, _ in self._splits[index]]
        for target in targets:
            flow.sources[target] -= 1
            if flow.sources[target] == 0:
                self._operators[target].drained(flow)
        if is_last:
            self._committer.finished(flow)

    def _operator(
        self, node: Node, plan: Plan, prompts: Mapping[int, CompiledPrompt], lanes: Mapping[str, Lane]
    ) -> Operator:
        if node.kind == "step":
            return StepOperator(node, self, prompts[node.index], lanes[plan.engine_of[node.index]])
        if node.kind == "apply":
            return ApplyOperator(node, self)
        return JoinOperator(node, self) if node.kind == "join" else BranchOperator(node, self)

    def _service(self, lane: Lane, plan: Plan, engines: Engines) -> LaneService:
        steps = [op for op in self._operators if isinstance(op, StepOperator) and op.lane is lane]
        return LaneService(lane, steps, engines, self._feed, lazy=plan.engines[lane.name].lazy)

    async def _feed_chunks(self, chunks: Iterator[InputChunk]) -> None:
        try:
            await self._feed.run(chunks)
        except Exception as error:  # what was read before a bad line, or an iterator that raised, is finished first
            self.outcome.error = error
            self.outcome.stopped = str(error) or type(error).__name__
        self._committer.all_in = True
        self._committer.wake()

    async def _commit(self) -> None:
        await self._committer.run()
        for service in self._services.values():
            service.close()

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


def _make_lanes(graph: Graph, plan: Plan) -> dict[str, Lane]:
    lanes = {}
    for name in plan.engines:
        served = [graph.nodes[index] for index, engine in plan.engine_of.items() if engine == name]
        lanes[name] = Lane(name, [(node.index, node.step.priority, node.depth) for node in served])
    return lanes


def _split_targets(graph: Graph, node: Node) -> list[tuple[int, list[int]]]:
    """Per join whose group begins at `node`: the entries of its branches, in order."""
    groups: dict[int, dict[int, int]] = {}
    for edge in graph.edges[node.index]:
        if edge.join is not None:
            groups.setdefault(edge.join, {})[edge.branch] = edge.target
    return [(join, [entries[position] for position in sorted(entries)]) for join, entries in groups.items()]
