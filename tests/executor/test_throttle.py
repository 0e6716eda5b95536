"""When an engine is said to be held back: at once; and that it is no longer, only when that lasts."""

from __future__ import annotations

from chainette.events import EngineThrottled, EngineUnthrottled
from chainette.executor.throttle import Throttle

LOOK_S = 0.25


def said(held: list[str]) -> list[EngineThrottled | EngineUnthrottled]:
    """Of an engine that is looked at four times a second."""
    throttle = Throttle("e")
    looks = [throttle.look(by, 1000 + look * LOOK_S) for look, by in enumerate(held)]
    return [event for event in [*looks, throttle.end()] if event is not None]


def test_what_never_waits_is_not_spoken_of() -> None:
    assert said([""] * 100) == []


def test_calls_that_wait_now_and_then_are_held_back_once_and_for_as_long_as_they_waited() -> None:
    assert said(["limit", "", "limit", "limit"] * 100) == [EngineThrottled("e", "limit"), EngineUnthrottled("e", 74.75)]


def test_five_seconds_without_waiting_are_the_end_of_it() -> None:
    quiet = [""] * 21
    once = [EngineThrottled("e", "limit"), EngineUnthrottled("e", 0.0)]
    assert said(["limit", *quiet, "limit", *quiet]) == once + once


def test_an_engine_at_its_limit_for_forty_hours_is_spoken_of_in_few_lines() -> None:
    pause = ["limit", *[""] * 21]
    lines = len(said(pause * (40 * 3600 * 4 // len(pause))))
    assert lines < 5000
