"""Takes finished chunks in input order to the run folder. Knows nothing of engines or of how rows were made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from chainette.events import NodeCount, RunCount
from chainette.executor.commit import Committed, gather
from chainette.executor.flow import Flow
from chainette.files.outputs import MadeChunk
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
        self._finished: dict[int, Flow | None] = {}
        """None for a chunk that waits on disk."""
        self._held = RunCount()
        """What the chunks that wait on disk add to the counts."""
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
            held = self._held.nodes.get(node.id)
            if held is not None:
                total.add(held)
            for flow in self._uncounted:
                count = flow.counts[node.index]
                if flow.inputs.again is None:
                    total.add(count)
                else:  # its rows are counted as they were until their chunk is healed
                    total.running += count.running
                    total.waiting += count.waiting
        return totals

    async def run(self) -> None:
        """Returns when every chunk is committed, or, when the executor stops, when nothing is in flight any more."""
        while True:
            ready = []
            while self._order and self._order[0] in self._finished:
                index = self._order.popleft()
                ready.append((index, self._finished.pop(index)))
            if ready:
                await self._commit(ready)
                continue
            if self._are_too_many():
                await self._hold()
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
        await anyio.to_thread.run_sync(self._write_unfinished, sorted(flows.items(), key=itemgetter(0)))

    def _write_unfinished(self, chunks: list[tuple[int, Flow | None]]) -> None:
        executor = self._executor
        for index, flow in chunks:
            if flow is None:
                executor.folder.add_held(index, whole=False)
                continue
            made = gather(executor.graph, flow, self._columns)
            ids = [row.id for row in made.final]
            executor.folder.add_chunk(flow.index, made.nodes, ids, made.flat, flow.inputs, whole=False)

    def _are_too_many(self) -> bool:
        """Whether chunks that wait for an earlier one take up so much of the room that engines would soon wait too."""
        if self._results is not None or self._executor.stopping or not self._executor.folder.can_hold:
            return False
        rows = sum(len(flow.inputs.ids) for flow in self._finished.values() if flow is not None)
        return 2 * rows > self._executor.open_rows

    async def _hold(self) -> None:
        """Moves the chunks that wait for an earlier one to disk. A row that takes long delays no other."""
        flows = [flow for flow in self._finished.values() if flow is not None]
        made = await anyio.to_thread.run_sync(self._write_held, flows)
        for flow, committed in zip(flows, made, strict=True):
            self._finished[flow.index] = None
            self._held.add(committed.count)
            self._note_ended(flow)
        self._executor.make_room(sum(len(flow.inputs.present) for flow in flows))

    def _write_held(self, flows: list[Flow]) -> list[Committed]:
        done = []
        for flow in flows:
            made = gather(self._executor.graph, flow, self._columns)
            ids = [row.id for row in made.final]
            chunk = MadeChunk(flow.inputs, made.nodes, ids, made.flat)
            self._executor.folder.hold_chunk(chunk, made.count, made.failing)
            self._observe(made)
            done.append(made)
        return done

    async def _commit(self, chunks: list[tuple[int, Flow | None]]) -> None:
        done = await anyio.to_thread.run_sync(self._write, chunks)
        rows = 0
        for (index, flow), (count, final) in zip(chunks, done, strict=True):
            self._executor.outcome.count.add(count)
            if flow is None:
                self._held.add(count, -1)
                continue
            rows += len(flow.inputs.present)
            self._note_ended(flow)
            if self._results is not None:
                waiting = self._results(index, final)
                if waiting is not None:
                    await waiting
        self._executor.make_room(rows)
        self._executor.committed(chunks[-1][0])

    def _write(self, chunks: list[tuple[int, Flow | None]]) -> list[tuple[RunCount, Sequence[Row]]]:
        """In a thread, in order: the chunks' rows to the run folder. Returns counts and final rows."""
        executor = self._executor
        done: list[tuple[RunCount, Sequence[Row]]] = []
        for index, flow in chunks:
            if flow is None:
                done.append((executor.folder.add_held(index), ()))
                continue
            committed = gather(executor.graph, flow, self._columns)
            ids = [row.id for row in committed.final]
            count = executor.folder.add_chunk(
                flow.index,
                committed.nodes,
                ids,
                committed.flat,
                flow.inputs,
                count=committed.count,
                failing=committed.failing,
            )
            self._observe(committed)
            done.append((count, committed.final))
        return done

    def _observe(self, made: Committed) -> None:
        for chunk in made.nodes:
            if chunk.node_id in self._undeclared:
                self.observed.setdefault(chunk.node_id, set()).update(map(type, chunk.values))

    def _note_ended(self, flow: Flow) -> None:
        outcome = self._executor.outcome
        self._uncounted.remove(flow)
        for found in flow.failures:
            for _, failure in found:
                outcome.count_cause(failure.node_id, failure.kind, failure.message)
