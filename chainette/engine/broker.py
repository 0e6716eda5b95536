"""The only one that starts and stops engines: counted leases, one start for all who wait, room made where it is needed.

Knows neither chains nor rows, and no backend by name. Any thread and any event loop may ask.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from chainette.devices import Device, Placement, devices_here
from chainette.engine.asking import answers
from chainette.engine.backends import backend_of
from chainette.engine.held import EngineState, Held
from chainette.engine.hosted import Hosted, seats_of
from chainette.engine.lease import Lease
from chainette.engine.live import seat_lock, warm_servers
from chainette.engine.process import end_orphans
from chainette.engine.protocol import Engine
from chainette.engine.replicas import Replicas
from chainette.engine.room import Room
from chainette.engine.tended import Tended
from chainette.errors import EngineStartError, EngineStartGivenUp
from chainette.events import (
    EngineAsleep,
    EngineAwake,
    EngineStarted,
    EngineStarting,
    EngineStopped,
    Listener,
    Warned,
)
from chainette.specs import Capabilities, EngineRegistry, EngineSpec, default_registry

GIVE_UP_S = 5.0
"""How long a flush waits for a start in progress to end."""


class Broker:
    """Engines by spec, each alive at most once. Leaving it as a context manager stops all of them, as does the end of
    the process, however it ends. Warm engines (`chainette warmup`) are used where the spec is the same, and stay."""

    def __init__(
        self,
        registry: EngineRegistry | None = None,
        listener: Listener | None = None,
        *,
        devices: Callable[[], Sequence[Device]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`listener` may be called from the thread that starts or stops an engine. `devices` is asked when the first
        engine needs one; without it they are looked for."""
        self._registry = registry if registry is not None else default_registry
        self._listener = listener
        self._devices = devices or (lambda: devices_here(self._registry.declared_devices).devices)
        self._placements: Mapping[str, Placement] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)
        self._held: list[Held] = []
        self._now: tuple[str, ...] = ()
        self._later: tuple[str, ...] = ()
        self._room: Room | None = None
        self._alive: set[Hosted] = set()
        weakref.finalize(self, _stop_all, self._alive)

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush(force=True)

    def acquire(self, engine: str | EngineSpec) -> Lease:
        """
        Raises:
            ChainError: there is no engine of that name, with the nearest one.
        """
        return Lease(self, self._registry.get(engine) if isinstance(engine, str) else engine)

    def next_stage(
        self, now: Sequence[str], later: Sequence[str] = (), placements: Mapping[str, Placement] | None = None
    ) -> None:
        """What a plan says of the time until it says something else: the engines it takes, and where; those it will
        take later, the first needed first. When room must be made, what is needed last goes first, and what is needed
        at all sleeps, if it can, rather than end."""
        self._now, self._later = tuple(now), tuple(later)
        self._placements = placements or {}
        with self._lock:
            idle = [held for held in self._held if not held.leases and held.hosted is not None]
        for held in idle:
            planned = self._placements.get(held.spec.name)
            assert held.hosted is not None
            if planned is not None and not held.hosted.asleep and held.hosted.placement not in (None, planned):
                self._rest(held, "moves to other devices")

    def _urgency(self, held: Held) -> tuple[int, float]:
        """Small for what may best make room."""
        order = [*self._now, *self._later]
        name = held.spec.name
        return (len(order) - order.index(name) if name in order else -1, held.idle_since)

    def flush(self, force: bool = False) -> None:
        """Stops the engines without a lease; with `force` all of them, which fails their calls with EngineDiedError."""
        self._evict(lambda held: force or not held.leases, "flushed")

    def sweep(self, now: float | None = None) -> list[str]:
        """Stops the engines that have been without a lease for their `idle_timeout_s`; returns their names.

        `now` is on the broker's clock. Also done whenever a lease is taken, and when an engine's time is over.
        """
        instant = self._clock() if now is None else now

        def idle(held: Held) -> bool:
            return not held.leases and instant - held.idle_since >= held.spec.idle_timeout_s

        return self._evict(idle, "idle")

    def statistics(self) -> list[EngineState]:
        with self._lock:
            return [held.state(self._clock()) for held in self._held]

    def hold(self, spec: EngineSpec) -> Held:
        """One lease more."""
        self.sweep()
        with self._lock:
            held = next((h for h in self._held if h.spec == spec), None)
            if held is None:
                held = Held(spec)
                self._held.append(held)
            held.leases += 1
            return held

    def release(self, held: Held) -> None:
        """One lease less."""
        with self._lock:
            held.leases -= 1
            held.idle_since = self._clock()
            if not held.leases and held.engine is None and held.starting is None and held in self._held:
                self._held.remove(held)
            self._returned.notify_all()
            if held.leases or held.hosted is None or held.flushed:
                return
            if held.timer is not None:
                held.timer.cancel()
            held.timer = timer = threading.Timer(min(held.spec.idle_timeout_s, threading.TIMEOUT_MAX), self.sweep)
            timer.daemon = True
        timer.start()

    def starts_at_once(self, held: Held) -> bool:
        """Whether `live` will not block."""
        with self._lock:
            if held.ready():
                return True
        return backend_of(held.spec).base_url(held.spec) is not None

    def live(self, held: Held) -> Engine:
        """The engine, started or woken if need be; blocks. One thread starts it, the others wait for the outcome."""
        while True:
            with self._lock:
                if held.ready():
                    assert held.engine is not None
                    return held.engine
                starting = held.starting
                if starting is None:
                    mine = held.starting = Future()
                    break
            try:
                return starting.result()
            except EngineStartGivenUp:  # by who began it; who still waits begins again
                if held.flushed:
                    raise
        try:
            engine = self._wake(held) or self._start(held)
        except BaseException as error:
            with self._lock:
                held.starting = None
            mine.set_exception(error)
            raise
        with self._lock:
            held.engine, held.starting = engine, None
            held.idle_since = self._clock()
        mine.set_result(engine)
        return engine

    def _start(self, held: Held) -> Engine:
        self._forget(held)
        spec, backend = held.spec, backend_of(held.spec)
        known = backend.capabilities(spec)
        if backend.base_url(spec) is not None:
            engine = backend.connect(spec, None, self._warn)
            self._say(EngineStarted(spec.name, known.description, 0.0, warm=True))
            return engine
        hosted = self._attached(spec)
        if hosted is not None:
            self._say(EngineStarted(spec.name, known.description, 0.0, warm=True, replicas=len(hosted.seats)))
        elif known.ready:
            raise EngineStartError(f'engine "{spec.name}": {known.ready}')
        else:
            hosted = self._started(held, known)
        held.hosted = hosted
        return Replicas(Tended(hosted, self._say))

    def _started(self, held: Held, known: Capabilities) -> Hosted:
        spec, began = held.spec, time.monotonic()
        backend = backend_of(spec)
        if spec.name in self._later:
            spec = backend.with_sleep(spec) or spec
        spec = backend.settled(spec)
        room = self._room_for(known)
        with contextlib.ExitStack() as seated:
            hosted = Hosted(spec, [()])
            if room is not None:
                placement = self._take_room(held, room, seated)
                hosted = Hosted(spec, seats_of(placement, room.devices), share=room.share_of(spec))
            self._alive.add(hosted)
            self._say(EngineStarting(spec.name, known.description))
            try:
                hosted.start(lambda: held.flushed or not held.leases, begun=seated.close)
            except BaseException:
                self._alive.discard(hosted)
                self._give_room(held)
                raise
        if held.flushed:
            self._end(hosted)
            raise EngineStartGivenUp(f'engine "{spec.name}" was stopped while it started')
        took_s = time.monotonic() - began
        self._say(EngineStarted(spec.name, known.description, took_s, replicas=len(hosted.seats)))
        return hosted

    def _attached(self, spec: EngineSpec) -> Hosted | None:
        """The warm engine made from the same spec, if there is one and it answers."""
        warm = warm_servers(spec)
        if not warm or not all(answers(one.url, one.api_key) for one in warm):
            return None
        hosted = Hosted.attach(spec.model_copy(update={"grammar": warm[0].grammar}), warm)
        self._alive.add(hosted)
        return hosted

    def _room_for(self, known: Capabilities) -> Room | None:
        """The devices it needs a seat on; None for an engine that takes none."""
        if not known.on_devices:
            return None
        with self._lock:
            if self._room is None:
                self._room = Room(self._devices())
        return None if known.on_cpu and not self._room.devices else self._room

    def _take_room(self, held: Held, room: Room, seated: contextlib.ExitStack) -> Placement:
        """Devices for the engine, made free where idle engines have them; waits for leased ones to come back.

        `seated` then holds the lock that keeps others from looking for room until they can see what was taken.

        Raises:
            EngineStartError: it does not fit, with the arithmetic.
        """
        spec, deadline = held.spec, time.monotonic() + held.spec.start_timeout_s
        end_orphans()
        while True:
            with contextlib.ExitStack() as locked:
                locked.enter_context(seat_lock())
                placement = self._fit(held, room)
                if placement is not None:
                    seated.push(locked.pop_all())
                    return placement
            with self._returned:
                if held.flushed or not held.leases:
                    raise EngineStartGivenUp(f'engine "{spec.name}" was stopped while it waited for room')
                # Leased ones, and those that are being stopped, give it back; idle ones have made room above.
                waits = room.held_beside(held) and room.ever_fits(spec)
                if not waits or time.monotonic() > deadline:
                    raise EngineStartError(f'engine "{spec.name}" does not fit: {room.shortage(spec)}')
                self._returned.wait(1.0)

    def _fit(self, held: Held, room: Room) -> Placement | None:
        """Takes devices for it, if idle engines leave or make enough room."""
        spec = held.spec
        while True:
            with self._lock:
                placement = room.fit(spec, self._placements.get(spec.name))
                if placement is not None:
                    room.take(held, placement, spec)
                    return placement
                idle = [h for h in self._held if h is not held and not h.leases and room.holds(h)]
            if not idle:
                return None
            self._rest(min(idle, key=self._urgency), f"makes room for {spec.name}")

    def _rest(self, held: Held, reason: str) -> None:
        """Takes an idle engine's devices away: it sleeps if it will be needed again and can, else it is ended."""
        with self._lock:
            if held.leases or held not in self._held:
                return
            hosted = held.hosted
            assert hosted is not None
            sleeps = held.spec.name in self._later and hosted.sleeps and hosted.has_host_memory()
            if sleeps:
                hosted.asleep = True  # whoever takes a lease from here on waits until it has been woken
            else:
                self._held.remove(held)
        if not sleeps:
            self._stop([held], reason)
        elif hosted.sleep():
            self._give_room(held)
            self._say(EngineAsleep(held.spec.name, reason))
        else:
            self._forget(held)
            self._say(EngineStopped(held.spec.name, reason))

    def _wake(self, held: Held) -> Engine | None:
        """The engine, if it was asleep and comes back."""
        hosted = held.hosted
        if hosted is None or held.engine is None or not hosted.asleep or hosted.dead():
            return None
        room = self._room_for(backend_of(held.spec).capabilities(held.spec))
        began = time.monotonic()
        with contextlib.ExitStack() as seated:
            # Whoever is still putting it to sleep holds the lock until that is done.
            seated.enter_context(seat_lock())
            seated.close()
            if room is not None:
                self._take_room(held, room, seated)
        if not hosted.wake():
            return None
        self._say(EngineAwake(held.spec.name, time.monotonic() - began))
        return held.engine

    def _forget(self, held: Held) -> None:
        """Makes room for a new start after a death."""
        if held.hosted is not None:
            self._end(held.hosted)
            self._give_room(held)
        held.engine = held.hosted = None

    def _end(self, hosted: Hosted) -> None:
        hosted.stop()
        self._alive.discard(hosted)

    def _give_room(self, held: Held) -> None:
        with self._lock:
            if self._room is not None:
                self._room.give(held)
                self._returned.notify_all()

    def _evict(self, which: Callable[[Held], bool], reason: str) -> list[str]:
        with self._lock:
            evicted = [held for held in self._held if which(held)]
            self._held = [held for held in self._held if held not in evicted]
            for held in evicted:
                held.flushed = True
        self._stop(evicted, reason)
        return [held.spec.name for held in evicted]

    def _stop(self, evicted: Sequence[Held], reason: str) -> None:
        for held in evicted:
            held.flushed = True
            if held.timer is not None:
                held.timer.cancel()
            if held.starting is not None:
                # Until the start is given up; one that still fetches its model will stop by itself when it comes to it.
                with contextlib.suppress(TimeoutError, CancelledError):
                    held.starting.exception(GIVE_UP_S)
            hosted = held.hosted
            if hosted is not None:
                self._end(hosted)
                if not hosted.warm:
                    self._say(EngineStopped(held.spec.name, reason))
            self._give_room(held)

    def _warn(self, message: str) -> None:
        self._say(Warned(message))

    def _say(self, event: Any) -> None:
        if self._listener is not None:
            self._listener(event)


def _stop_all(alive: set[Hosted]) -> None:
    while alive:
        alive.pop().stop()
