"""The servers of an engine as its client needs them: how to talk to one, how to get a new one, whom to tell. Starts
none itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from chainette.engine.backends import Running, backend_of
from chainette.engine.endpoint import EndpointEngine
from chainette.engine.hosted import Hosted
from chainette.events import EngineDied, EngineStarted, Event, Warned


class Tended:
    """One engine's servers, with somebody who is told what happens to them. Any thread may call."""

    def __init__(self, hosted: Hosted, say: Callable[[Event], None]) -> None:
        self.spec = hosted.spec
        self.devices = hosted.device_count
        self._hosted = hosted
        self._say = say

    @property
    def running(self) -> list[Running]:
        """As they are now, in the replicas' order."""
        return self._hosted.running

    def connect(self, running: Running) -> EndpointEngine:
        engine = backend_of(self.spec).connect(self.spec, running, lambda message: self._say(Warned(message)))
        return cast("EndpointEngine", engine)

    def revive(self, replica: int, dead: Running, why: str) -> Running:
        """The server that now takes the place of a dead one. Blocks.

        Raises:
            EngineStartError: it did not come up.
            EngineStartGivenUp: the engine was ended meanwhile.
        """
        name = self.spec.name
        began: list[float] = []

        def restarting() -> None:
            began.append(time.monotonic())
            self._say(EngineDied(name, replica, why))

        running = self._hosted.revive(replica, dead, restarting)
        if began:
            known, took_s = backend_of(self.spec).capabilities(self.spec), time.monotonic() - began[0]
            replicas = len(self._hosted.seats)
            self._say(EngineStarted(name, known.description, took_s, replica=replica, replicas=replicas))
        return running

    def given_up(self, replica: int, why: str) -> None:
        """It will not be started again."""
        self._say(Warned(f'replica {replica} of engine "{self.spec.name}" is given up: {why}'))
