"""Serves a lane: leases its engine when the first row waits and keeps as many workers as the engine's window.

Knows rows only as jobs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.abc

from chainette.devices import Placement
from chainette.engine.protocol import Engine
from chainette.executor.feed import Feed
from chainette.executor.lane import Lane

if TYPE_CHECKING:
    from chainette.executor.step import StepOperator


class Engines(Protocol):
    """Where live engines come from."""

    def acquire(self, name: str) -> AbstractAsyncContextManager[Engine]: ...

    def next_stage(self, now: Sequence[str], later: Sequence[str], placements: Mapping[str, Placement]) -> None:
        """Said when a stage begins: the engines it takes, those that later stages take, the first needed
        first, and where the plan wants them."""
        ...


class LaneService:
    """One lane at work, from its first row to its last."""

    def __init__(self, lane: Lane, steps: Sequence[StepOperator], engines: Engines, feed: Feed, *, lazy: bool) -> None:
        self.lane = lane
        self._steps = steps
        self._engines = engines
        self._feed = feed
        self._lazy = lazy
        self._starting: anyio.CancelScope | None = None
        self._engine: Engine | None = None
        self._workers: anyio.abc.TaskGroup
        self._at_work = 0
        """Workers there are, idle ones included."""
        self._since_s: float | None = None
        self._up_s = 0.0

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
            self._engine, self._since_s = engine, time.monotonic()
            try:
                await self._serve(engine)
            finally:
                self._up_s, self._since_s = self.up_s, None

    async def _serve(self, engine: Engine) -> None:
        for step in self._steps:
            step.bind(engine)
        async with anyio.create_task_group() as beside:
            beside.start_soon(engine.attend)
            async with anyio.create_task_group() as self._workers:
                engine.follow(self._follow_window)
                self._follow_window()
            beside.cancel_scope.cancel()

    def _follow_window(self) -> None:
        """As many workers as the window has; those that are too many end when their call has."""
        lane = self.lane
        if lane.closed or self._engine is None:
            return
        lane.window = max(1, self._engine.window)
        if self._at_work > lane.window:
            lane.wake()
        while self._at_work < lane.window:
            self._at_work += 1
            self._workers.start_soon(self._work)
        self._feed.wake()

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

    @property
    def up_s(self) -> float:
        """How long the lane has had its engine."""
        return self._up_s + (time.monotonic() - self._since_s if self._since_s is not None else 0.0)

    @property
    def devices(self) -> int:
        """How many its engine has for itself."""
        return self._engine.devices if self._engine is not None else 0

    @property
    def held_by(self) -> str:
        """What the lane's next call waits for besides the window; empty where it does not."""
        return self._engine.held_by if self._since_s is not None and self._engine is not None else ""

    async def _work(self) -> None:
        lane = self.lane
        while self._at_work <= lane.window:
            job = lane.take()
            if job is None:
                if lane.closed:
                    break
                await lane.more()
                continue
            operator, flow, row, deadline, asking = job
            lane.running += 1
            if lane.waiting < 2 * lane.window:
                self._feed.wake()
            await operator.serve(flow, row, deadline, asking)
            lane.running -= 1
        self._at_work -= 1
