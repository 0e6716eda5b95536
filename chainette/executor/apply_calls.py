"""Calls a plain function on rows or chunks, in threads. What its ways of being called have in common is here too."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainette.chain.context import current
from chainette.chain.drop import Drop
from chainette.executor.apply_outcome import Maker, OutOfTime, Result, Told, listed, told
from chainette.executor.attribution import ListFunction, UnattributableError
from chainette.executor.durable import Durable
from chainette.executor.flow import Flow
from chainette.executor.own_copy import OwnCopy
from chainette.executor.user_errors import ANYTHING
from chainette.executor.whereabouts import Whereabouts
from chainette.graph import Node
from chainette.graph.reach import taker
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

SLOW_S = 0.002
"""A function that takes longer a row is given several threads."""
_LOOK_S = 0.005
THREADS = min(32, 4 * (os.cpu_count() or 1))


class Job:
    """Rows of one chunk that a function is called on, for the first time or again."""

    __slots__ = ("attempt", "flow", "rows", "until")

    def __init__(self, flow: Flow, rows: Sequence[Row], attempt: int = 1, until: float | None = None) -> None:
        self.flow = flow
        self.rows = rows
        self.attempt = attempt
        self.until = until
        """When the time of the one row is over that was tried before, on the monotonic clock."""


Done = Callable[[Job, Sequence[Row], Result, float], None]
"""Gets rows of a job with what became of them and the seconds they took, on the loop."""


class Calling:
    """One apply: what each call of its function needs."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self.executor = executor
        self.fn = node.apply.fn
        self.shape = node.apply.shape
        self.at = Whereabouts(node, executor)
        self.maker = Maker(node)
        self.durable = Durable(node, executor, self.at, self.maker) if node.apply.durable else None
        self.limits = self.at.limits
        self.timeout_s = node.apply.timeout_s
        self.timed = bool(self.limits) or self.timeout_s is not None
        self._deadline_s = min((limit_s for _, limit_s in self.limits), default=None)
        self.take = taker(node)
        self.plain_take = node.intake.how == "value" and not node.intake.cast
        self.own = OwnCopy(reads_only=self.shape.reads_only)

    def told(self, error: BaseException) -> Told:
        return told(error, self.fn, self.shape)

    def own_until(self, job: Job) -> float | None:
        """When the time of a row that begins now is over, as far as the function itself limits it."""
        if job.until is not None or self.timeout_s is None:
            return job.until
        return time.monotonic() + self.timeout_s

    def until(self, job: Job, row: Row, own: float | None) -> float | None:
        """When its time is over at all."""
        if not self.limits:
            return own
        end = job.flow.deadline(row, self.limits)
        return end if own is None else min(own, end)

    def out_of_time(self, job: Job, row: Row) -> OutOfTime:
        """In words that say which time it was."""
        if self.limits and (self.timeout_s is None or time.monotonic() > job.flow.deadline(row, self.limits)):
            return OutOfTime(self._deadline_s)
        return OutOfTime(self.timeout_s, "timeout_s")

    def check_time(self, job: Job, row: Row) -> None:
        """
        Raises:
            OutOfTime: the time that the chains give the row is over.
        """
        if self.limits and time.monotonic() > job.flow.deadline(row, self.limits):
            raise OutOfTime(self._deadline_s)

    def keep(self, row: Row, value: Any, single: Result, seconds: float) -> Result:
        """Writes down what a durable function made of one row, and gives what goes on. In any thread.

        Raises:
            Exception: it cannot be written.
        """
        assert self.durable is not None
        kept, line = self.durable.keep(row, self.durable.key(row, value), single, seconds)
        # Before the row is handed on, since the loop takes what it is given in order.
        self.executor.loop.call_soon_threadsafe(self.log, line)
        return kept

    def produced(self, job: Job, of: tuple[Row, Any], produced: Any, seconds: float) -> Result:
        """What a list function made of one of its rows, given with its value."""
        row, value = of
        result = Result()
        try:
            self.check_time(job, row)
            self.maker.put_children(row, produced, result, always=False)
            return result if self.durable is None else self.keep(row, value, result, seconds)
        except ANYTHING as error:
            failed = Result()
            failed.put_failure(row, self.told(error))
            return failed

    def log(self, line: bytes) -> None:
        self.executor.folder.log_call(self.node.id, line)


class InThreads(Calling):
    """A plain function; also one on lists that is `async`, called on a chunk."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        self._list = (
            ListFunction(self._called, self.own, one_for_one=self.shape.one_for_one)
            if self.shape.takes == "list"
            else None
        )

    def limit(self, row_s: float) -> int:
        """Calls at once."""
        return THREADS if row_s > SLOW_S else 1

    async def run(self, jobs: Sequence[Job], done: Done) -> None:
        started = time.perf_counter()
        if self.timed and self._list is None:
            results = [await self._watched(job) for job in jobs]
        else:
            results = await self.executor.threads.run(self._run_all, jobs)
        row_s = (time.perf_counter() - started) / sum(len(job.rows) for job in jobs)
        for job, result in zip(jobs, results, strict=True):
            done(job, job.rows, result, row_s * len(job.rows))

    async def close(self, *, gently: bool) -> None:
        """Threads end with the run."""

    def _run_all(self, jobs: Sequence[Job]) -> list[Result]:
        if self._list is not None:
            return [self._run_list(job, job.rows) for job in jobs]
        run = self._run_rows if self.durable is None else self._run_kept
        return [run(job) for job in jobs]

    def _run_rows(self, job: Job) -> Result:
        """The plain case, as quick as can be."""
        result = Result()
        fn, maker, own, cast = self.fn, self.maker, self.own, self.maker.cast
        node, made = self.node.index, result.made
        take = None if self.plain_take else self.take
        simple = maker.simple
        here = self.at.here(job.flow, job.rows, job.attempt)
        token = current.set(here)
        try:
            for row in job.rows:
                here.rows = (row,)
                try:
                    out = fn(own(row.value if take is None else take(row)))
                    if simple and out.__class__ is not Drop:
                        made.append(Row(row.id, row.order, cast(out), node, row, row.ticket))
                    else:
                        maker.put(row, out, result)
                except ANYTHING as error:
                    result.failures.append((row, self.told(error), None))
        finally:
            current.reset(token)
        return result

    def _run_kept(self, job: Job) -> Result:
        result = Result()
        here = self.at.here(job.flow, job.rows, job.attempt)
        token = current.set(here)
        try:
            for row in job.rows:
                here.rows = (row,)
                self.one(row, result, None)
        finally:
            current.reset(token)
        return result

    def one(self, row: Row, result: Result, until: float | None) -> None:
        """One row, whatever becomes of it."""
        single = Result()
        try:
            value = self.take(row)
            started = time.perf_counter()
            self.maker.put(row, self.fn(self.own(value)), single)
            if self.durable is not None:
                single = self.keep(row, value, single, time.perf_counter() - started)
        except ANYTHING as error:
            result.put_failure(row, self.told(error), until)
        else:
            result.add(single)

    async def _watched(self, job: Job) -> Result:
        """A row that takes too long is left to itself, with its thread; another goes on with the next."""
        result = Result()
        start = 0
        while start < len(job.rows):
            slice_ = _Slice(self, job, job.rows[start:])
            running = asyncio.ensure_future(self.executor.threads.run(slice_.work))
            try:
                while not running.done():
                    await asyncio.wait([running], timeout=slice_.left_s())
                    if not running.done() and slice_.leave():
                        break
            finally:
                if not running.done():
                    slice_.abandon()
                    running.cancel()
            if slice_.abandoned:
                row = slice_.rows[slice_.at]
                result.final.append((row, self.told(self.out_of_time(job, row))))
                start += slice_.at + 1
            else:
                running.result()
                start = len(job.rows)
            result.add(slice_.result)
        return result

    def _run_list(self, job: Job, rows: Sequence[Row]) -> Result:
        assert self._list is not None
        result = Result()
        values, kept = [], []
        for row in rows:
            try:
                self.check_time(job, row)
                values.append(self.take(row))
                kept.append(row)
            except ANYTHING as error:
                result.put_failure(row, self.told(error))
        if not kept:
            return result
        token = current.set(self.at.here(job.flow, kept, job.attempt))
        started = time.perf_counter()
        try:
            out = self._list(values)
        except UnattributableError as error:
            result.final += [(row, self.told(error)) for row in kept]
            return result
        except ANYTHING as error:
            if len(kept) == 1:
                result.put_failure(kept[0], self.told(error))
            for row in kept if len(kept) > 1 else ():  # one row's error must not take the others with it
                result.add(self._run_list(job, [row]))
            return result
        finally:
            current.reset(token)
        row_s = (time.perf_counter() - started) / len(kept)
        for row, value, produced in zip(kept, values, out, strict=True):
            result.add(self.produced(job, (row, value), produced, row_s))
        return result

    def _called(self, values: list[Any]) -> Sequence[Any]:
        """The list function on a chunk, in a thread; an `async def` runs on the loop meanwhile."""
        return listed(self._on_loop(values) if self.shape.is_async else self.fn(values))

    def _on_loop(self, values: list[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(awaited(self.fn, values), self.executor.loop).result()


class _Slice:
    """Rows that a thread goes through one by one, while the loop looks at how long each takes."""

    def __init__(self, calls: InThreads, job: Job, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.result = Result()
        self.at = 0
        """The row at work."""
        self.abandoned = False
        self._calls = calls
        self._job = job
        self._lock = threading.Lock()
        self._busy = False
        self._until = 0.0

    def work(self) -> None:
        """In a thread."""
        calls, job = self._calls, self._job
        here = calls.at.here(job.flow, self.rows, job.attempt)
        token = current.set(here)
        try:
            for position, row in enumerate(self.rows):
                here.until = own = calls.own_until(job)
                until = calls.until(job, row, own)
                with self._lock:
                    if self.abandoned:
                        return
                    self.at, self._busy, self._until = position, True, until or 0.0
                here.rows = (row,)
                single = Result()
                if until is None or time.monotonic() < until:
                    calls.one(row, single, own)
                if until is not None and time.monotonic() > until:
                    single = Result()  # what it gave too late is not taken
                    single.final.append((row, calls.told(calls.out_of_time(job, row))))
                with self._lock:
                    if self.abandoned:
                        return
                    self._busy = False
                    self.result.add(single)
        finally:
            current.reset(token)

    def left_s(self) -> float:
        """When to look again."""
        with self._lock:
            return max(_LOOK_S, self._until - time.monotonic()) if self._busy else _LOOK_S

    def leave(self) -> bool:
        """Leaves the row that is at work to itself if its time is over. Says whether it was."""
        with self._lock:
            self.abandoned = self._busy and time.monotonic() > self._until
            return self.abandoned

    def abandon(self) -> None:
        with self._lock:
            self.abandoned = True


async def awaited(fn: Callable[[Any], Any], argument: Any) -> Any:
    """What an `async` function or generator gives."""
    out = fn(argument)
    if inspect.isasyncgen(out):
        return [item async for item in out]
    return await out if inspect.isawaitable(out) else out
