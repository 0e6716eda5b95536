from __future__ import annotations

from chainette.cli.progress import RunState
from chainette.events import EngineStarted, EngineStarting, Event, Interrupted
from tests.cli.hand_made import everywhere, finished, node, progressed, started


def state_after(*events: Event) -> RunState:
    state = RunState()
    for event in events:
        state.take(event)
    return state


def test_what_will_enter_a_node_is_what_may_still_leave_the_one_before() -> None:
    state = state_after(started(100), progressed(1, 0, extract=node(40, entered=50, failed=2)))
    assert state.expected()["verdict_fr"].rows == 98
    assert state.expected()["verdict_fr"].exact


def test_behind_a_filter_the_expectation_is_an_estimate_until_the_filter_is_done() -> None:
    half = state_after(started(100), progressed(1, 0, extract=node(100), join_1=node(100), keep=node(30, dropped=10)))
    assert (half.expected()["summarise"].rows, half.expected()["summarise"].exact) == (75, False)
    whole = state_after(started(100), progressed(1, 0, extract=node(100), join_1=node(100), keep=node(70, dropped=30)))
    assert (whole.expected()["summarise"].rows, whole.expected()["summarise"].exact) == (70, True)


def test_behind_an_expand_the_expectation_grows_with_the_rows_made() -> None:
    state = state_after(started(100), progressed(1, 0, extract=node(50, made=150)))
    assert state.expected()["verdict_fr"].rows == 300


def test_nothing_is_expected_of_an_input_that_does_not_tell_its_length() -> None:
    state = state_after(started(None), progressed(5, 10, extract=node(10)))
    assert state.expected()["extract"].rows is None
    assert state.left_s() is None


def test_the_time_left_weighs_each_node_by_what_a_row_costs_there() -> None:
    state = state_after(started(100), progressed(10, 50, **everywhere(50)))
    assert state.share_done() == 0.5
    assert state.left_s() == 10


def test_the_time_that_engines_took_to_start_is_not_counted_against_the_rows() -> None:
    state = state_after(started(100), progressed(60, 0), progressed(70, 50, **everywhere(50)))
    assert state.left_s() == 10


def test_rates_are_those_of_the_last_seconds() -> None:
    state = state_after(started(100))
    for second in range(20):
        done = 0 if second < 10 else (second - 9) * 2
        state.take(progressed(second, done, tokens=done * 10, **everywhere(done)))
    assert round(state.row_rate(), 6) == 2
    assert state.node_rate("extract") == 2
    assert state.token_rate("demo") == 20


def test_an_engine_is_waiting_then_starting_then_ready() -> None:
    state = state_after(started())
    assert state.engine_states["demo"].state == "waiting"
    state.take(EngineStarting("demo", "llama.cpp"))
    assert state.engine_states["demo"].state == "starting"
    state.take(EngineStarted("demo", "", 1.0))
    assert (state.engine_states["demo"].state, state.engine_states["demo"].description) == ("ready", "llama.cpp")


def test_no_time_left_is_promised_once_the_run_was_interrupted() -> None:
    state = state_after(started(100), progressed(10, 50, extract=node(50)), Interrupted())
    assert state.left_s() is None


def test_the_counts_of_the_end_are_the_last_word() -> None:
    state = state_after(started(100), progressed(1, 10, extract=node(10)), finished())
    assert state.nodes["extract"].done == 100
    assert state.rows_done == 100
