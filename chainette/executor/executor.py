"""The executor: rows go from node to node by plain calls; only engines, threads and files are waited for.

See docs/design/001 for the objects and their lifetimes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread

from chainette.errors import RunStoppedError
from chainette.events import ChunkCommitted, ChunkRead, Event, Listener, Progressed, Warned
from chainette.executor.apply import ApplyOperator
from chainette.executor.committer import Committer, Results
from chainette.executor.feed import Feed
from chainette.executor.flow import Flow
from chainette.executor.gates import DelayOperator, GateOperator, GatherOperator, MergeOperator, TakeOperator
from chainette.executor.heads import LoopOperator, ScanOperator, TurnOperator
from chainette.executor.operators import BranchOperator, JoinOperator, Operator
from chainette.executor.outcome import ExecutorOptions, Outcome
from chainette.executor.parking import Parking
from chainette.executor.past import Past
from chainette.executor.replayer import Replayer
from chainette.executor.router import Router
from chainette.executor.row_scan import scan_operator
from chainette.executor.run_scope import RunBarrier
from chainette.executor.run_scope_count import Tally
from chainette.executor.service import Engines
from chainette.executor.stages import Stages
from chainette.executor.step import StepOperator
from chainette.executor.threads import Threads
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node
from chainette.graph.run_scope import is_barrier
from chainette.plan import Plan
from chainette.prompts import CompiledPrompt
from chainette.rows import InputChunk, Row

_TICK_S = 0.25
_WRITE_S = 0.05
_SYNC_S = 0.5
"""Finished calls are on disk within a second, the tick and the sync itself included."""


_WITH_EXECUTOR: Mapping[str, Callable[[Node, Executor], Operator]] = {
    "cond": GateOperator,
    "switch": GateOperator,
    "while_loop": LoopOperator,
    "scan": scan_operator,
    "delay": DelayOperator,
}
_WITH_ROUTER: Mapping[str, Callable[[Node, Router], Operator]] = {
    "join": JoinOperator,
    "merge": MergeOperator,
    "take": TakeOperator,
}


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
        self.plan = plan
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
        self.parking = Parking(folder.path, plan.stage_of, self._warn)
        self._to_say: deque[ChunkCommitted] = deque()
        """Chunks that the folder has and the disk perhaps not."""
        self._committer = Committer(self, results)
        self.router = Router(graph, self._committer.finished, self._settled, finals)
        operators: list[Operator] = []
        for node in graph.nodes:
            if node.kind == "turn":
                operators.append(TurnOperator(node, cast("LoopOperator | ScanOperator", operators[node.head])))
            else:
                operators.append(self._operator(node, plan, prompts))
        self.router.connect(operators)
        self._applies = [operator for operator in operators if isinstance(operator, ApplyOperator)]
        self._feed = Feed(self.threads, options)
        steps = [operator for operator in operators if isinstance(operator, StepOperator)]
        barriers = [operator for operator in operators if isinstance(operator, RunBarrier)]
        self.tally: Tally | None = None
        """Of input rows, when rows were dealt out over the chunks anew."""
        self._stages = Stages(self, plan, engines, self._feed, steps, barriers)

    @property
    def observed(self) -> Mapping[str, set[type]]:
        """Types that came out of applies without annotations, by node id."""
        return self._committer.observed

    async def run(self, chunks: Iterator[InputChunk]) -> Outcome:
        """Takes every chunk through the graph. Returns when all is committed, or when it was told to stop and what was
        in flight is."""
        self.loop = asyncio.get_running_loop()
        gently = False
        try:
            await self._run(chunks)
            gently = True
        finally:
            with anyio.CancelScope(shield=True):
                for operator in self._applies:
                    await operator.close(gently=gently)
            self.threads.close()
            self.past.close()
            self.parking.close()
            self._stages.finish()
        self._say_progress()
        self._check_all_arrived()
        return self.outcome

    async def _run(self, chunks: Iterator[InputChunk]) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._tick)
            background.start_soon(self._keep_log)
            async with anyio.create_task_group() as self.tasks:
                if self.replayer is not None:
                    self.tasks.start_soon(self.replayer.run)
                self.tasks.start_soon(self._commit)
                self.tasks.start_soon(self._stages.run, chunks)
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
            self._stages.close()
            self._close_replayer()
            self._feed.stop()
            self._committer.wake()

    def in_flight(self) -> bool:
        """Whether a call or a function is still at work."""
        return self._stages.in_flight() or any(count.running for count in self._committer.counts().values())

    @property
    def open_rows(self) -> int:
        """Input rows that may be under way."""
        return self._options.open_rows

    def make_room(self, rows: int) -> None:
        """This many input rows are not under way any more; so many more are when it is negative."""
        self._feed.left(rows)

    def committed(self, chunk: int) -> None:
        """All that it made was handed to the folder, and it counts; in the order of the chunks."""
        self._to_say.append(ChunkCommitted(chunk, self.outcome.count.rows))

    def say_committed(self) -> None:
        """Of the chunks whose closing records are on disk by now. Not before: who reads of a chunk finds it."""
        while self._to_say and self._to_say[0].chunk <= self.folder.last_whole_chunk:
            self.say(self._to_say.popleft())

    def say(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)

    def judge_failures(self) -> None:
        why = self.outcome.too_many(self._options, self._committer.failed_rows)
        if why:
            self.stop(why)

    def statistics(self) -> Progressed:
        """A snapshot of the counters."""
        nodes = self._committer.counts()
        elapsed = time.monotonic() - self._started_s
        return Progressed(self.outcome.rows_read, self.outcome.count.rows, elapsed, nodes, self._stages.count(nodes))

    async def read(self, feed: Feed, chunks: Iterator[InputChunk]) -> None:
        """Takes the input in. What was read before a bad line, or an iterator that raised, is finished first."""
        try:
            await feed.run(chunks, self._let_in)
        except _Fault as fault:
            raise fault.__cause__ or fault from None
        except Exception as error:
            self.outcome.error = error
            self.outcome.stopped = str(error) or type(error).__name__
        self._committer.all_in = True
        self._committer.wake()

    async def settled(self) -> None:
        """Returns when no chunk is under way, or when this is told to stop."""
        await self._committer.settled()

    def parked(self, flow: Flow) -> None:
        """The chunk is out of memory until its stage comes."""
        self._committer.parked(flow)
        self.make_room(len(flow.inputs.present))
        self.judge_failures()

    def bring_back(self, flow: Flow) -> None:
        """The chunk is under way again, and its rows' time goes on."""
        self.parking.forget(flow.index)
        self._committer.came_back(flow)
        flow.set_clocks()
        self.router.came_back(flow)

    def _let_in(self, inputs: InputChunk) -> int:
        flow = Flow(self.graph, inputs)
        self._committer.begun(flow)
        if inputs.again is None:
            self.outcome.rows_read += len(inputs.present)
            self.say(ChunkRead(inputs.index, inputs.first, len(inputs.ids)))
        try:
            self.router.enter(flow)
        except Exception as error:
            raise _Fault from error
        return len(inputs.present)

    def _settled(self, flow: Flow) -> None:
        self._stages.settled(flow)

    def _warn(self, words: str) -> None:
        """From a thread that anyio has started."""
        if self._listener is not None:
            anyio.from_thread.run_sync(self._listener, Warned(words))

    def _operator(self, node: Node, plan: Plan, prompts: Mapping[int, CompiledPrompt]) -> Operator:
        if node.kind == "step":
            engine = plan.engines[plan.engine_of[node.index]]
            return StepOperator(node, self, prompts[node.index], engine)
        if node.kind == "apply":
            return RunBarrier(node, self) if is_barrier(node) else ApplyOperator(node, self)
        if node.kind in _WITH_EXECUTOR:
            return _WITH_EXECUTOR[node.kind](node, self)
        if node.kind == "gather":
            return GatherOperator(node, self.router, node.decl)
        return _WITH_ROUTER.get(node.kind, BranchOperator)(node, self.router)

    async def _commit(self) -> None:
        await self._committer.run()
        self._close_replayer()

    def _close_replayer(self) -> None:
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
            self._stages.say_throttled()
            self._say_progress()
            if self._sync is not None and time.monotonic() - synced >= _SYNC_S:
                await anyio.to_thread.run_sync(self._sync, self.statistics())
                self.say_committed()
                synced = time.monotonic()

    def _say_progress(self) -> None:
        if self._listener is not None:
            self._listener(self.statistics())


class _Fault(Exception):
    """What was raised is not the input's: rows that are half on their way would be waited for without end."""
