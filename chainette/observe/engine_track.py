"""What one engine did in one process: starting, ready, asleep, stopped; replicas dead; calls held back. Knows no
calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chainette.events import (
    EngineAsleep,
    EngineAwake,
    EngineDied,
    EngineStarted,
    EngineStarting,
    EngineStopped,
    EngineThrottled,
    EngineUnthrottled,
    Event,
)

EngineState = Literal["starting", "ready", "asleep", "waking", "stopped"]


@dataclass(slots=True)
class EngineSpan:
    state: EngineState
    start_s: float
    end_s: float
    reason: str = ""
    """Why it fell asleep or was stopped, or what it is, in words."""


@dataclass(slots=True)
class DeadSpan:
    """A replica is gone, until another stands in its place."""

    replica: int
    start_s: float
    end_s: float
    why: str = ""


@dataclass(slots=True)
class ThrottledSpan:
    """Calls waited for a rate limit, or for an endpoint that wants to be left alone."""

    start_s: float
    end_s: float
    reason: str = ""
    held_s: float = 0.0
    """Of this time; what is not over has not said it yet."""


MOST_REPLICAS = 4096
"""That are told apart: who made the folder may say any number."""
_OPEN = float("inf")


@dataclass(slots=True)
class EngineTrack:
    engine: str
    began_s: float
    """When the process began."""
    description: str = ""
    replicas: int = 1
    warm: bool = False
    """It was there already, and stayed."""
    spans: list[EngineSpan] = field(default_factory=list)
    """In order, without gaps from the first on; before it, the engine was not there."""
    dead: list[DeadSpan] = field(default_factory=list)
    throttled: list[ThrottledSpan] = field(default_factory=list)
    starts: int = 0
    deaths: int = 0

    def take(self, at_s: float, event: Event) -> None:
        match event:
            case EngineStarting():
                self.description = event.description
                self._enter("starting", at_s, event.description)
            case EngineStarted(replica=None):
                self._started(at_s, event)
            case EngineStarted():
                for gone in self.dead:
                    if gone.replica == event.replica and gone.end_s == _OPEN:
                        gone.end_s = at_s
            case EngineDied():
                self.deaths += 1
                self.replicas = max(self.replicas, min(event.replica + 1, MOST_REPLICAS))
                if not any(gone.replica == event.replica and gone.end_s == _OPEN for gone in self.dead):
                    self.dead.append(DeadSpan(event.replica, at_s, _OPEN, event.why))
            case EngineAsleep():
                self._enter("asleep", at_s, event.reason)
            case EngineAwake():
                self._enter("waking", at_s - event.seconds)
                self._enter("ready", at_s)
            case EngineStopped():
                self._enter("stopped", at_s, event.reason)
            case EngineThrottled():
                if not self.throttled or self.throttled[-1].end_s != _OPEN:
                    self.throttled.append(ThrottledSpan(at_s, _OPEN, event.reason))
            case EngineUnthrottled():
                if self.throttled and self.throttled[-1].end_s == _OPEN:
                    self.throttled[-1].end_s, self.throttled[-1].held_s = at_s, event.held_s

    def _started(self, at_s: float, event: EngineStarted) -> None:
        self.starts += 1
        self.description, self.warm = event.description, event.warm
        self.replicas = max(1, min(event.replicas, MOST_REPLICAS))
        if event.seconds > 0 and (not self.spans or self.spans[-1].state != "starting"):
            self._enter("starting", at_s - event.seconds, event.description)
        self._enter("ready", at_s)
        for gone in self.dead:
            gone.end_s = min(gone.end_s, at_s)

    def _enter(self, state: EngineState, at_s: float, reason: str = "") -> None:
        """From then on; what was before ends there, at its own beginning at the earliest."""
        at_s = max(at_s, self.began_s)
        if self.spans:
            before = self.spans[-1]
            at_s = max(at_s, before.start_s)
            before.end_s = at_s
            if state in ("stopped", "asleep"):
                self._settle(at_s)
        self.spans.append(EngineSpan(state, at_s, _OPEN, reason))

    def _settle(self, at_s: float) -> None:
        others: tuple[DeadSpan | ThrottledSpan, ...] = (*self.dead, *self.throttled)
        for span in others:
            span.end_s = max(span.start_s, min(span.end_s, at_s))

    def end(self, at_s: float) -> None:
        """The process is over, or this is as far as it is known."""
        for span in self.spans:
            span.end_s = max(span.start_s, min(span.end_s, at_s))
        self._settle(at_s)

    def reach(self, before_s: float, at_s: float) -> None:
        """What lasted until `before_s` lasts until `at_s`."""
        lasting: tuple[EngineSpan | DeadSpan | ThrottledSpan, ...] = (*self.spans[-1:], *self.dead, *self.throttled)
        for span in lasting:
            if span.end_s == before_s:
                span.end_s = at_s
