"""How values of a run stand on a page: numbers, moments, foreign text. Knows no page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chainette.reports.wording import clock, count, in_words, money, rate, short_count, short_time, size
from chainette.reports.wording import seconds as in_seconds

_WORDS = {
    "done": "good",
    "running": "live",
    "interrupted": "warn",
    "stopped": "bad",
    "died": "bad",
    "broken": "bad",
}


def tone(state: str) -> str:
    """The class that gives a state its colour."""
    return _WORDS.get(state, "quiet")


def moment(when: datetime | str | None) -> str:
    """`2026-11-21 15:03`, in this machine's zone."""
    try:
        told = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        return str(when)
    return told.astimezone().strftime("%Y-%m-%d %H:%M") if told else ""


def pretty(value: Any) -> str:
    """Strings as they are, everything else as JSON on several lines."""
    return in_words(value, indent=2)


def cut(text: object, limit: int) -> str:
    value = str(text)
    return value if len(value) <= limit else value[: limit - 1] + "…"


def share(part: float, whole: float) -> str:
    """`12%`, `0.4%`."""
    if not whole:
        return ""
    percent = 100 * part / whole
    return f"{percent:.1f}%" if 0 < percent < 10 else f"{percent:.0f}%"


def brief(seconds: float | None) -> str:
    """As `short_time`; empty for what is not known."""
    return "" if seconds is None else short_time(seconds)


FILTERS = {
    "brief": brief,
    "clock": clock,
    "count": count,
    "cut": cut,
    "in_words": in_words,
    "moment": moment,
    "money": money,
    "pretty": pretty,
    "rate": rate,
    "seconds": in_seconds,
    "share": share,
    "short_count": short_count,
    "size": size,
    "tone": tone,
}
