"""An apply over the whole run at work: rows of all chunks wait on disk, the function goes over them, and what it gives
back is dealt out over the chunks again, in its order.

Knows chunks at rest, and nothing of engines. See docs/design/006.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
import typing
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import anyio

from chainette.chain.context import current
from chainette.chain.drop import Drop
from chainette.errors import RunStoppedError
from chainette.executor.apply_outcome import caster, is_many, told
from chainette.executor.flow import Flow
from chainette.executor.own_copy import OwnCopy
from chainette.executor.run_scope_count import Tally
from chainette.executor.run_scope_deal import Deal, Hand, arrived_at
from chainette.executor.run_scope_handout import Handout
from chainette.executor.run_scope_outcome import NEW, GivenBack
from chainette.executor.run_scope_record import Recorder, copy_records
from chainette.executor.user_errors import ANYTHING
from chainette.executor.whereabouts import Whereabouts
from chainette.files.json_text import encode
from chainette.graph import Node
from chainette.graph.reach import taker
from chainette.graph.run_scope import barriers
from chainette.graph.signature import digest
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor


class RunBarrier:
    """One such apply of a run."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self._executor = executor
        self._router = executor.router
        self._shape = node.apply.shape
        self._take = taker(node)
        self._cast = caster(self._shape)
        self._own = OwnCopy()
        self._at = Whereabouts(node, executor)
        self._recorder = Recorder(node)
        self._arrived: dict[int, tuple[bytes, array[int]]] = {}
        """Chunk -> digest of the ids and values of its rows, and one per row of its value."""
        self._looks: array[int] = array("Q")
        """The same per row of all chunks, in order."""
        self._input_rows = 0
        self._is_taken = False
        """An id from the data looks like one of a new row."""
        self._made: GivenBack | None = None
        self._deal: Deal | None = None
        self._hands: dict[int, Hand] = {}
        self._scope = anyio.CancelScope()
        self._left = False
        self._seconds = 0.0
        """That the function took; told with the first chunk."""

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        flow.pending.setdefault(self.node.index, []).extend(rows)

    def drained(self, flow: Flow) -> None:
        """The chunk waits here, also when no row of it does."""
        flow.pending.setdefault(self.node.index, [])

    def note(self, flow: Flow) -> None:
        """All that can arrive of the chunk has. In a thread, before the chunk is put away."""
        index = self.node.index
        kept: list[Row] = []
        looks = array("Q")
        whole = hashlib.blake2b(digest_size=16)
        for row in arrived_at(flow, self.node):
            try:
                look = _look(self._take(row))
            except ANYTHING as error:
                flow.failures[index].append((row.order, self._failure(row.id, error)))
                continue
            kept.append(row)
            self._is_taken = self._is_taken or row.id.startswith(f"{self.node.id}.")
            looks.append(look)
            whole.update(encode([row.id, look]))
        self._input_rows = max(self._input_rows, flow.inputs.first + len(flow.inputs.ids))
        lost = len(flow.pending[index]) - len(kept)
        flow.pending[index] = kept
        flow.open[index] -= lost
        flow.counts[index].waiting -= lost
        flow.counts[index].failed += lost
        self._arrived[flow.index] = (whole.digest(), looks)

    async def run(self) -> None:
        """The function, or what is recorded of it, and the dealing. Returns at once when the executor stops; the
        function is left to itself."""
        with self._scope:
            try:
                await self._executor.threads.run(self._run)
            except _Raised as error:
                self._executor.outcome.error = RunStoppedError(str(error))
                self._executor.stop(str(error))

    def stop(self) -> None:
        self._left = True
        self._scope.cancel()

    def hands(self, flows: Iterator[Flow]) -> Iterator[Flow]:
        """The chunks in order; what each gets is read from disk before it is under way. In a thread."""
        assert self._deal is not None
        for chunk, flow in enumerate(flows):
            self._hands[flow.index] = self._deal.hand(chunk, lambda row: self._cast(self._take(row)))
            yield flow

    def give(self, flow: Flow) -> None:
        """The chunk is under way again: its rows leave, those that were dealt to it enter what comes next."""
        index, hand = self.node.index, self._hands.pop(flow.index)
        arrived = len(flow.pending.pop(index))
        count = flow.counts[index]
        count.waiting -= arrived
        count.done += hand.done
        count.dropped += arrived - hand.done - hand.failed
        count.made += len(hand.made)
        count.failed += len(hand.failures)
        flow.failures[index] += hand.failures
        flow.origins.update(hand.origins)
        now = time.monotonic()
        count.seconds += self._seconds
        self._seconds = 0.0
        flow.begun.update({clock: now + since_s for clock, since_s in hand.begun.items()})
        self._router.deal(flow, self.node, hand.made)

    def close(self) -> None:
        self._left = True
        self._close()

    def _close(self) -> None:
        for held in (self._made, self._deal):
            if held is not None:
                held.close()

    def _run(self) -> None:
        """In a thread, which is left to itself when the run stops: then it gives back what it has on disk."""
        try:
            self._go()
            self._check_wanted()
        except BaseException:
            self._close()
            raise

    def _go(self) -> None:
        executor = self._executor
        chunks = sorted(self._arrived)
        starts = [0, *accumulate(len(self._arrived[chunk][1]) for chunk in chunks)]
        for chunk in chunks:
            self._looks.extend(self._arrived[chunk][1])
        key = digest("run", self.node.signature, *(self._arrived[chunk][0].hex() for chunk in chunks))
        self._arrived = {}
        made = self._recorded(key, starts[-1])
        if made is None:
            made = self._made = GivenBack(executor.folder.path)
            self._call(chunks, starts[-1], made)
            self._check_wanted()
            if len(made):
                self._recorder.write(executor.folder, key, made)
        self._check_wanted()
        graph = executor.graph
        number = barriers(graph.nodes).index(self.node)
        name = f"{self.node.id}//" if self._is_taken else f"{self.node.id}."
        deal = self._deal = Deal(graph, self.node, (number, name), starts, made, executor.folder.path)
        if executor.tally is None:
            executor.tally = Tally(self._input_rows)
        deal.split(self._flows(chunks), executor.tally.deal)
        self._looks = array("Q")

    def _flows(self, chunks: Iterable[int]) -> Iterator[Flow]:
        for chunk in chunks:
            self._check_wanted()
            yield self._executor.parking.read(chunk)

    def _check_wanted(self) -> None:
        if self._left:
            raise RunStoppedError("the run was stopped")

    def _recorded(self, key: str, given: int) -> GivenBack | None:
        past, folder = self._executor.past, self._executor.folder
        for others in (False, True):
            made = GivenBack(folder.path)
            if self._recorder.read(past, key, made, given, others=others):
                self._made = made
                if others:
                    copy_records(self.node, past, folder, key)
                return made
            made.close()
        return None

    def _call(self, chunks: Sequence[int], given: int, made: GivenBack) -> None:
        handout = Handout(lambda: self._values(chunks))
        if given or self._shape.reduces:
            token = current.set(self._at.here(None, ()))
            began = time.perf_counter()
            try:
                self._collect(handout, made, given)
            except ANYTHING as error:
                if self._left:
                    raise
                raise _Raised(self._words(error)) from error
            finally:
                current.reset(token)
                self._seconds = time.perf_counter() - began
        made.finish()

    def _collect(self, handout: Handout, made: GivenBack, given: int) -> None:
        position = 0
        for out in self._out(handout):
            place = position if self._shape.one_for_one else handout.place_of(out)
            position += 1
            if type(out) is Drop:
                continue
            if place >= given:
                break
            self._put(out, place, made)
        if self._shape.one_for_one and position != given:
            raise ValueError(f'gave {position} rows for {given}; one for each, in order, is what shape="map" promises')

    def _put(self, out: Any, place: int, made: GivenBack) -> None:
        try:
            value = self._cast(out)
        except ANYTHING as error:
            made.put_failure(place, self._failure("", error))
            return
        if place != NEW and _look(value) == self._looks[place]:
            made.put(place)
        else:
            made.put_value(place, value)

    def _out(self, handout: Handout) -> Iterable[Any]:
        """What the function gives back, one after the other."""
        fn, rows = self.node.apply.fn, self._given(handout)
        out = self._awaited(lambda: fn(rows)) if self._shape.is_async else fn(rows)
        if inspect.isasyncgen(out):
            return self._drawn(out)
        if self._shape.reduces:
            return [] if out is None else [out]
        if out is None:
            raise TypeError("returned None; it returns the rows that go on, or one value for all of them")
        many = is_many(out) or (isinstance(out, Sequence) and not isinstance(out, str | bytes))
        return out if many else [out]

    def _given(self, handout: Handout) -> Any:
        """All of them in memory, or what reads them from disk: an iterator, or what can be gone through again."""
        if self._shape.wants_list:
            return list(handout)
        taken = typing.get_origin(self._shape.taken) or self._shape.taken
        return handout if taken is Iterable else iter(handout)

    def _drawn(self, stream: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._awaited(stream.__anext__)
            except StopAsyncIteration:
                return

    def _awaited(self, begin: Callable[[], Any]) -> Any:
        """What an `async def` gives, on the run's loop; called in a thread."""

        async def whole() -> Any:
            current.set(here)
            found = begin()
            return await found if inspect.isawaitable(found) else found

        here = copy_context()[current]
        return asyncio.run_coroutine_threadsafe(whole(), self._executor.loop).result()

    def _values(self, chunks: Iterable[int]) -> Iterator[Any]:
        parking = self._executor.parking
        for flow in self._flows(chunks):
            is_own = parking.is_on_disk(flow.index)
            for row in arrived_at(flow, self.node):
                value = self._take(row)
                yield value if is_own else self._own(value)

    def _failure(self, row_id: str, error: BaseException) -> Failure:
        kind, message, causes = told(error, self.node.apply.fn, self._shape)
        return Failure(row_id, self.node.id, kind, message, cause=causes)

    def _words(self, error: BaseException) -> str:
        _, message, causes = told(error, self.node.apply.fn, self._shape)
        where = f" ({causes[0]})" if causes and ":" in causes[0] else ""
        again = f"chainette resume {self._executor.folder.run_id} goes on from here"
        return f'apply "{self.node.id}" over the whole run raised {message}{where}; {again}'


class _Raised(Exception):
    """What the function raised, in words."""


def _look(value: Any) -> int:
    """A digest of a value: equal when it reads the same."""
    return int.from_bytes(hashlib.blake2b(encode(value), digest_size=8).digest())
