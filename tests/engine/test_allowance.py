"""Limits per minute, on a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette.engine.allowance import Allowance


def taken_by(allowance: Allowance, amounts: list[float], began_s: float = 0.0) -> list[tuple[float, float]]:
    """When each amount was taken, by someone who always wants the next one at once."""
    now_s, taken = began_s, []
    for amount in amounts:
        while (wait_s := allowance.wait_s(amount, now_s)) > 0:
            now_s += wait_s
        allowance.take(amount, now_s)
        taken.append((now_s, amount))
    return taken


def most_in_a_minute(taken: list[tuple[float, float]]) -> float:
    return max(sum(amount for at_s, amount in taken if begin_s <= at_s <= begin_s + 60) for begin_s, _ in taken)


@pytest.mark.parametrize("limit", [1, 3, 60, 600])
def test_no_minute_holds_more_requests_than_the_limit_wherever_it_begins(limit):
    taken = taken_by(Allowance(limit), [1] * (3 * limit + 2))
    assert most_in_a_minute(taken) <= limit


@given(st.lists(st.integers(1, 900), min_size=1, max_size=80))
def test_no_minute_holds_more_tokens_than_the_limit(amounts):
    assert most_in_a_minute(taken_by(Allowance(1_000), amounts)) <= 1_000


@pytest.mark.parametrize("limit", [3, 60, 600])
def test_the_limit_is_used_up(limit):
    taken = taken_by(Allowance(limit), [1] * (5 * limit))
    assert taken[-1][0] < 5 * 60 * 1.02


def test_no_more_than_a_second_of_the_allowance_goes_at_once():
    taken = taken_by(Allowance(600), [1] * 200)
    assert sum(at_s == 0 for at_s, _ in taken) <= 11


def test_less_than_one_a_minute_is_kept():
    taken = taken_by(Allowance(0.5), [1] * 3)
    assert taken[1][0] >= 118
    assert taken[2][0] >= 238


def test_what_is_more_than_a_whole_minutes_worth_goes_alone():
    taken = taken_by(Allowance(100), [10, 500, 10])
    assert taken[1][0] > 60
    assert taken[2][0] > taken[1][0] + 60


def test_an_answer_that_was_shorter_than_feared_lets_the_next_go_earlier():
    allowance = Allowance(1_000)
    long = allowance.take(900, 0.0)
    assert allowance.wait_s(500, 1.0) > 50
    allowance.settle(long, 10, 1.0)
    assert allowance.wait_s(500, 1.0) == 0


def test_an_answer_that_was_longer_keeps_the_next_waiting():
    allowance = Allowance(1_000)
    short = allowance.take(10, 0.0)
    allowance.settle(short, 900, 1.0)
    assert allowance.wait_s(500, 1.0) > 50


def test_what_is_settled_after_its_minute_leaves_nothing_behind():
    allowance = Allowance(1_000)
    late = allowance.take(10, 0.0)
    allowance.settle(late, 100, 90.0)
    assert allowance.wait_s(1_000, 91.0) == 0
