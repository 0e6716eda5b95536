"""What the broker knows of one engine, from its first lease to its end. Decides nothing."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from chainette.engine.hosted import Hosted
from chainette.engine.protocol import Engine
from chainette.specs import EngineSpec


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the broker tells of one engine."""

    name: str
    leases: int
    state: str
    """`starting`, `running`, `asleep` or `dead`."""
    pid: int | None = None
    """Of its first replica; None for what is no process of ours."""
    log: Path | None = None
    idle_s: float = 0.0
    """Since the last lease came back; 0 while there is one."""
    devices: tuple[tuple[int, ...], ...] = ()
    """Per replica."""


@dataclass(eq=False, slots=True)
class Held:
    """One engine of a broker."""

    spec: EngineSpec
    leases: int = 0
    idle_since: float = 0.0
    engine: Engine | None = None
    hosted: Hosted | None = None
    """None for an endpoint."""
    starting: Future[Engine] | None = None
    flushed: bool = False
    timer: threading.Timer | None = None
    """Sweeps when it has been idle for its time."""
    loops: Counter[int] = field(default_factory=Counter)
    """Async leases by event loop, whose connections are closed with its last one."""

    def ready(self) -> bool:
        """Whether it can be used at once. One that died while others hold it is brought back by their calls."""
        if self.engine is None:
            return False
        hosted = self.hosted
        return hosted is None or (not hosted.asleep and (self.leases > 1 or not hosted.dead()))

    def state(self, now: float) -> EngineState:
        hosted = self.hosted
        servers = hosted.servers if hosted is not None else []
        if self.starting is not None:
            words = "starting"
        elif hosted is not None and hosted.asleep:
            words = "asleep"
        else:
            words = "dead" if hosted is not None and hosted.dead() else "running"
        return EngineState(
            self.spec.name,
            self.leases,
            words,
            servers[0].pid if servers else None,
            servers[0].log if servers else None,
            0.0 if self.leases else now - self.idle_since,
            tuple(tuple(device.index for device in seat) for seat in hosted.seats) if hosted is not None else (),
        )
