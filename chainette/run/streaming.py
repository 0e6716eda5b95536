"""`chain.stream`: rows as they come out, for code that has an event loop. The run itself is `arun`'s."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from chainette.chain import Chain
from chainette.rows import Row
from chainette.run.options import RunOptions
from chainette.run.result import RunResult
from chainette.run.running import arun

_AHEAD = 4096
"""Rows that wait for the reader of the stream before reading of inputs pauses."""


def stream_chain(
    chain: Chain, inputs: Any, *, as_completed: bool = False, with_ids: bool = False, **options: Any
) -> Stream:
    """See `Chain.stream`."""
    return Stream(chain, inputs, RunOptions.of(**options), as_completed, with_ids)


class Stream:
    """An async iterator over a run that goes on meanwhile. Leaving it cancels the run; `result` is there at its end."""

    def __init__(self, chain: Chain, inputs: Any, options: RunOptions, as_completed: bool, with_ids: bool) -> None:
        self.result: RunResult | None = None
        self._arguments = (chain, inputs, options)
        self._as_completed = as_completed
        self._with_ids = with_ids
        self._rows: deque[Row] = deque()
        self._more = asyncio.Event()
        self._less = asyncio.Event()
        self._task: asyncio.Task[RunResult] | None = None
        self._closed = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._closed:
            raise StopAsyncIteration
        if self._task is None:
            self._start()
        task = self._task
        assert task is not None
        while not self._rows:
            if task.done():
                self.result = task.result()
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        row = self._rows.popleft()
        if len(self._rows) < _AHEAD // 2:
            self._less.set()
        return (row.id, row.value) if self._with_ids else row.value

    async def aclose(self) -> None:
        """Cancels what is in flight and waits until the folder is closed."""
        self._closed = True
        task = self._task
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait([task])

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.cancel()

    def _start(self) -> None:
        # The task must not hold the stream: a loop that is left drops the stream, and that is what cancels the task.
        rows, more, less = self._rows, self._more, self._less
        chain, inputs, options = self._arguments

        def put(made: Sequence[Row]) -> None:
            rows.extend(made)
            more.set()

        async def wait_for_reader() -> None:
            while len(rows) >= _AHEAD:
                less.clear()
                await less.wait()

        def committed(_: int, final: Sequence[Row]) -> Any:
            if not self_completed:
                put(final)
            return wait_for_reader()

        self_completed = self._as_completed
        run = arun(chain, inputs, options, results=committed, finals=put if self_completed else None)
        self._task = asyncio.ensure_future(run)
        self._task.add_done_callback(lambda _: more.set())
