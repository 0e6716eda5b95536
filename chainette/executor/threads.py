"""Threads for user code: functions and input iterators. Knows nothing of what runs in them.

They are daemons, unlike anyio's worker threads: a function that never returns must not keep the process alive after the
second Ctrl-C. https://docs.python.org/3/library/threading.html#thread-objects
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class Threads:
    """As many threads as there are functions at work; those that are free are used again."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._closed = False

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """What `function(*args)` returns or raises. When the caller is cancelled, the function is left to itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        worker = self._idle.pop() if self._idle else _Worker(self)
        worker.jobs.put((loop, future, contextvars.copy_context(), lambda: function(*args)))
        return await future

    def close(self) -> None:
        """Free threads end now, the others when their function returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().jobs.put(None)

    def free(self, worker: _Worker) -> None:
        """Called on the loop when a worker has done its job."""
        if self._closed:
            worker.jobs.put(None)
        else:
            self._idle.append(worker)


class _Worker:
    def __init__(self, threads: Threads) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = threads
        threading.Thread(target=self._work, name="chainette-function", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            loop, future, context, function = job
            try:
                result, error = context.run(function), None
            except BaseException as raised:
                result, error = None, raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._settle, future, result, error)
            del job, future, function, result, error

    def _settle(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._threads.free(self)
        if future.done():
            return
        if isinstance(error, StopIteration):  # a future cannot carry it
            error = RuntimeError(f"StopIteration: {error}")
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
