"""An apply at work: calls Python on rows or chunks, in threads or tasks. Knows nothing of engines."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import ValidationError

from chainette.chain.context import Here, current
from chainette.chain.shape import Shape
from chainette.executor.attribution import ListFunction, UnattributableError
from chainette.executor.flow import Flow
from chainette.executor.own_copy import OwnCopy
from chainette.executor.wording import error_words, without_addresses
from chainette.files.writable import plain_type, unwritable
from chainette.graph import Node
from chainette.graph.reach import taker
from chainette.graph.types import cast_to
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

Order = tuple[int, ...]
Result = tuple[list[Row], list[tuple[Order, Failure]]]
"""What one call made: rows out, failures."""

_SLICE = 1024
"""Rows of a row function that go to a thread together."""
_SLOW_S = 0.002
"""A function that takes longer a row is given several threads."""
_THREADS = min(32, 4 * (os.cpu_count() or 1))
_TASKS = 256
"""Rows of an `async def` under way at once."""


class ApplyOperator:
    """One apply of a run."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self._executor = executor
        self._router = executor.router
        shape = node.apply.shape
        self._shape = shape
        self._take = taker(node)
        self._plain_take = node.intake.how == "value" and not node.intake.cast
        self._own = OwnCopy(reads_only=shape.reads_only)
        self._deadline_s = executor.graph.chain.deadline_s
        self._cast = _caster(shape)
        self._queue: deque[tuple[Flow, Sequence[Row]]] = deque()
        self._busy = 0
        self._row_s = 0.0
        self._limit = anyio.Semaphore(_TASKS) if shape.is_async else None
        self._list = (
            ListFunction(self._called, self._own, one_for_one=shape.one_for_one) if shape.takes == "list" else None
        )

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        if self._list is not None:
            flow.pending.setdefault(self.node.index, []).extend(rows)
            return
        for start in range(0, len(rows), _SLICE):
            self._queue.append((flow, rows[start : start + _SLICE]))
        self._start()

    def drained(self, flow: Flow) -> None:
        rows = flow.pending.pop(self.node.index, None)
        if rows:
            self._queue.append((flow, sorted(rows, key=lambda row: row.order)))
            self._start()
        else:
            self._router.close_if_empty(flow, self.node.index)

    def _start(self) -> None:
        limit = _THREADS if self._row_s > _SLOW_S or self._shape.is_async else 1
        while self._queue and self._busy < limit:
            self._busy += 1
            self._executor.tasks.start_soon(self._work)

    async def _work(self) -> None:
        try:
            while self._queue and not self._executor.stopping:
                jobs = self._next_jobs()
                rows = sum(len(part) for _, part in jobs)
                self._note_running(jobs)
                started = time.perf_counter()
                try:
                    if self._shape.is_async and self._list is None:
                        results = [(flow, part, await self._run_async(flow, part)) for flow, part in jobs]
                    else:
                        results = await self._executor.threads.run(self._run_all, jobs)
                finally:
                    self._row_s = (time.perf_counter() - started) / rows
                    self._note_ran(jobs)
                for flow, part, (made, failures) in results:
                    self._router.leave(flow, self.node, part, made, failures)
                self._start()
        finally:
            self._busy -= 1

    def _note_running(self, jobs: list[tuple[Flow, Sequence[Row]]]) -> None:
        for flow, part in jobs:
            count = flow.counts[self.node.index]
            count.waiting -= len(part)
            count.running += len(part)

    def _note_ran(self, jobs: list[tuple[Flow, Sequence[Row]]]) -> None:
        for flow, part in jobs:
            count = flow.counts[self.node.index]
            count.running -= len(part)
            count.seconds += self._row_s * len(part)

    def _next_jobs(self) -> list[tuple[Flow, Sequence[Row]]]:
        """One slice; small ones that wait are taken together, so that rows that arrive alone share a thread."""
        jobs = [self._queue.popleft()]
        if self._list is None and self._row_s <= _SLOW_S:
            size = len(jobs[0][1])
            while self._queue and size + len(self._queue[0][1]) <= _SLICE:
                size += len(self._queue[0][1])
                jobs.append(self._queue.popleft())
        return jobs

    def _run_all(self, jobs: list[tuple[Flow, Sequence[Row]]]) -> list[tuple[Flow, Sequence[Row], Result]]:
        run = self._run_list if self._list is not None else self._run_rows
        return [(flow, part, run(flow, part)) for flow, part in jobs]

    def _run_rows(self, flow: Flow, rows: Sequence[Row]) -> Result:
        made: list[Row] = []
        failures: list[tuple[Order, Failure]] = []
        fn, node, cast = self.node.apply.fn, self.node.index, self._cast
        take = None if self._plain_take else self._take
        own = self._own
        simple = self._shape.makes == "one" and self._shape.declared
        timed = self._deadline_s is not None
        here = self._here(flow, rows)
        token = current.set(here)
        try:
            for row in rows:
                here.row_ids = (row.id,)
                try:
                    if timed:
                        self._check_time(flow, row)
                    out = fn(own(row.value if take is None else take(row)))
                    if timed:
                        self._check_time(flow, row)
                    if simple:
                        value = cast(out)
                        made.append(Row(row.id, row.order, value, node, row, row.ticket))
                    else:
                        made += self._rows_of(row, out)
                except _ANYTHING as error:
                    failures.append((row.order, self._failure(row, error)))
        finally:
            current.reset(token)
        return made, failures

    def _run_list(self, flow: Flow, rows: Sequence[Row]) -> Result:
        assert self._list is not None
        made: list[Row] = []
        failures: list[tuple[Order, Failure]] = []
        values, kept = [], []
        for row in rows:
            try:
                self._check_time(flow, row)
                values.append(self._take(row))
                kept.append(row)
            except _ANYTHING as error:
                failures.append((row.order, self._failure(row, error)))
        token = current.set(self._here(flow, kept))
        try:
            out = self._list(values) if values else []
        except UnattributableError as error:
            return made, [*failures, *((row.order, self._failure(row, error)) for row in kept)]
        except _ANYTHING as error:
            if len(kept) == 1:
                return made, [*failures, (kept[0].order, self._failure(kept[0], error))]
            for row in kept:  # one row's error must not take the others with it
                alone_made, alone_failures = self._run_list(flow, [row])
                made += alone_made
                failures += alone_failures
            return made, failures
        finally:
            current.reset(token)
        for row, produced in zip(kept, out, strict=True):
            try:
                self._check_time(flow, row)
                made += self._children(row, produced, always=False)
            except _ANYTHING as error:
                failures.append((row.order, self._failure(row, error)))
        return made, failures

    async def _run_async(self, flow: Flow, rows: Sequence[Row]) -> Result:
        results: list[Result | None] = [None] * len(rows)

        async def one(position: int, row: Row) -> None:
            assert self._limit is not None
            async with self._limit:
                current.set(self._here(flow, [row]))
                try:
                    out = await self._in_time(flow, row)
                    results[position] = (self._rows_of(row, out), [])
                except _ANYTHING as error:
                    if _is_cancelled():
                        raise
                    results[position] = ([], [(row.order, self._failure(row, error))])

        async with anyio.create_task_group() as tasks:
            for position, row in enumerate(rows):
                tasks.start_soon(one, position, row)
        done = [result for result in results if result is not None]
        return [row for made, _ in done for row in made], [found for _, failed in done for found in failed]

    async def _in_time(self, flow: Flow, row: Row) -> Any:
        """What an `async def` gives for one row; it is cancelled when the row's time is over."""
        self._check_time(flow, row)
        left_s = None
        if self._deadline_s is not None:
            left_s = flow.deadline(row, self._deadline_s) - time.monotonic()
        try:
            async with asyncio.timeout(left_s) as limit:
                return await _awaited(self.node.apply.fn, self._own(self._take(row)))
        except TimeoutError:
            if limit.expired():
                raise _OutOfTime(self._deadline_s) from None
            raise

    def _check_time(self, flow: Flow, row: Row) -> None:
        """
        Raises:
            _OutOfTime: the row's time is over. A plain function cannot be stopped: what it gave too late is not taken.
        """
        if self._deadline_s is not None and time.monotonic() > flow.deadline(row, self._deadline_s):
            raise _OutOfTime(self._deadline_s)

    def _rows_of(self, row: Row, out: Any) -> list[Row]:
        """What one row's return value becomes."""
        makes = self._shape.makes
        if makes == "one" and not self._shape.declared:
            makes = "maybe" if out is None else "many" if _is_many(out) else "one"
        if makes == "maybe" and out is None:
            return []
        if makes in ("one", "maybe"):
            value = self._cast(out)
            return [Row(row.id, row.order, value, self.node.index, row, row.ticket)]
        if out is None:
            return []
        return self._children(row, out, always=True)

    def _children(self, row: Row, out: Any, *, always: bool) -> list[Row]:
        """Children `17.0`, `17.1`, …; with `always=False` an only child keeps its parent's id."""
        cast, node = self._cast, self.node.index
        values = [cast(value) for value in out]
        if len(values) == 1 and not always:
            return [Row(row.id, row.order, values[0], node, row, row.ticket)]
        return [
            Row(f"{row.id}.{position}", (*row.order, position), value, node, row, row.ticket)
            for position, value in enumerate(values)
        ]

    def _called(self, values: list[Any]) -> Sequence[Any]:
        """The list function on a chunk, in a thread; an `async def` runs on the loop meanwhile."""
        fn = self.node.apply.fn
        out = self._on_loop(values) if self._shape.is_async else fn(values)
        if out is None:
            raise TypeError("returned None; a list function returns a list")
        if not isinstance(out, Sequence) or isinstance(out, str | bytes):
            if _is_many(out):
                return list(out)
            raise TypeError(f"returned {type(out).__name__}; a list function returns a list")
        return out

    def _on_loop(self, values: list[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(self.node.apply.fn, values), self._executor.loop).result()

    def _here(self, flow: Flow, rows: Sequence[Row]) -> Here:
        here = Here(self._executor.folder.run_id, self.node.id, self._executor.params)
        here.row_ids = tuple([row.id for row in rows])
        deadline_s = self._executor.graph.chain.deadline_s
        if deadline_s is not None and rows:
            left_s = min(flow.deadline(row, deadline_s) for row in rows) - time.monotonic()
            here.deadline = time.time() + left_s
        return here

    def _failure(self, row: Row, error: BaseException) -> Failure:
        if isinstance(error, _OutOfTime):
            return Failure(row.id, self.node.id, "timeout", str(error))
        where = _place(error, self.node.apply.fn)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            message = without_addresses(f"{error.title}: {place + ': ' if place else ''}{first['msg']}")
        else:
            message = error_words(error)
            if not self._shape.declared and self._list is not None and "'list'" in message:
                message += " (without annotations a function gets the list of rows; T -> U gets one)"
        causes = [where] if where else []
        cause = error.__cause__ or error.__context__
        while cause is not None and len(causes) < 8:
            causes.append(error_words(cause))
            cause = cause.__cause__ or cause.__context__
        return Failure(row.id, self.node.id, "apply", message, cause=tuple(causes))


class _OutOfTime(Exception):
    """A row has used up its time."""

    def __init__(self, deadline_s: float | None) -> None:
        super().__init__(f"its time was over ({deadline_s:g} s for a row, deadline_s)")


def _caster(shape: Shape) -> Callable[[Any], Any]:
    """From what the function returned to what the next node and the file get."""
    cast = cast_to(shape.output_type if shape.declared else Any)
    if shape.declared and plain_type(shape.output_type):
        return cast

    def cast_and_look(value: Any) -> Any:
        """
        Raises:
            TypeError: no file could hold it.
        """
        value = cast(value)
        reason = unwritable(value)
        if reason is not None:
            raise TypeError(f"returned {type(value).__name__}, which cannot be written as JSON: {reason}")
        return value

    return cast_and_look


_ANYTHING = (Exception, asyncio.CancelledError, SystemExit, GeneratorExit, KeyboardInterrupt)
"""What user code may raise without ending the run; a row that raises it is a failed row. A person's Ctrl-C comes as a
signal to the main thread and never gets here."""


def _is_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not something that user code waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _awaited(fn: Callable[[Any], Any], argument: Any) -> Any:
    out = fn(argument)
    if inspect.isasyncgen(out):
        return [item async for item in out]
    return await out if inspect.isawaitable(out) else out


def _is_many(out: Any) -> bool:
    return isinstance(out, list | tuple | set) or inspect.isgenerator(out) or hasattr(out, "__next__")


def _place(error: BaseException, fn: Any) -> str:
    """`file:line` of the innermost frame in the function's own file, else of the innermost frame of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    file = getattr(getattr(fn, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
