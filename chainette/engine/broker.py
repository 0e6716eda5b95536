"""The only one that starts and stops engines: counted leases, one start for all who wait, eviction when idle.

Knows neither chains nor rows, and no backend by name. Any thread and any event loop may ask.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chainette.engine.backends import Running, backend_of
from chainette.engine.protocol import Engine
from chainette.errors import ChainError, EngineStartError
from chainette.events import EngineStarted, EngineStarting, EngineStopped, Listener, Warned
from chainette.specs import EngineRegistry, EngineSpec, default_registry, engines_here

if TYPE_CHECKING:
    from chainette.engine.process import ServerProcess

GIVE_UP_S = 5.0
"""How long a flush waits for a start in progress to end."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the broker knows of one engine."""

    name: str
    leases: int
    state: str
    """`starting`, `running` or `dead`."""
    pid: int | None = None
    """None for what is no process of ours."""
    log: Path | None = None
    idle_s: float = 0.0
    """Since the last lease came back; 0 while there is one."""


@dataclass(eq=False, slots=True)
class _Held:
    """One engine, from the first lease to its stop."""

    spec: EngineSpec
    leases: int = 0
    idle_since: float = 0.0
    engine: Engine | None = None
    process: ServerProcess | None = None
    starting: Future[Engine] | None = None
    flushed: bool = False
    loops: Counter[int] = field(default_factory=Counter)
    """Async leases by event loop, whose connections are closed with its last one."""

    def dead(self) -> bool:
        return self.process is not None and self.process.died() is not None


class Lease:
    """A counted hold on an engine, for `with` or `async with`. The engine is started when the block is entered.

    Raises:
        ChainError: there is no engine of that name.
        EngineStartError: it did not come up; the message ends with the last lines of its log.
    """

    def __init__(self, broker: Broker, spec: EngineSpec) -> None:
        self._broker = broker
        self._spec = spec
        self._held: list[_Held] = []

    def __enter__(self) -> Engine:
        held = self._broker._hold(self._spec)
        try:
            engine = self._broker._live(held)
        except BaseException:
            self._broker._release(held)
            raise
        self._held.append(held)
        return engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker._release(self._held.pop())

    async def __aenter__(self) -> Engine:
        import anyio

        held = self._broker._hold(self._spec)
        try:
            if self._broker._starts_at_once(held):
                engine = self._broker._live(held)
            else:
                # Not one of the shared worker threads: a start may take minutes. Cancelled, it is given up.
                engine = await anyio.to_thread.run_sync(
                    self._broker._live, held, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
                )
        except BaseException:
            self._broker._release(held)
            raise
        held.loops[_loop_id()] += 1
        self._held.append(held)
        return engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import anyio

        held = self._held.pop()
        loop = _loop_id()
        held.loops[loop] -= 1
        try:
            if not held.loops[loop]:
                del held.loops[loop]
                if held.engine is not None:
                    with anyio.CancelScope(shield=True):
                        await held.engine.aclose()
        finally:
            self._broker._release(held)


class Broker:
    """Engines by spec, each alive at most once. Leaving it as a context manager stops all of them, as does the end of
    the process, however it ends."""

    def __init__(
        self,
        registry: EngineRegistry | None = None,
        listener: Listener | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`listener` may be called from the thread that starts or stops an engine."""
        self._registry = registry if registry is not None else default_registry
        self._listener = listener
        self._clock = clock
        self._lock = threading.Lock()
        self._held: list[_Held] = []
        self._processes: set[ServerProcess] = set()
        weakref.finalize(self, _stop_all, self._processes)

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

    def flush(self, force: bool = False) -> None:
        """Stops the engines without a lease; with `force` all of them, which fails their calls with EngineDiedError."""
        self._evict(lambda held: force or not held.leases, "flushed")

    def sweep(self, now: float | None = None) -> list[str]:
        """Stops the engines that have been without a lease for their `idle_timeout_s`; returns their names.

        `now` is on the broker's clock. Also done whenever a lease is taken or given back.
        """
        instant = self._clock() if now is None else now

        def idle(held: _Held) -> bool:
            return not held.leases and instant - held.idle_since >= held.spec.idle_timeout_s

        return self._evict(idle, "idle")

    def statistics(self) -> list[EngineState]:
        with self._lock:
            return [self._state(held) for held in self._held]

    def _state(self, held: _Held) -> EngineState:
        process = held.process
        return EngineState(
            held.spec.name,
            held.leases,
            "starting" if held.starting is not None else "dead" if held.dead() else "running",
            process.pid if process is not None else None,
            process.log if process is not None else None,
            0.0 if held.leases else self._clock() - held.idle_since,
        )

    def _hold(self, spec: EngineSpec) -> _Held:
        self.sweep()
        with self._lock:
            held = next((h for h in self._held if h.spec == spec), None)
            if held is None:
                held = _Held(spec)
                self._held.append(held)
            held.leases += 1
            return held

    def _release(self, held: _Held) -> None:
        with self._lock:
            held.leases -= 1
            held.idle_since = self._clock()
            if not held.leases and held.engine is None and held.starting is None and held in self._held:
                self._held.remove(held)

    def _starts_at_once(self, held: _Held) -> bool:
        """Whether `_live` will not block."""
        with self._lock:
            if held.engine is not None and not held.dead():
                return True
        return backend_of(held.spec).base_url(held.spec) is not None

    def _live(self, held: _Held) -> Engine:
        """The engine, started if need be; blocks. One thread starts it, the others wait for the same outcome."""
        with self._lock:
            if held.engine is not None:
                if not held.dead():
                    return held.engine
                self._forget(held)
            starting = held.starting
            if starting is None:
                mine = held.starting = Future()
        if starting is not None:
            return starting.result()
        try:
            engine = self._start(held)
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

    def _start(self, held: _Held) -> Engine:
        spec = held.spec
        backend = backend_of(spec)
        if backend.base_url(spec) is not None:
            return backend.connect(spec, None, self._warn)
        from chainette.engine.process import ServerProcess

        description = backend.capabilities(spec).description
        began = time.monotonic()
        self._say(EngineStarting(spec.name, description))
        launch = backend.launch(spec)
        process = ServerProcess.start(spec.name, launch, spec.start_timeout_s, lambda: held.flushed or not held.leases)
        self._processes.add(process)
        held.process = process
        if held.flushed:
            process.stop()
            raise EngineStartError(f'engine "{spec.name}" was stopped while it started')
        self._say(EngineStarted(spec.name, description, time.monotonic() - began))
        return backend.connect(spec, Running(process.url, launch.api_key, process.died), self._warn)

    def _forget(self, held: _Held) -> None:
        """Makes room for a new start after a death."""
        if held.process is not None:
            held.process.stop()  # does not block: it is dead, and only its pipes are left to close
            self._processes.discard(held.process)
        held.engine = held.process = None

    def _evict(self, which: Callable[[_Held], bool], reason: str) -> list[str]:
        with self._lock:
            evicted = [held for held in self._held if which(held)]
            self._held = [held for held in self._held if held not in evicted]
            for held in evicted:
                held.flushed = True
        for held in evicted:
            if held.starting is not None:
                # Until the start is given up; one that still fetches its model will stop by itself when it comes to it.
                with contextlib.suppress(TimeoutError, CancelledError):
                    held.starting.exception(GIVE_UP_S)
            process = held.process
            if process is not None:
                process.stop()
                self._processes.discard(process)
                self._say(EngineStopped(held.spec.name, reason))
        return [held.spec.name for held in evicted]

    def _warn(self, message: str) -> None:
        self._say(Warned(message))

    def _say(self, event: Any) -> None:
        if self._listener is not None:
            self._listener(event)


class EngineBroker:
    """The broker of this process, on the engines registered in code, in `engines.yml` here, and in the environment.

    with EngineBroker.acquire("llama3") as engine:
        texts = engine.generate(["Hello"], SamplingParams(max_tokens=20))
    """

    @staticmethod
    def acquire(name: str) -> Lease:
        """
        Raises:
            ChainError: there is no engine of that name, or `engines.yml` is wrong.
        """
        registry, problems = engines_here()
        if problems:
            raise ChainError(problems)
        return _shared().acquire(registry.get(name))

    @staticmethod
    def flush(force: bool = False) -> None:
        """Stops the engines without a lease, with `force` all of them."""
        _shared().flush(force)

    @staticmethod
    def sweep() -> list[str]:
        """Stops what has been idle for its `idle_timeout_s`; returns the names."""
        return _shared().sweep()

    @staticmethod
    def statistics() -> list[EngineState]:
        return _shared().statistics()


@functools.cache
def _shared() -> Broker:
    return Broker()


def _stop_all(processes: set[ServerProcess]) -> None:
    while processes:
        processes.pop().stop()


def _loop_id() -> int:
    import asyncio

    return id(asyncio.get_running_loop())
