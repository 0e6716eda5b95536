"""Takes finished chunks in input order to the run folder. Knows nothing of engines or of how rows were made."""

from __future__ import annotations

import enum
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
from chainette.graph import Graph
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

Results = Callable[[int, Sequence[Row]], Any]

_LOOK_S = 0.1


class Elsewhere(enum.Enum):
    """Where a finished chunk waits that is not in memory."""

    HELD = "in the run folder, as lines"
    PARKED = "in the parking, as rows"


Finished = Flow | Elsewhere


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
        self._finished: dict[int, Finished] = {}
        self._held = RunCount()
        """What the chunks that wait on disk add to the counts."""
        self._parked = RunCount()
        """The same of those that wait for a later stage, or behind one that does; of their rows only the failed."""
        self._parked_at: set[int] = set()
        """Chunks that wait for a later stage."""
        self._order: deque[int] = deque()
        """Chunks that were let in and are not committed, in order."""
        self._event = anyio.Event()
        self._settled = anyio.Event()

    @property
    def failed_rows(self) -> int:
        """Input rows that have failed and whose chunk is neither under way nor committed."""
        return self._parked.rows_failed

    def begun(self, flow: Flow) -> None:
        self._order.append(flow.index)
        self._under_way[flow.index] = flow
        self._uncounted.append(flow)

    def finished(self, flow: Flow) -> None:
        self._finished[flow.index] = self._under_way.pop(flow.index)
        self._event.set()
        self._settled.set()

    def parked(self, flow: Flow) -> None:
        """The chunk is out of memory until its stage comes."""
        del self._under_way[flow.index]
        self._parked_at.add(flow.index)
        self._note_parked(flow)
        self._event.set()
        self._settled.set()

    def came_back(self, flow: Flow) -> None:
        """A parked chunk is under way again."""
        self._parked_at.remove(flow.index)
        self._under_way[flow.index] = flow
        self._parked.add(_seen(flow, self._executor.graph), -1)
        self._uncounted.append(flow)

    async def settled(self) -> None:
        """Returns when no chunk is under way, or when the executor stops."""
        while self._under_way and not self._executor.stopping:
            self._settled = anyio.Event()
            await self._settled.wait()

    def wake(self) -> None:
        self._event.set()
        self._settled.set()

    def counts(self) -> dict[str, NodeCount]:
        """What became of rows at each node: those that are committed and those under way."""
        totals = {}
        for node in self._executor.graph.shown:
            total = totals[node.id] = NodeCount()
            done = self._executor.outcome.count.nodes.get(node.id)
            if done is not None:
                total.add(done)
            for waiting in (self._held, self._parked):
                count = waiting.nodes.get(node.id)
                if count is not None:
                    total.add(count)
            for flow in self._uncounted:
                total.add(_shown(flow, node.index))
        return totals

    async def run(self) -> None:
        """Returns when every chunk is committed, or, when the executor stops, when nothing is in flight any more."""
        while True:
            ready = self._ready()
            if ready:
                await self._commit(ready)
                continue
            if self._are_too_many():
                if self._can_hold:
                    await self._hold()
                    continue
                if self._order[0] in self._parked_at:
                    await self._set_aside()
                    continue
            if self.all_in and not self._order:
                return
            if self._executor.stopping and not self._executor.in_flight():
                await self._leave_unfinished()
                return
            self._event = anyio.Event()
            with anyio.move_on_after(_LOOK_S if self._executor.stopping else None):
                await self._event.wait()

    def _ready(self) -> list[tuple[int, Finished]]:
        """The chunks whose turn it is, up to the first that has to be read back: all of those may be too many."""
        ready: list[tuple[int, Finished]] = []
        while self._order and self._order[0] in self._finished:
            index = self._order.popleft()
            ready.append((index, self._finished.pop(index)))
            if ready[-1][1] is Elsewhere.PARKED:
                break
        return ready

    async def _leave_unfinished(self) -> None:
        """What was finished of the chunks that were not, so that a person who stopped the run can read it."""
        parked = dict.fromkeys(self._parked_at, Elsewhere.PARKED)
        flows: dict[int, Finished] = {**self._under_way, **self._finished, **parked}
        await anyio.to_thread.run_sync(self._write_unfinished, sorted(flows.items(), key=itemgetter(0)))

    def _write_unfinished(self, chunks: list[tuple[int, Finished]]) -> None:
        executor = self._executor
        for index, found in chunks:
            if found is Elsewhere.HELD:
                executor.folder.add_held(index, whole=False)
                continue
            flow = found if isinstance(found, Flow) else executor.parking.read(index)
            made = gather(executor.graph, flow, self._columns)
            ids = [row.id for row in made.final]
            executor.folder.add_chunk(flow.index, made.nodes, ids, made.flat, flow.inputs, whole=False)

    def _are_too_many(self) -> bool:
        """Whether chunks that wait for an earlier one take up so much of the room that engines would soon wait too."""
        if self._executor.stopping:
            return False
        rows = sum(len(flow.inputs.ids) for flow in self._finished.values() if isinstance(flow, Flow))
        return 2 * rows > self._executor.open_rows

    @property
    def _can_hold(self) -> bool:
        return self._results is None and self._executor.folder.can_hold

    async def _hold(self) -> None:
        """Moves the chunks that wait for an earlier one to disk. A row that takes long delays no other."""
        flows = [flow for flow in self._finished.values() if isinstance(flow, Flow)]
        made = await anyio.to_thread.run_sync(self._write_held, flows)
        for flow, committed in zip(flows, made, strict=True):
            self._finished[flow.index] = Elsewhere.HELD
            self._held.add(committed.count)
            self._note_ended(flow)
        self._executor.make_room(sum(len(flow.inputs.present) for flow in flows))

    async def _set_aside(self) -> None:
        """The same for chunks whose rows somebody waits for, and that are not committed before a later stage."""
        flows = [flow for flow in self._finished.values() if isinstance(flow, Flow)]
        for flow in flows:
            await anyio.to_thread.run_sync(self._executor.parking.put, flow)
            self._finished[flow.index] = Elsewhere.PARKED
            self._note_parked(flow)
        self._executor.make_room(sum(len(flow.inputs.present) for flow in flows))

    async def _bring_back(self, index: int) -> Flow:
        """A chunk that was set aside, when its turn has come."""
        parking = self._executor.parking
        flow = await anyio.to_thread.run_sync(parking.read, index)
        parking.forget(index)
        self._parked.add(_seen(flow, self._executor.graph), -1)
        self._uncounted.append(flow)
        self._executor.make_room(-len(flow.inputs.present))
        return flow

    def _note_parked(self, flow: Flow) -> None:
        self._uncounted.remove(flow)
        self._parked.add(_seen(flow, self._executor.graph))

    def _write_held(self, flows: list[Flow]) -> list[Committed]:
        done = []
        for flow in flows:
            made = self._gathered(flow)
            ids = [row.id for row in made.final]
            chunk = MadeChunk(flow.inputs, made.nodes, ids, made.flat)
            self._executor.folder.hold_chunk(chunk, made.count, made.failing)
            self._observe(made)
            done.append(made)
        return done

    async def _commit(self, chunks: list[tuple[int, Finished]]) -> None:
        index, found = chunks[-1]
        if found is Elsewhere.PARKED:
            chunks[-1] = (index, await self._bring_back(index))
        rows = 0
        done = await anyio.to_thread.run_sync(self._write, chunks)
        for (index, flow), (count, final) in zip(chunks, done, strict=True):
            self._executor.outcome.count.add(count)
            if not (isinstance(flow, Flow) and flow.inputs.again):  # what is healed was committed before
                self._executor.committed(index)
            if not isinstance(flow, Flow):
                self._held.add(count, -1)
                continue
            rows += len(flow.inputs.present)
            self._note_ended(flow)
            if self._results is not None:
                waiting = self._results(index, final)
                if waiting is not None:
                    await waiting
        self._executor.make_room(rows)
        self._executor.judge_failures()

    def _write(self, chunks: list[tuple[int, Finished]]) -> list[tuple[RunCount, Sequence[Row]]]:
        """In a thread, in order: the chunks' rows to the run folder. Returns counts and final rows."""
        executor = self._executor
        done: list[tuple[RunCount, Sequence[Row]]] = []
        for index, flow in chunks:
            if not isinstance(flow, Flow):
                done.append((executor.folder.add_held(index), ()))
                continue
            committed = self._gathered(flow)
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

    def _gathered(self, flow: Flow) -> Committed:
        """Once for each chunk, in a thread."""
        made = gather(self._executor.graph, flow, self._columns)
        if self._executor.tally is not None:
            self._executor.tally.count(flow, made.final, made.count)
        return made

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


def _shown(flow: Flow, node: int) -> NodeCount:
    """What a chunk that is not committed adds to the counts of a node."""
    count = flow.counts[node]
    if flow.inputs.again is None:
        return count
    # Its rows are counted as they were until their chunk is healed.
    return NodeCount(running=count.running, waiting=count.waiting)


def _seen(flow: Flow, graph: Graph) -> RunCount:
    """The same of all nodes, and the input rows that have failed so far."""
    failed = set() if flow.inputs.again else {order[0] for found in flow.failures for order, _ in found}
    return RunCount(rows_failed=len(failed), nodes={node.id: _shown(flow, node.index) for node in graph.shown})
