"""Whether an engine is held back, looked at a few times a second and said seldom. Knows neither calls nor clocks."""

from __future__ import annotations

from chainette.events import EngineThrottled, EngineUnthrottled

QUIET_S = 5.0
QUIET_SHARE = 1 / 500
"""How long nothing must have waited before that is said: at least so many seconds, and later this share of the time
gone. An engine at its limit waits and goes on with every call; so at most 5,000 lines of 40 hours are about it."""


class Throttle:
    """One engine's."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._began_s: float | None = None
        self._looked_s = 0.0
        self._last_s: float | None = None
        """When something was last seen to wait; None while the engine is not said to be held back."""
        self._held_s = 0.0

    def look(self, held_by: str, now_s: float) -> EngineThrottled | EngineUnthrottled | None:
        """What is to be said of what its calls wait for now, if anything. `now_s` is any steady clock."""
        if self._began_s is None:
            self._began_s = now_s
        since_s, self._looked_s = now_s - self._looked_s, now_s
        if not held_by:
            return self.end() if self._is_over(now_s) else None
        if self._last_s is not None:
            self._held_s += since_s
            self._last_s = now_s
            return None
        self._last_s = now_s
        return EngineThrottled(self._engine, held_by)

    def _is_over(self, now_s: float) -> bool:
        if self._last_s is None or self._began_s is None:
            return False
        return now_s - self._last_s >= max(QUIET_S, QUIET_SHARE * (now_s - self._began_s))

    def end(self) -> EngineUnthrottled | None:
        """From here on nothing waits."""
        if self._last_s is None:
            return None
        held_s, self._last_s, self._held_s = self._held_s, None, 0.0
        return EngineUnthrottled(self._engine, round(held_s, 3))
