"""The window of an endpoint of somebody else's, against made-up endpoints with a clock of their own."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from chainette.engine.crowding import Crowding


class Endpoint:
    """`slots` answers at a time of `seconds` each; above `most` at once it refuses. The window is always in use."""

    def __init__(self, crowding: Crowding, slots: int, seconds: float = 1.0, most: int = 10**9) -> None:
        self.crowding = crowding
        self.slots, self.seconds, self.most = slots, seconds, most
        self.tokens = 10
        self.unlucky = 0.0
        """The share of calls that it refuses, however few there are."""
        self.now_s = 0.0
        self.refused = 0
        self.answered = 0
        self.windows: list[int] = []
        self._numbers = itertools.count(1)
        self._sent = 0
        self._queue: list[tuple[int, float]] = []
        self._serving: list[tuple[float, int, float, int]] = []
        self._draws = random.Random(7)
        self._luck = random.Random(8)

    @property
    def in_flight(self) -> int:
        return len(self._queue) + len(self._serving)

    def play(self, answers: int) -> int:
        """The window after so many more answers."""
        until = self.answered + answers
        while self.answered < until:
            while self.in_flight < self.crowding.window:
                self._send()
            self._answer()
        return self.crowding.window

    def storm(self, until: int) -> None:
        """Nothing but refusals, until the window is so small."""
        while self.crowding.window > until:
            self._send()

    def _send(self) -> None:
        number = self._sent = next(self._numbers)
        if self.in_flight >= self.most or self._luck.random() < self.unlucky:
            self.refused += 1
            self.crowding.refused(number, number, self.in_flight + 1)
            return
        self._queue.append((number, self.now_s))
        self._serve()

    def _serve(self) -> None:
        while self._queue and len(self._serving) < self.slots:
            number, sent_s = self._queue.pop(0)
            took_s = self.seconds * self._draws.uniform(0.8, 1.2)
            heapq.heappush(self._serving, (self.now_s + took_s, number, sent_s, self.tokens))

    def _answer(self) -> None:
        self.now_s, number, sent_s, tokens = heapq.heappop(self._serving)
        self.answered += 1
        self.windows.append(self.crowding.window)
        self.crowding.answered(number, self._sent, True, self.now_s - sent_s, tokens, self.now_s)
        self._serve()


def test_the_window_grows_while_more_calls_bring_more_answers():
    endpoint = Endpoint(Crowding(32, 512, judges=True), slots=200)
    assert endpoint.play(40_000) >= 180


def test_the_window_stays_where_more_calls_bring_nothing():
    endpoint = Endpoint(Crowding(32, 512, judges=True), slots=32)
    endpoint.play(20_000)
    assert max(endpoint.windows) <= 48


def test_it_never_grows_beyond_what_was_said():
    endpoint = Endpoint(Crowding(32, 32, judges=True), slots=500)
    assert endpoint.play(5_000) == 32


def test_refusals_bring_it_down_to_what_the_endpoint_takes_in_a_few_rounds():
    endpoint = Endpoint(Crowding(128, 128, judges=True), slots=8, most=8)
    endpoint.play(100)
    assert endpoint.crowding.window <= 11
    assert endpoint.refused < 300


def test_after_refusals_it_finds_its_way_back():
    endpoint = Endpoint(Crowding(128, 128, judges=False), slots=128, most=8)
    endpoint.play(200)
    assert endpoint.crowding.window < 16
    endpoint.most = 1_000
    assert endpoint.play(20_000) == 128


@pytest.mark.parametrize(
    ("refused", "window"), [(1, 100), (10, 100), (23, 77), (30, 70), (60, 40), (65, 35), (80, 35), (100, 35)]
)
def test_a_burst_costs_the_share_of_it_that_was_refused(refused, window):
    crowding = Crowding(100, 100, judges=True)
    for number in range(1, refused + 1):
        crowding.refused(number, 100, 100)
    assert crowding.window == window


@pytest.mark.parametrize("judges", [True, False])
@pytest.mark.parametrize(("share", "least"), [(0.01, 128), (0.03, 128), (0.05, 128), (0.1, 90), (0.2, 40)])
def test_refusals_that_no_crowd_explains_cost_little(share, least, judges):
    endpoint = Endpoint(Crowding(128, 128, judges=judges), slots=1_000)
    endpoint.unlucky = share
    endpoint.play(10_000)
    assert sum(endpoint.windows) / len(endpoint.windows) >= least


@pytest.mark.parametrize("most", [2, 8, 30, 100, 120])
def test_an_endpoint_that_takes_only_so_many_is_kept_busy_and_seldom_refuses(most):
    endpoint = Endpoint(Crowding(128, 128, judges=True), slots=most, most=most)
    endpoint.play(500)
    refused, began_s = endpoint.refused, endpoint.now_s
    endpoint.play(5_000)
    assert endpoint.refused - refused < 5_000 * 0.1
    assert endpoint.now_s - began_s < 5_000 / most * 1.25


def test_an_endpoint_that_refuses_everything_is_soon_left_with_one_call():
    crowding = Crowding(128, 128, judges=True)
    number = 0
    while crowding.window > 1:
        newest = number + crowding.window
        for number in range(number + 1, newest + 1):  # noqa: B020
            crowding.refused(number, newest, newest - number + 1)
    assert number < 300


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_one_refusal_does_not_make_a_small_window_smaller(window):
    crowding = Crowding(window, window, judges=True)
    crowding.refused(1, window, window)
    assert crowding.window == window


def test_after_a_short_storm_the_window_that_worked_is_soon_back():
    endpoint = Endpoint(Crowding(128, 128, judges=True), slots=1_000)
    endpoint.play(1_000)
    endpoint.unlucky = 1.0
    endpoint.storm(until=32)
    endpoint.unlucky = 0.0
    assert endpoint.play(1_500) >= 100


def test_refusals_of_few_calls_say_that_few_are_too_many():
    crowding = Crowding(100, 100, judges=True)
    for number in range(1, 11):
        crowding.refused(number, 10, 10)
    assert crowding.window == 4


def test_longer_waits_without_more_answers_bring_it_down():
    endpoint = Endpoint(Crowding(64, 64, judges=True), slots=64)
    endpoint.play(2_000)
    endpoint.slots = 8
    began_s = endpoint.now_s
    assert endpoint.play(4_000) <= 40
    assert endpoint.now_s - began_s < 4_000 / 8 * 1.02  # and no slot of the endpoint's was ever empty


def test_slower_answers_of_an_idle_endpoint_change_nothing_for_long():
    endpoint = Endpoint(Crowding(64, 64, judges=True), slots=1_000)
    endpoint.play(2_000)
    endpoint.seconds = 5.0
    endpoint.play(4_000)
    assert endpoint.windows[-1] == 64
    assert sum(window < 64 for window in endpoint.windows[2_000:]) < 1_000


def test_longer_answers_are_no_crowd():
    endpoint = Endpoint(Crowding(64, 64, judges=True), slots=1_000)
    endpoint.play(2_000)
    endpoint.seconds, endpoint.tokens = 10.0, 100
    endpoint.play(2_000)
    endpoint.seconds, endpoint.tokens = 1.0, 10
    endpoint.play(2_000)
    assert set(endpoint.windows) == {64}


@pytest.mark.parametrize(("full", "most"), [(True, 10), (False, 8)])
def test_only_a_window_that_is_in_use_is_tried_larger(full, most):
    crowding = Crowding(8, 32, judges=True)
    seen = []
    for number in range(1, 200):
        crowding.answered(number, number, full, 1.0, 10, float(number))
        seen.append(crowding.window)
    assert max(seen) == most
