"""When a call may be sent: the window, the minute's allowances and `Retry-After`, one for all steps of an engine.

Knows neither what a call says nor how it is sent.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from chainette.engine.allowance import Allowance, Taken
from chainette.engine.crowding import Crowding
from chainette.specs import EngineSpec

UNKNOWN_TOKENS = 256
"""Taken for an answer's length before the first one came."""
MORE = 4
"""Times as many calls as an endpoint begins with, where nobody says how many it takes."""


def gauged(spec: EngineSpec) -> bool:
    """Whether the server itself tells how many calls it can use: see `chainette.engine.gauge`."""
    return spec.backend == "vllm" and spec.max_concurrency is None


def pace_of(spec: EngineSpec, window: int, *, ours: bool) -> Pace:
    """Somebody else's endpoint may take more than the window it begins with, or less; a server that tells how many
    needs no guessing, and one of ours has the slots it was given."""
    return Pace(
        window,
        spec.max_concurrency or MORE * window,
        judges=not ours and not gauged(spec),
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )


class Pace:
    """One engine's. Any thread and event loop may use it; each loop has a gate of its own."""

    def __init__(
        self,
        window: int,
        most: int | None = None,
        *,
        judges: bool = False,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`judges`: whether the window also follows rates and times, up to `most`, and not refusals alone."""
        self.window = window
        self.open = requests_per_minute is None and tokens_per_minute is None
        """Whether there is nothing to wait for but the window."""
        self._limited = not self.open
        self._crowding = Crowding(window, most or window, judges=judges)
        self.listens = self._crowding.listens
        """Whether `answered` is to be told."""
        self._requests = Allowance(requests_per_minute) if requests_per_minute else None
        self._tokens = Allowance(tokens_per_minute) if tokens_per_minute else None
        self._mean_tokens = 0.0
        self._paused_until_s = 0.0
        self.held_by = ""
        """What the next call waits for besides the window, as people call it."""
        self._now_s = now_s
        self.sleep = sleep
        self._lock = threading.Lock()
        self._gates: dict[asyncio.AbstractEventLoop, Gate] = {}
        self._gate: Gate | None = None
        self._followers: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []

    def follow(self, changed: Callable[[], None]) -> None:
        """`changed` is called on the running event loop, whoever changes the window."""
        follower = (asyncio.get_running_loop(), changed)
        kept = [known for known in self._followers if known != follower and not known[0].is_closed()]
        self._followers = [*kept, follower]

    @property
    def holds(self) -> bool:
        """Whether a call waits for what `held_by` says."""
        return bool(self.held_by) and any(gate.naps for gate in list(self._gates.values()))

    def gate(self) -> Gate:
        """That of the running event loop."""
        loop = asyncio.get_running_loop()
        gate = self._gate
        if gate is None or gate.loop is not loop:
            gate = self._gates.get(loop)
            if gate is None:
                for closed in [other for other in list(self._gates) if other.is_closed()]:
                    self._gates.pop(closed, None)
                gate = self._gates[loop] = Gate(self, loop)
            self._gate = gate
        return gate

    def become(self, window: int) -> None:
        """Another window, from someone who knows the server; but refusals say more than anyone."""
        if not self._crowding.refuses:
            self._crowding.become(window)
            self._set(window)

    def judge(self) -> None:
        """From now on the window follows rates and times: nobody knows the server."""
        self._crowding.judges = self.listens = True

    def refused(self, number: int, newest: int, in_flight: int, retry_after_s: float | None) -> None:
        """Request `number` was refused because there were too many. Nobody sends before the endpoint wants it."""
        if retry_after_s:
            with self._lock:
                self._paused_until_s = max(self._paused_until_s, self._now_s() + retry_after_s)
                self.open = False
        self._crowding.refused(number, newest, in_flight)
        self._set(self._crowding.window)

    def answered(self, number: int, newest: int, full: bool, seconds: float, tokens: int) -> None:
        """Request `number` was answered; `full`: the whole window was in use."""
        self._crowding.answered(number, newest, full, seconds, tokens, self._now_s())
        self._set(self._crowding.window)

    def answer_tokens(self, most: int | None) -> float:
        """How long an answer may become, as far as that is known; `most` is its limit."""
        return most or self._mean_tokens or UNKNOWN_TOKENS

    def take(self, tokens: float) -> tuple[float, Taken | None]:
        """Seconds to wait, or 0 and what was taken of the minute's tokens."""
        with self._lock:
            now_s = self._now_s()
            paused_s = self._paused_until_s - now_s
            if paused_s <= 0:
                self.open = not self._limited
            waits = {"endpoint's Retry-After": paused_s}
            if self._requests is not None:
                waits["engine's requests_per_minute"] = self._requests.wait_s(1, now_s)
            if self._tokens is not None:
                waits["engine's tokens_per_minute"] = self._tokens.wait_s(tokens, now_s)
            longest = max(waits, key=waits.__getitem__)
            if waits[longest] > 0:
                self.held_by = longest
                return waits[longest], None
            self.held_by = ""
            if self._requests is not None:
                self._requests.take(1, now_s)
            return 0.0, self._tokens.take(tokens, now_s) if self._tokens is not None else None

    def settle(self, taken: Taken, tokens: float, answer_tokens: int = 0) -> None:
        """What was taken was `tokens` in the end, `answer_tokens` of them the answer's."""
        assert self._tokens is not None
        given_back = tokens < taken.amount
        with self._lock:
            self._tokens.settle(taken, tokens, self._now_s())
            if answer_tokens:
                before = self._mean_tokens or answer_tokens
                self._mean_tokens = before + 0.05 * (answer_tokens - before)
        if given_back:
            for gate in list(self._gates.values()):
                gate.wake()

    def _set(self, window: int) -> None:
        self.listens = self._crowding.listens
        if window == self.window:
            return
        self.window = window
        for gate in list(self._gates.values()):
            gate.look_again()
        here = asyncio.get_running_loop()
        for loop, changed in self._followers:
            if loop is here:
                changed()
            else:
                with suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(changed)


class Gate:
    """Where the calls of one event loop wait for their turn, the first to come first."""

    __slots__ = ("_lock", "_nap", "_pace", "_room", "_waiting", "in_flight", "loop")

    def __init__(self, pace: Pace, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.in_flight = 0
        self._pace = pace
        self._lock = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._nap: asyncio.Future[None] | None = None
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether the window is in use; a few calls are always on their way in or out."""
        return self.in_flight + self._waiting >= self._pace.window - self._pace.window // 10

    @property
    def naps(self) -> bool:
        """Whether a call waits although the window has room."""
        return self._nap is not None

    def enters(self) -> bool:
        """Whether the call may be sent at once; then it is in flight, until `leave`."""
        pace = self._pace
        if not pace.open or self._waiting or self.in_flight >= pace.window:
            return False
        self.in_flight += 1
        return True

    async def turn(self, tokens: float) -> Taken | None:
        """Waits until the call may be sent; then it is in flight, until `leave`. It will cost `tokens`."""
        pace = self._pace
        self._waiting += 1
        try:
            async with self._lock:
                while True:
                    if self.in_flight >= pace.window:
                        await self._leaving()
                        continue
                    wait_s, taken = pace.take(tokens)
                    if wait_s <= 0:
                        self.in_flight += 1
                        return taken
                    await self._sleep(wait_s)
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        self.in_flight -= 1
        if self._room is not None:
            self._look()

    def look_again(self) -> None:
        """The window has become another. From any thread."""
        with suppress(RuntimeError):  # its loop is closed
            self.loop.call_soon_threadsafe(self._look)

    def wake(self) -> None:
        """The wait may be shorter than it was. From any thread."""
        with suppress(RuntimeError):  # its loop is closed
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    async def _sleep(self, seconds: float) -> None:
        self._nap = asyncio.ensure_future(self._pace.sleep(seconds))
        try:
            await asyncio.wait([self._nap])
        finally:
            self._nap.cancel()
            self._nap = None

    async def _leaving(self) -> None:
        self._room = self.loop.create_future()
        try:
            await self._room
        finally:
            self._room = None

    def _look(self) -> None:
        room = self._room
        if room is not None and not room.done() and self.in_flight < self._pace.window:
            room.set_result(None)
