"""Engines say how many calls they want in flight, and may say so anew at any time."""

from __future__ import annotations

from typing import Any

import pytest

from chainette import Chain
from tests.executor.staging import House, Item, Play, ask, checked_chain
from tests.folders import made_once

CALLS = 300


def played(tmp_path: Any, changes: dict[int, int], *, window: int) -> tuple[list[tuple[int, int]], House, Play]:
    """Per call its place among them and how many were in flight; `changes` maps places to windows."""
    checked = checked_chain(Chain(name="one", steps=[ask("first", "a")]))
    rows = [Item(text=f"row {n}") for n in range(CALLS)]
    play = Play(tmp_path / "run", checked, checked.plan, rows, chunk_size=CALLS)
    house, seen = House(checked.plan, window=window), []

    def note(stand: Any) -> None:
        seen.append((len(seen), stand.running))
        if len(seen) in changes:
            stand.resize(changes[len(seen)])

    house.on_call = note
    play.go(house)
    assert made_once(play.path)
    assert len(seen) == CALLS
    return seen, house, play


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        (4, {50: 9}),
        (9, {50: 3}),
        (1, {50: 20, 150: 2}),
        (8, {50: 1, 100: 8, 150: 1, 200: 30}),
        (5, {50: 5}),
        (5, {50: 7, 51: 3, 52: 10}),
    ],
)
def test_calls_in_flight_follow_the_window(tmp_path, window, changes):
    seen, _, _ = played(tmp_path, changes, window=window)
    last = max(changes)
    most = [running for place, running in seen if place > last + 40]  # those that were too many have ended
    assert max(most) == changes[last]
    assert max(running for place, running in seen if place < min(changes)) == window


def test_a_window_of_none_is_one_so_that_the_run_goes_on(tmp_path):
    seen, _, _ = played(tmp_path, {50: 0}, window=6)
    assert {running for place, running in seen if place > 60} == {1}


def test_the_window_is_told_to_listeners_and_looked_after_while_the_engine_is_held(tmp_path):
    _, house, play = played(tmp_path, {50: 11}, window=2)
    assert play.executor.statistics().engines["a"].window == 11
    assert house.said == ["later:", "+a", "looked after a", "-a"]


def test_a_window_that_changes_after_the_lease_went_back_disturbs_nobody(tmp_path):
    _, house, _ = played(tmp_path, {}, window=2)
    house.stands["a"].resize(5)
