"""The executor: rows go from node to node by plain calls; only engines, threads and files are waited for.

See docs/design/001 for the objects and their lifetimes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio
import anyio.abc
import anyio.to_thread

from chainette.errors import RunStoppedError
from chainette.events import ChunkCommitted, Listener, Progressed
from chainette.executor.apply import ApplyOperator
from chainette.executor.committer import Committer, Results
from chainette.executor.feed import Feed
from chainette.executor.flow import Flow
from chainette.executor.lane import Lane
from chainette.executor.operators import BranchOperator, JoinOperator, Operator
from chainette.executor.outcome import ExecutorOptions, Outcome
from chainette.executor.past import Past
from chainette.executor.replayer import Replayer
from chainette.executor.router import Router
from chainette.executor.service import Engines, LaneService
from chainette.executor.step import StepOperator
from chainette.executor.threads import Threads
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node
from chainette.plan import Plan
from chainette.prompts import CompiledPrompt
from chainette.rows import InputChunk, Row

_TICK_S = 0.25
_WRITE_S = 0.05
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
        outcome: Outcome | None = None,
        past: Past | None = None,
    ) -> None:
        """`results` gets (chunk, final rows in input order) when a chunk is committed and may be awaitable;
        `finals` gets final rows as they are made; `sync` is called twice a second in a thread. `outcome` says how far
        the chunks have come that are in the folder already; `past` has the calls that need not be made."""
        self.graph = graph
        self.folder = folder
        self.params = options.params
        self.outcome = outcome or Outcome()
        self.past = past or Past()
        self.tasks: anyio.abc.TaskGroup
        self.threads = Threads()
        self.replayer = Replayer(past, self.threads) if past is not None else None
        self.loop: asyncio.AbstractEventLoop
        self.stopping = False
        self._options = options
        self._listener = listener
        self._sync = sync
        self._started_s = time.monotonic()
        lanes = _make_lanes(graph, plan)
        self._committer = Committer(self, results)
        self.router = Router(graph, self._committer.finished, finals)
        self._operators = [self._operator(node, plan, prompts, lanes) for node in graph.nodes]
        self.router.connect(self._operators)
        self._feed = Feed(self, options, list(lanes.values()))
        self._services = {name: self._service(lane, plan, engines) for name, lane in lanes.items()}

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
            self.past.close()
        self._say_progress()
        self._check_all_arrived()
        return self.outcome

    async def _run(self, chunks: Iterator[InputChunk]) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._tick)
            background.start_soon(self._keep_log)
            async with anyio.create_task_group() as self.tasks:
                for service in self._services.values():
                    self.tasks.start_soon(service.run)
                if self.replayer is not None:
                    self.tasks.start_soon(self.replayer.run)
                self.tasks.start_soon(self._commit)
                self.tasks.start_soon(self._feed_chunks, chunks)
            background.cancel_scope.cancel()

    def _check_all_arrived(self) -> None:
        """A run is never `done` with rows that nobody knows of."""
        outcome = self.outcome
        if not self.stopping and outcome.count.rows != outcome.rows_read:
            lost = outcome.rows_read - outcome.count.rows
            raise RunStoppedError(
                f"{lost} rows did not come to their end; this is a fault of Chainette, please report it"
            )

    def stop(self, why: str) -> None:
        """No new chunks, rows or calls; what is in flight finishes and is committed where its chunk is whole."""
        if not self.stopping:
            self.stopping = True
            self.outcome.stopped = why
            self._close_services()
            self._feed.stop()
            self._committer.wake()

    def in_flight(self) -> bool:
        """Whether a call or a function is still at work."""
        return any(service.lane.running for service in self._services.values()) or any(
            count.running for count in self._committer.counts().values()
        )

    @property
    def open_rows(self) -> int:
        """Input rows that may be under way."""
        return self._options.open_rows

    def make_room(self, rows: int) -> None:
        """This many input rows are not under way any more."""
        self._feed.left(rows)

    def committed(self, chunk: int) -> None:
        """Chunks up to `chunk` are in the folder."""
        why = self.outcome.too_many(self._options)
        if why:
            self.stop(why)
        if self._listener is not None:
            self._listener(ChunkCommitted(chunk, self.outcome.count.rows))

    def statistics(self) -> Progressed:
        """A snapshot of the counters."""
        nodes = self._committer.counts()
        engines = {name: service.count(nodes) for name, service in self._services.items()}
        elapsed = time.monotonic() - self._started_s
        return Progressed(self.outcome.rows_read, self.outcome.count.rows, elapsed, nodes, engines)

    def start_flow(self, inputs: InputChunk) -> None:
        """Lets a chunk in."""
        flow = Flow(self.graph, inputs)
        self._committer.begun(flow)
        if inputs.again is None:
            self.outcome.rows_read += len(inputs.present)
        self.router.enter(flow)

    def _operator(
        self, node: Node, plan: Plan, prompts: Mapping[int, CompiledPrompt], lanes: Mapping[str, Lane]
    ) -> Operator:
        if node.kind == "step":
            engine = plan.engine_of[node.index]
            return StepOperator(node, self, prompts[node.index], lanes[engine], plan.engines[engine])
        if node.kind == "apply":
            return ApplyOperator(node, self)
        return JoinOperator(node, self.router) if node.kind == "join" else BranchOperator(node, self.router)

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
        self._close_services()

    def _close_services(self) -> None:
        for service in self._services.values():
            service.close()
        if self.replayer is not None:
            self.replayer.close()

    async def _keep_log(self) -> None:
        """Calls are on disk within a second of their end, whatever else the disk is busy with; a killed process loses
        less."""
        while True:
            for _ in range(round(_SYNC_S / _WRITE_S)):
                await anyio.sleep(_WRITE_S)
                await anyio.to_thread.run_sync(self.folder.write_log)
            await anyio.to_thread.run_sync(self.folder.sync_log)

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
