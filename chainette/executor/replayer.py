"""Takes rows that may have been answered before: what is in the log is judged and handed on, the rest goes to its lane.

So a row whose answer is there never waits for an engine, and an engine that nobody needs is never started.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

from chainette.executor.flow import Flow
from chainette.executor.past import Past
from chainette.executor.threads import Threads
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.step import Asking, StepOperator

_AT_ONCE = 64
"""Few enough that the loop, which serves engines meanwhile, is never held up for long."""


class Replayer:
    """One queue for all steps, emptied by one task, first come first served."""

    def __init__(self, past: Past, threads: Threads) -> None:
        self.past = past
        self._threads = threads
        self._jobs: deque[tuple[StepOperator, Flow, Row, float | None]] = deque()
        self._event = anyio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    def put(self, operator: StepOperator, flow: Flow, row: Row, deadline: float | None) -> None:
        self._jobs.append((operator, flow, row, deadline))
        self._event.set()

    async def run(self) -> None:
        """Until `close`."""
        while not self._closed:
            if not self._jobs:
                self._event = anyio.Event()
                await self._event.wait()
                continue
            jobs = [self._jobs.popleft() for _ in range(min(_AT_ONCE, len(self._jobs)))]
            recalled = await self._threads.run(self._recall, jobs)
            for (operator, flow, row, _), asking in zip(jobs, recalled, strict=True):
                operator.resume(flow, row, asking)

    def _recall(self, jobs: list[tuple[StepOperator, Flow, Row, float | None]]) -> list[Asking | Failure]:
        return [operator.recall(flow, row, deadline, self.past) for operator, flow, row, deadline in jobs]

    def close(self) -> None:
        """What waits stays where it is."""
        self._closed = True
        self._event.set()
