"""Lets chunks in when there is room for them, from the input or from where they waited for their stage. Knows how full
the run is, nothing of what rows hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import anyio

from chainette.executor.lane import Lane
from chainette.executor.outcome import ExecutorOptions
from chainette.executor.threads import Threads

T = TypeVar("T")


class Feed:
    """The way in. Open rows are bounded, and so is what waits in front of any engine."""

    def __init__(self, threads: Threads, options: ExecutorOptions) -> None:
        self._threads = threads
        self._limit = options.open_rows
        self._lanes: Sequence[Lane] = ()
        self._open_rows = 0
        self._event = anyio.Event()
        self._reading = anyio.CancelScope()
        self._stopped = False

    def serve(self, lanes: Sequence[Lane]) -> None:
        """These are the lanes that chunks are let in for."""
        self._lanes = lanes

    def wake(self) -> None:
        """Something left: there may be room."""
        self._event.set()

    def left(self, rows: int) -> None:
        self._open_rows -= rows
        self._event.set()

    async def run(self, chunks: Iterator[T], enter: Callable[[T], int]) -> None:
        """Reads until there are no more chunks or `stop` is called, also while a read waits for rows that may never
        come. `enter` lets one in and returns how many input rows it has."""
        with anyio.CancelScope() as self._reading:
            while not self._stopped:
                if not self._room():
                    self._event = anyio.Event()
                    await self._event.wait()
                    continue
                chunk = await self._threads.run(next, chunks, None)
                if chunk is None:
                    return
                self._open_rows += enter(chunk)

    def stop(self) -> None:
        self._stopped = True
        self._reading.cancel()

    def _room(self) -> bool:
        if self._open_rows == 0:
            return True
        return self._open_rows < self._limit and all(lane.waiting < 2 * lane.window for lane in self._lanes)
