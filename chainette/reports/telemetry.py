"""A run's telemetry while it goes: events as they are said, calls from their log, both told in a thread of its own.

The run only puts events on a list. Whoever receives the telemetry may be slow or gone: that costs spans, and one
warning.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainette.errors import ChainError, Problem
from chainette.events import Event, LineListener, Listener, RunStarted, Warned

if TYPE_CHECKING:
    from chainette.files.tailing import CallTails
    from chainette.observe.telemetry import Telemetry

LOOK_S = 0.5
METRICS_S = 10.0
END_S = 4.0
"""At most, for what is left to tell when the run is over."""


class Pump:
    """Brings a run's words and calls to its telemetry."""

    def __init__(self, telemetry: Telemetry, target: str) -> None:
        self._telemetry = telemetry
        self._target = target
        self._said: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
        self._tails: dict[str, CallTails] = {}
        self._graph: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="chainette-telemetry", daemon=True)
        self._told = False
        self._broken = ""

    def start(self) -> None:
        self._thread.start()

    def take(self, event: Event) -> None:
        """From the run's thread: costs a look at the folder at its beginning, and nothing afterwards."""
        if isinstance(event, RunStarted):
            self._follow(event)
        self._said.put((time.time(), event))

    def _follow(self, event: RunStarted) -> None:
        """The calls from here on; those before are another process's."""
        from chainette.files.names import folder_name
        from chainette.files.reading import RunReader
        from chainette.files.tailing import CallTails

        try:
            reader = RunReader(event.folder)
            self._graph = reader.graph()
            for id, kind, _ in event.nodes:
                if kind == "step":
                    self._tails[id] = CallTails(reader.path / "calls" / folder_name(id))
                    self._tails[id].skip()
        except Exception as error:
            self._tails, self._broken = {}, f"calls cannot be read: {error}"

    def trouble(self) -> str:
        """What is to be warned of; once, empty afterwards and before."""
        if self._told or not (self._broken or self._telemetry.sender.failed):
            return ""
        self._told = True
        why = self._broken or f"{self._target} does not take it; the run goes on without"
        return f"telemetry: {why}"

    def close(self) -> None:
        """The run is over: tells what is left, for a few seconds at most."""
        self._over.set()
        self._thread.join(END_S)
        if self._thread.is_alive():
            self._broken = self._broken or f"{self._target} is slow; what it had not taken at the end is lost"

    def _work(self) -> None:
        due_s = time.monotonic() + METRICS_S
        try:
            while not self._over.wait(LOOK_S):
                self._look()
                self._telemetry.tick()
                if time.monotonic() >= due_s:
                    self._telemetry.send_metrics()
                    due_s = time.monotonic() + METRICS_S
            self._look()
        except Exception as error:
            self._broken = f"{type(error).__name__}: {error}"
        try:
            self._telemetry.finish()
        except Exception as error:
            self._broken = self._broken or f"{type(error).__name__}: {error}"

    def _look(self) -> None:
        """Calls between the events: a step's come before the word that its stage is over counts."""
        from chainette.observe.genai import step_facts

        while not self._said.empty():
            at_s, event = self._said.get()
            if isinstance(event, RunStarted):
                self._telemetry.begin(event, at_s, step_facts(self._graph))
            else:
                self._telemetry.take(event, at_s)
        for step, tail in list(self._tails.items()):
            while lines := tail.lines():
                for line in lines:
                    self._call(step, line)

    def _call(self, step: str, line: bytes) -> None:
        import orjson

        try:
            self._telemetry.call(step, orjson.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a damaged line


class _Joined:
    """Hands on what it hears, to the pump too."""

    def __init__(self, listener: Listener | None, pump: Pump) -> None:
        self._listener = listener
        self._pump = pump

    def __call__(self, event: Event) -> None:
        self._pump.take(event)
        if self._listener is not None:
            self._listener(event)
        self.warn()

    def warn(self) -> None:
        trouble = self._pump.trouble()
        if trouble and self._listener is not None:
            self._hand_on(Warned(trouble))

    def _hand_on(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)


class _JoinedLines(_Joined):
    """The same for a listener that takes lines."""

    def take_line(self, event: Event, line: bytes) -> None:
        self._pump.take(event)
        if isinstance(self._listener, LineListener):
            self._listener.take_line(event, line)
        self.warn()

    def _hand_on(self, event: Event) -> None:
        from chainette.observe import event_fields, record_line

        if isinstance(self._listener, LineListener):
            self._listener.take_line(event, record_line(event_fields(event)))


def _appender(path: Path) -> Callable[[bytes], bool]:
    """Adds to the file, which is made.

    Raises:
        ChainError: it cannot be written.
    """
    path = path.expanduser().absolute()  # the working directory may become another
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChainError([Problem("otel", f"cannot write {path}: {reason}", "another file:PATH")]) from None

    def append(line: bytes) -> bool:
        try:
            with open(path, "ab") as file:
                file.write(line)
        except OSError:
            return False
        return True

    return append


def _nowhere(_line: bytes) -> bool:
    return False


def _telemetry(target: str, append: Callable[[bytes], bool]) -> Telemetry:
    from chainette.observe.telemetry_export import way_to

    way = way_to(target, append)
    from chainette.observe.telemetry import Telemetry

    try:
        return Telemetry(way)
    except ValueError as error:  # the SDK reads a variable of the environment that it does not understand
        raise ChainError([Problem("otel", str(error), "set or unset the OTEL_… variable")]) from None


@asynccontextmanager
async def with_telemetry(target: str | None, listener: Listener | None) -> AsyncIterator[Listener | None]:
    """The listener that also tells `target`: a URL, `env` or `file:PATH`; None tells nobody.

    Raises:
        ChainError: it is no target, its package is missing, or the file cannot be written.
    """
    if target is None:
        yield listener
        return
    import anyio

    from chainette.observe.telemetry_export import FILE, check_target, shown

    check_target(target)
    append = _appender(Path(target.removeprefix(FILE))) if target.startswith(FILE) else _nowhere
    pump = Pump(await anyio.to_thread.run_sync(_telemetry, target, append), shown(target))
    joined = (_JoinedLines if isinstance(listener, LineListener) else _Joined)(listener, pump)
    pump.start()
    try:
        yield joined
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(pump.close)
        joined.warn()
