"""Takes finished chunks in input order to the run folder. Knows nothing of engines or of how rows were made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from chainette.events import NodeCount
from chainette.executor.commit import Committed, gather
from chainette.executor.flow import Flow
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

Results = Callable[[int, Sequence[Row]], Any]

_LOOK_S = 0.1


class Committer:
    """The way out. Chunks that finish early wait for the ones before them."""

    def __init__(self, executor: Executor, results: Results | None) -> None:
        self.all_in = False
        """No more chunks will come."""
        self._uncounted: list[Flow] = []
        self.observed: dict[str, set[type]] = {}
        """Types that came out of applies without annotations."""
        self._executor = executor
        self._results = results
        graph = executor.graph
        self._columns = [node for node in graph.nodes if node.written]
        self._undeclared = {n.id for n in graph.nodes if n.kind == "apply" and not n.apply.shape.declared}
        self._under_way: dict[int, Flow] = {}
        self._finished: dict[int, Flow] = {}
        self._order: deque[int] = deque()
        """Chunks that were let in and are not committed, in order."""
        self._event = anyio.Event()

    def begun(self, flow: Flow) -> None:
        self._order.append(flow.index)
        self._under_way[flow.index] = flow
        self._uncounted.append(flow)

    def finished(self, flow: Flow) -> None:
        self._finished[flow.index] = self._under_way.pop(flow.index)
        self._event.set()

    def wake(self) -> None:
        self._event.set()

    def counts(self) -> dict[str, NodeCount]:
        """What became of rows at each node: those that are committed and those under way."""
        totals = {}
        for node in self._executor.graph.shown:
            total = totals[node.id] = NodeCount()
            done = self._executor.outcome.count.nodes.get(node.id)
            if done is not None:
                total.add(done)
            for flow in self._uncounted:
                total.add(flow.counts[node.index])
        return totals

    async def run(self) -> None:
        """Returns when every chunk is committed, or, when the executor stops, when nothing is in flight any more."""
        while True:
            ready = []
            while self._order and self._order[0] in self._finished:
                ready.append(self._finished.pop(self._order.popleft()))
            if ready:
                await self._commit(ready)
                continue
            if self.all_in and not self._order:
                return
            if self._executor.stopping and not self._executor.in_flight():
                await self._leave_unfinished()
                return
            self._event = anyio.Event()
            with anyio.move_on_after(_LOOK_S if self._executor.stopping else None):
                await self._event.wait()

    async def _leave_unfinished(self) -> None:
        """What was finished of the chunks that were not, so that a person who stopped the run can read it."""
        flows = {**self._under_way, **self._finished}
        await anyio.to_thread.run_sync(self._write_unfinished, [flows[index] for index in sorted(flows)])

    def _write_unfinished(self, flows: list[Flow]) -> None:
        executor = self._executor
        for flow in flows:
            made = gather(executor.graph, flow, self._columns)
            ids = [row.id for row in made.final]
            executor.folder.add_chunk(flow.index, made.nodes, ids, made.flat, flow.inputs, whole=False)

    async def _commit(self, flows: list[Flow]) -> None:
        done = await anyio.to_thread.run_sync(self._write, flows)
        for flow, committed in zip(flows, done, strict=True):
            self._note(flow, committed)
            if self._results is not None:
                waiting = self._results(flow.index, committed.final)
                if waiting is not None:
                    await waiting
        self._executor.committed(flows[-1].index, sum(len(flow.inputs.present) for flow in flows))

    def _write(self, flows: list[Flow]) -> list[Committed]:
        """In a thread, in order: the chunks' rows to the run folder."""
        executor, done = self._executor, []
        for flow in flows:
            committed = gather(executor.graph, flow, self._columns)
            ids = [row.id for row in committed.final]
            committed.count = executor.folder.add_chunk(
                flow.index,
                committed.nodes,
                ids,
                committed.flat,
                flow.inputs,
                count=committed.count,
                failing=committed.failing,
            )
            for chunk in committed.nodes:
                if chunk.node_id in self._undeclared:
                    self.observed.setdefault(chunk.node_id, set()).update(map(type, chunk.values))
            done.append(committed)
        return done

    def _note(self, flow: Flow, committed: Committed) -> None:
        outcome = self._executor.outcome
        outcome.count.add(committed.count)
        self._uncounted.remove(flow)
        for found in flow.failures:
            for _, failure in found:
                outcome.count_cause(failure.node_id, failure.kind, failure.message)
