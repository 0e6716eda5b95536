"""The stages of a run, one after the other: which engines are at work, which chunks come in, when a stage is over.

Knows chunks as under way or at rest, and nothing of what operators do with rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import anyio.to_thread

from chainette.events import EngineCount, Event, NodeCount, StageFinished, StageStarted
from chainette.executor.feed import Feed
from chainette.executor.flow import Flow
from chainette.executor.lane import Lane
from chainette.executor.service import Engines, LaneService
from chainette.executor.step import StepOperator
from chainette.executor.throttle import Throttle
from chainette.plan import Plan
from chainette.rows import InputChunk

if TYPE_CHECKING:
    from chainette.executor.executor import Executor
    from chainette.executor.run_scope import RunBarrier


class Stages:
    """A lane and its service per stage and engine; only those of one stage are at work."""

    def __init__(
        self,
        executor: Executor,
        plan: Plan,
        engines: Engines,
        feed: Feed,
        steps: Sequence[StepOperator],
        barriers: Sequence[RunBarrier] = (),
    ) -> None:
        self._executor = executor
        self._plan = plan
        self._engines = engines
        self._feed = feed
        self._steps: list[list[StepOperator]] = [[] for _ in plan.stages]
        for step in steps:
            self._steps[plan.stage_of.get(step.node.index, 0)].append(step)
        self._barriers = {plan.stage_of[barrier.node.index]: barrier for barrier in barriers}
        """By the stage that each begins."""
        self._services = [self._services_of(number) for number in range(len(plan.stages))]
        self._throttles = {name: Throttle(name) for name in plan.engines}
        self._now = 0
        self._resting: deque[Flow] = deque()
        self._parking = False
        self._event = anyio.Event()

    async def run(self, chunks: Iterator[InputChunk]) -> None:
        """Returns when the last stage is over, or, when the executor stops, when no call is in flight any more."""
        shown = {node.id for node in self._executor.graph.shown}
        for number in range(len(self._services)):
            if number and not self._executor.parking.waits_for(number):
                continue  # nobody needs its engines
            self._now = number
            stage = self._plan.stages[number]
            nodes = tuple(id for id in stage.nodes if id in shown)
            self._executor.say(StageStarted(number, len(self._services), nodes, stage.engines))
            try:
                await self._run_stage(chunks)
            finally:
                for throttled in self._throttles.values():
                    self._say(throttled.end())
                self._executor.say(StageFinished(number))
            if self._executor.stopping:
                return

    def say_throttled(self) -> None:
        """Which engines' calls wait for more than the window, or do so no longer. To be called a few times a second."""
        now_s = time.monotonic()
        for name, service in self._services[self._now].items():
            self._say(self._throttles[name].look(service.held_by, now_s))

    def _say(self, event: Event | None) -> None:
        if event is not None:
            self._executor.say(event)

    def settled(self, flow: Flow) -> None:
        """No row of the chunk can move before a later stage."""
        flow.settled_s = time.monotonic()
        self._resting.append(flow)
        self._event.set()

    def close(self) -> None:
        """No further row is taken, no chunk parked."""
        for service in self._services[self._now].values():
            service.close()
        if self._now in self._barriers:
            self._barriers[self._now].stop()
        self._event.set()

    def finish(self) -> None:
        """The run is over: what barriers still have on disk is given back."""
        for barrier in self._barriers.values():
            barrier.close()

    def in_flight(self) -> bool:
        """Whether a call is under way, or a chunk on its way to the disk."""
        return self._parking or any(service.lane.running for service in self._services[self._now].values())

    def count(self, nodes: Mapping[str, NodeCount]) -> dict[str, EngineCount]:
        """What each engine is doing, and what it did in all stages so far."""
        return {name: self._count(name, nodes) for name in self._plan.engines}

    def _count(self, name: str, nodes: Mapping[str, NodeCount]) -> EngineCount:
        services = [services[name] for services in self._services if name in services]
        served = [nodes[step.node.id] for steps in self._steps for step in steps if self._engine_of(step) == name]
        here = self._services[self._now].get(name)
        return EngineCount(
            window=here.lane.window if here is not None else 0,
            running=here.lane.running if here is not None else 0,
            waiting=here.lane.waiting if here is not None else 0,
            calls=sum(count.calls for count in served),
            errors=sum(count.failed for count in served),
            prompt_tokens=sum(count.prompt_tokens for count in served),
            completion_tokens=sum(count.completion_tokens for count in served),
            cached_tokens=sum(count.cached_tokens for count in served),
            busy_s=sum(count.seconds for count in served),
            devices=max(service.devices for service in services),
            up_s=sum(service.up_s for service in services),
        )

    def _engine_of(self, step: StepOperator) -> str:
        return self._plan.engine_of[step.node.index]

    def _services_of(self, number: int) -> dict[str, LaneService]:
        services = {}
        for name, spec in self._plan.engines.items():
            steps = [step for step in self._steps[number] if self._engine_of(step) == name]
            if steps:
                lane = Lane(name, [(step.node.index, step.node.step.priority, step.node.depth) for step in steps])
                was_there = any(self._engine_of(step) == name for former in self._steps[:number] for step in former)
                lazy = spec.lazy or was_there
                services[name] = LaneService(lane, steps, self._engines, self._feed, lazy=lazy)
        return services

    async def _run_stage(self, chunks: Iterator[InputChunk]) -> None:
        services = self._services[self._now]
        stage, *others = self._plan.stages[self._now :]
        later = list(dict.fromkeys(name for other in others for name in other.engines))
        self._engines.next_stage(stage.engines, later, stage.placements)
        for step in self._steps[self._now]:
            step.lane = services[self._engine_of(step)].lane
        self._feed.serve([service.lane for service in services.values()])
        async with anyio.create_task_group() as tasks:
            for service in services.values():
                tasks.start_soon(service.run)
            parker = anyio.CancelScope()
            if self._now + 1 < len(self._services):
                tasks.start_soon(self._park, parker)
            await self._read(chunks)
            await self._executor.settled()
            self.close()
            parker.cancel()

    async def _read(self, chunks: Iterator[InputChunk]) -> None:
        if not self._now:
            await self._executor.read(self._feed, chunks)
            return
        flows, barrier = self._executor.parking.flows(self._now), self._barriers.get(self._now)
        if barrier is not None:
            await self._wait_at(barrier)
            flows = barrier.hands(flows)
        if not self._executor.stopping:
            await self._feed.run(flows, self._bring_back)

    async def _wait_at(self, barrier: RunBarrier) -> None:
        """Returns when the rows behind it are there, or when the executor stops."""
        error = self._executor.outcome.error
        if error is not None:  # the input broke off, and the function would see a part of it
            self._executor.stop(self._executor.outcome.stopped)
        else:
            await barrier.run()

    def _bring_back(self, flow: Flow) -> int:
        """A chunk that waited for this stage is under way again. Returns its rows."""
        self._executor.bring_back(flow)
        for step in self._steps[self._now]:
            if step.node.index in flow.parked:
                step.take_back(flow)
        if self._now in self._barriers:
            self._barriers[self._now].give(flow)
        return len(flow.inputs.present)

    async def _park(self, scope: anyio.CancelScope) -> None:
        """Takes chunks at rest out of memory, until the stage is over."""
        with scope:
            while not self._executor.stopping:
                if not self._resting:
                    self._event = anyio.Event()
                    await self._event.wait()
                    continue
                self._parking = True
                try:
                    flow = self._resting.popleft()
                    await anyio.to_thread.run_sync(self._put_away, flow)
                    self._executor.parked(flow)
                finally:
                    self._parking = False

    def _put_away(self, flow: Flow) -> None:
        for barrier in self._barriers.values():
            if barrier.node.index in flow.pending and not flow.parked:
                barrier.note(flow)
        self._executor.parking.put(flow)
