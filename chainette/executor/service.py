"""Serves a lane: leases its engine when the first row waits and keeps as many workers as the engine's window.

Knows rows only as jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import anyio

from chainette.engine.protocol import Engine
from chainette.events import EngineCount, NodeCount
from chainette.executor.feed import Feed
from chainette.executor.lane import Lane

if TYPE_CHECKING:
    from chainette.executor.step import StepOperator


class Engines(Protocol):
    """Where live engines come from."""

    def acquire(self, name: str) -> AbstractAsyncContextManager[Engine]: ...


class LaneService:
    """One lane at work, from its first row to its last."""

    def __init__(self, lane: Lane, steps: Sequence[StepOperator], engines: Engines, feed: Feed, *, lazy: bool) -> None:
        self.lane = lane
        self._steps = steps
        self._engines = engines
        self._feed = feed
        self._lazy = lazy
        self._starting: anyio.CancelScope | None = None

    async def run(self) -> None:
        """Returns when the lane is closed and no call is in flight."""
        lane = self.lane
        if self._lazy:
            await lane.more()
        if lane.closed:
            return
        async with AsyncExitStack() as stack:
            engine = await self._start(stack)
            if engine is None or lane.closed:
                return
            lane.window = engine.window
            for step in self._steps:
                step.bind(engine)
            self._feed.wake()
            async with anyio.create_task_group() as workers:
                for _ in range(engine.window):
                    workers.start_soon(self._work)

    async def _start(self, stack: AsyncExitStack) -> Engine | None:
        """The engine, or None when the run was stopped before it was there."""
        self._starting = scope = anyio.CancelScope()
        engine = None
        try:
            with scope:
                engine = await stack.enter_async_context(self._engines.acquire(self.lane.name))
        except anyio.get_cancelled_exc_class():
            if not scope.cancel_called:
                raise
        self._starting = None
        return engine

    def close(self) -> None:
        """No further row is taken; an engine that is still starting is given up."""
        self.lane.close()
        if self._starting is not None:
            self._starting.cancel()

    def count(self, nodes: Mapping[str, NodeCount]) -> EngineCount:
        """What the lane's engine is doing; `nodes` are the counts of all nodes."""
        lane = self.lane
        served = [nodes[step.node.id] for step in self._steps]
        return EngineCount(
            window=lane.window,
            running=lane.running,
            waiting=lane.waiting,
            calls=sum(count.calls for count in served),
            errors=sum(count.failed for count in served),
            prompt_tokens=sum(count.prompt_tokens for count in served),
            completion_tokens=sum(count.completion_tokens for count in served),
            busy_s=sum(count.seconds for count in served),
        )

    async def _work(self) -> None:
        lane = self.lane
        while True:
            job = lane.take()
            if job is None:
                if lane.closed:
                    return
                await lane.more()
                continue
            operator, flow, row, deadline, asking = job
            lane.running += 1
            if lane.waiting < 2 * lane.window:
                self._feed.wake()
            await operator.serve(flow, row, deadline, asking)
            lane.running -= 1
