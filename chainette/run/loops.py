"""Where a run's event loop comes from: a new one, or a thread's when the caller's is already running.

Knows nothing of what runs in it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


class Stopper:
    """Ends a run from another thread the way the first Ctrl-C does."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] | None = None

    def arm(self, interrupt: Callable[[], None]) -> None:
        """Called on the run's loop; `interrupt` will be called there too."""
        loop = asyncio.get_running_loop()
        self._interrupt = lambda: loop.call_soon_threadsafe(interrupt)  # type: ignore[assignment]

    def pull(self) -> None:
        if self._interrupt is not None:
            self._interrupt()


def loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def calm_collector() -> Iterator[None]:
    """Rows are many, live briefly and hold no cycles; by default the collector would look at each of them several
    times, which took half the CPU of a pure-Python chain (benchmarks/pure_python.py).

    Only in the main thread: runs that overlap in threads would restore each other's settings."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = gc.get_threshold()
    gc.enable()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def in_new_loop(main: Callable[[], Awaitable[T]]) -> T:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return anyio.run(main)
    return anyio.run(main, backend_options={"use_uvloop": True})


def in_thread(main: Callable[[], Awaitable[T]], stopper: Stopper) -> T:
    """A notebook's loop is already running, and `run` blocks: so the run gets a thread."""
    outcome: list[T | BaseException] = []

    def work() -> None:
        try:
            outcome.append(in_new_loop(main))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="chainette-run")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        stopper.pull()
        thread.join()
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result
