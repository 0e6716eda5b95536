"""What a run cost, as the terminal says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chainette.cli.frame import engine_lines
from chainette.cli.plain import progress_words
from chainette.cli.progress import RunState
from chainette.cli.summary import money, plain_summary
from chainette.cli.wording import PLAIN
from chainette.events import EngineCount, RunFinished
from tests.cli.hand_made import finished, started


def priced() -> RunFinished:
    engine = EngineCount(calls=400, prompt_tokens=9_000, cached_tokens=6_000, completion_tokens=8_000, cost=1.25)
    return replace(finished(), engines={"demo": engine}, cost=1.25)


def over(event: RunFinished) -> RunState:
    state = RunState()
    state.take(started(100))
    state.take(event)
    return state


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "0"), (1e-9, "under 0.000001"), (0.00042, "0.00042"), (0.37, "0.37"), (1_204.5, "1,204.50")],
)
def test_money_is_said_as_finely_as_it_is_little(amount: float, words: str) -> None:
    assert money(amount) == words


def test_the_summary_the_live_view_and_the_last_plain_line_say_the_cost() -> None:
    assert "cost 1.25" in plain_summary(priced(), PLAIN, 100)
    assert "cost 1.25" in progress_words(over(priced()))
    view = "\n".join(line.plain for line in engine_lines(over(priced()), PLAIN, 100, 0.0))
    assert "8,000 tokens written - 6,000 of 9,000 read were cached - cost 1.25" in view


def test_nothing_is_said_of_costs_where_no_engine_has_prices() -> None:
    words = plain_summary(finished(), PLAIN, 100) + progress_words(over(finished()))
    assert "cost" not in words
