"""Makes the window follow what a vLLM server runs, from its /metrics. Knows neither rows nor how a page is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chainette.engine.backends import queued
from chainette.engine.pace import Pace

MOST = 4096
"""Calls in flight at one server, whatever it takes."""
LOOK_S = 1.0
FIRST_LOOKS_S = 0.25
"""Until a queue was seen for the first time: so long the server may be short of calls."""
MISSES = 3
"""Looks in vain after which nobody looks again."""
PATIENCE = 3
"""Looks at a queue that is too long before it is made shorter: a server fills slowly."""
GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class Reading:
    running: int
    waiting: int


def read(page: bytes) -> Reading | None:
    """The requests that run and wait, of all the server's engines; None when the page does not tell.

    Source: vllm/v1/metrics/loggers.py
    """
    running, waiting = _sum(page, b"vllm:num_requests_running"), _sum(page, b"vllm:num_requests_waiting")
    return None if running is None or waiting is None else Reading(running, waiting)


def _sum(page: bytes, name: bytes) -> int | None:
    """A metric added up over its labels, without a look at the other lines."""
    total: float | None = None
    at = page.find(name)
    while at >= 0:
        end = page.find(b"\n", at)
        line = page[at : end if end >= 0 else len(page)]
        if (at == 0 or page[at - 1 : at] == b"\n") and line[len(name) : len(name) + 1] in (b"{", b" "):
            try:
                total = (total or 0.0) + float(line.rpartition(b"}")[2].removeprefix(name).split()[0])
            except (ValueError, IndexError):
                return None
        at = page.find(name, at + len(name))
    return int(total) if total is not None and total < float("inf") else None


class Gauge:
    """Readings in, window out: the server's queue is never empty, and not much longer than a quarter of what runs."""

    def __init__(self, window: int, most: int = MOST) -> None:
        self.window = window
        self.queue_seen = False
        self._most = most
        self._running = 0
        self._too_long = 0

    def look(self, reading: Reading, full: bool) -> int:
        """The window from now on; `full`: all of it is in use. Where rows are scarce, nothing can be said."""
        enough = queued(reading.running)
        margin = enough - reading.running
        fills = reading.running > self._running
        self._running = reading.running
        if reading.waiting == 0:
            self._too_long = 0
            if full:
                self._become(max(self.window + 1, int(self.window * GROWTH)))
            return self.window
        self.queue_seen = True
        self._too_long = 0 if fills or reading.waiting <= 2 * margin else self._too_long + 1
        if self._too_long >= PATIENCE and self.window > enough:
            self._become(self.window - max(1, (self.window - enough) // 4))
        return self.window

    def _become(self, window: int) -> None:
        self.window = max(1, min(self._most, window))


async def attend(
    fetch: Callable[[], Awaitable[bytes | None]],
    pace: Pace,
    *,
    look_s: float = LOOK_S,
    first_looks_s: float = FIRST_LOOKS_S,
) -> None:
    """Looks at the server and sets the window, until it is cancelled or the server does not tell."""
    gauge = Gauge(pace.window)
    misses = 0
    while misses < MISSES:
        await asyncio.sleep(look_s if gauge.queue_seen or misses else first_looks_s)
        page = await fetch()
        reading = read(page) if page is not None else None
        if reading is None:
            misses += 1
            continue
        misses = 0
        gauge.window = pace.window
        pace.become(gauge.look(reading, pace.gate().full))
