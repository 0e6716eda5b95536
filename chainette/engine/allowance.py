"""What may be taken per minute, and when the next may be. Knows no clock, no requests and no event loop.

No library does this: buckets let twice the limit through within a minute, and none takes the real amount afterwards.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEPT_S = 60.05
"""How long something that was taken counts: a minute, and the difference of two timers."""
BURST_S = 1.0
"""So much of a minute's allowance may be taken at once; the rest is spread evenly."""


@dataclass(slots=True, eq=False)
class Taken:
    at_s: float
    amount: float


class Allowance:
    """Never more than the limit within any 60 seconds, wherever they begin, and no minute's worth at once."""

    __slots__ = ("_even_s", "_limit", "_sum", "_taken")

    def __init__(self, per_minute: float) -> None:
        self._limit = per_minute
        self._taken: deque[Taken] = deque()
        self._sum = 0.0
        self._even_s = float("-inf")
        """When all that was taken is used up at an even rate."""

    def wait_s(self, amount: float, now_s: float) -> float:
        """How long until `amount` may be taken; 0: now. More than a whole minute's is let through alone."""
        self._forget(now_s)
        wait_s = max(0.0, self._even_s - BURST_S - now_s)
        over = self._sum + min(amount, self._limit) - self._limit
        for taken in self._taken:
            if over <= 1e-9:
                break
            over -= min(taken.amount, self._limit)
            wait_s = max(wait_s, taken.at_s + KEPT_S - now_s)
        return wait_s

    def take(self, amount: float, now_s: float) -> Taken:
        taken = Taken(now_s, amount)
        self._taken.append(taken)
        self._sum += amount
        self._even_s = max(self._even_s, now_s) + amount * 60 / self._limit
        return taken

    def settle(self, taken: Taken, amount: float, now_s: float) -> None:
        """It was `amount` in the end."""
        self._forget(now_s)
        more = amount - taken.amount
        self._even_s += more * 60 / self._limit
        if taken.at_s + KEPT_S > now_s:
            taken.amount = amount
            self._sum += more

    def _forget(self, now_s: float) -> None:
        kept = self._taken
        while kept and kept[0].at_s + KEPT_S <= now_s:
            self._sum -= kept.popleft().amount
        if not kept:
            self._sum = 0.0  # what adding and taking away leaves behind
