"""Reads chunks when there is room for them. Knows how full the run is, nothing of what rows hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import anyio

from chainette.executor.lane import Lane
from chainette.executor.outcome import ExecutorOptions
from chainette.rows import InputChunk

if TYPE_CHECKING:
    from chainette.executor.executor import Executor


class Feed:
    """The way in. Open rows are bounded, and so is what waits in front of any engine."""

    def __init__(self, executor: Executor, options: ExecutorOptions, lanes: Sequence[Lane]) -> None:
        self._executor = executor
        self._limit = options.open_rows
        self._lanes = lanes
        self._open_rows = 0
        self._event = anyio.Event()
        self._reading = anyio.CancelScope()

    def wake(self) -> None:
        """Something left: there may be room."""
        self._event.set()

    def left(self, rows: int) -> None:
        self._open_rows -= rows
        self._event.set()

    async def run(self, chunks: Iterator[InputChunk]) -> None:
        """Reads until the input ends or `stop` is called, also while a read waits for rows that may never come."""
        with self._reading:
            while True:
                if not self._room():
                    self._event = anyio.Event()
                    await self._event.wait()
                    continue
                chunk = await self._executor.threads.run(next, chunks, None)
                if chunk is None:
                    return
                self._open_rows += len(chunk.present)
                self._executor.start_flow(chunk)

    def stop(self) -> None:
        self._reading.cancel()

    def _room(self) -> bool:
        if self._open_rows == 0:
            return True
        return self._open_rows < self._limit and all(lane.waiting < 2 * lane.window for lane in self._lanes)
