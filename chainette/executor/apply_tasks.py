"""Calls an `async` function on rows, side by side on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from chainette.chain.context import current
from chainette.executor.apply_calls import THREADS, Calling, Done, Job, awaited
from chainette.executor.apply_outcome import Result
from chainette.executor.user_errors import ANYTHING, is_cancelled
from chainette.graph import Node
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_TASKS = 256
"""Rows under way at once."""


class InTasks(Calling):
    """An `async` function on rows. A row goes on when it is ready, whatever the others do."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        self._room = anyio.Semaphore(_TASKS)

    def limit(self, row_s: float) -> int:
        """Jobs at once."""
        return THREADS

    async def run(self, jobs: Sequence[Job], done: Done) -> None:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                for row in job.rows:
                    tasks.start_soon(self._one, job, row, done)

    async def close(self, *, gently: bool) -> None:
        """Tasks end with the run."""

    async def _one(self, job: Job, row: Row, done: Done) -> None:
        result = Result()
        async with self._room:
            own = self.own_until(job)
            started = time.perf_counter()
            try:
                value = self.take(row)
                self.maker.put(row, await self._in_time(job, row, value, own), result)
                if self.durable is not None:
                    result = self.keep(row, value, result, time.perf_counter() - started)
            except ANYTHING as error:
                if is_cancelled():
                    raise
                result = Result()
                result.put_failure(row, self.told(error), own)
        done(job, (row,), result, time.perf_counter() - started)

    async def _in_time(self, job: Job, row: Row, value: Any, own: float | None) -> Any:
        """What the function gives; it is cancelled when the row's time is over."""
        until = self.until(job, row, own) if self.timed else None
        left_s = None if until is None else until - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise self.out_of_time(job, row)
        here = self.at.here(job.flow, (row,), job.attempt)
        here.until = own
        current.set(here)
        try:
            async with asyncio.timeout(left_s) as limit:
                return await awaited(self.fn, self.own(value))
        except TimeoutError:
            if limit.expired():
                raise self.out_of_time(job, row) from None
            raise
