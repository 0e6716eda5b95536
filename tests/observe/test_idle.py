"""Idle time of replicas, with reasons that were put there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette import events as said
from chainette.observe.idle import Idleness, idleness
from chainette.observe.timeline import Timeline
from tests.observe.told import Call, at, calls_of, chain_of, finished, snapshot, started


def reasons(one: Idleness) -> dict[str, float]:
    return {why: round(seconds, 3) for why, seconds in one.why.items() if seconds > 1e-6}


def test_time_before_the_first_call_is_the_start_and_after_the_last_nothing_is_left() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarting("engine_a", "")),
        at(4, said.EngineStarted("engine_a", "", 4.0)),
        at(10, finished()),
    ]
    calls = calls_of([Call("a", "0", 4, 6), Call("a", "1", 5, 7)], ["a"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (one.up_s, round(one.busy_s, 3)) == (10, 3)
    assert reasons(one) == {"starting": 4, "no_rows": 3}
    assert one.mean_in_flight == pytest.approx(0.4)


def test_a_replica_without_calls_was_there_all_the_same() -> None:
    records = [at(0, started()), at(0, said.EngineStarted("engine_a", "", 0.0, replicas=2)), at(10, finished())]
    calls = calls_of([Call("a", "0", 0, 10)], ["a"])
    busy, idle = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (busy.share, idle.share, idle.replica) == (0, 1, 1)


def test_an_engine_waits_for_the_step_before_its_own() -> None:
    records = [
        at(0, started()),
        *(at(0, said.EngineStarted(name, "", 0.0)) for name in ("engine_a", "engine_b")),
        at(10, finished()),
    ]
    calls = calls_of([Call("a", "0", 0, 6), Call("b", "0", 6, 9)], ["a", "b"])
    of_a, of_b = idleness(Timeline.of(records), calls, chain_of("a", "b"))
    assert reasons(of_a) == {"no_rows": 4}
    assert reasons(of_b) == {"other_step": 6, "no_rows": 1}


def test_a_function_before_the_step_is_seen_in_the_snapshots() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_b", "", 0.0)),
        at(2, snapshot(2, nodes={"f": {"running": 1}})),
        at(5, snapshot(5, nodes={"f": {"running": 1}})),
        at(6, snapshot(6, nodes={"f": {}})),
        at(10, finished()),
    ]
    calls = calls_of([Call("b", "0", 6, 10)], ["b"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("f", "b", functions=["f"]))
    assert reasons(one) == {"other_step": 5, "no_rows": 1}


def test_rate_limits_rows_not_read_and_rows_not_sent_are_told_apart() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(3, said.ChunkRead(0, 0, 5)),
        at(4, said.EngineThrottled("engine_a", "tokens per minute")),
        at(6, said.EngineUnthrottled("engine_a")),
        at(7, snapshot(7, engines={"engine_a": {"waiting": 0}})),
        at(8, snapshot(8, engines={"engine_a": {"waiting": 4}})),
        at(10, finished()),
    ]
    calls = calls_of([Call("a", "0", 3, 4), Call("a", "1", 8, 10)], ["a"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("a"))
    assert reasons(one) == {"no_input": 3, "rate_limit": 2, "between_calls": 1, "no_rows": 1}


def test_sleep_is_not_idle_time_and_waking_is_a_start() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(2, said.EngineAsleep("engine_a")),
        at(8, said.EngineAwake("engine_a", 1.0)),
        at(10, finished()),
    ]
    calls = calls_of([Call("a", "0", 0, 2), Call("a", "1", 8, 10)], ["a"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (one.up_s, reasons(one)) == (5, {"starting": 1})


def test_a_dead_replica_is_starting_until_another_stands_in_its_place() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0, replicas=2)),
        at(2, said.EngineDied("engine_a", 1, "killed")),
        at(6, said.EngineStarted("engine_a", "", 4.0, replica=1, replicas=2)),
        at(8, finished()),
    ]
    calls = calls_of([Call("a", "0", 0, 8), Call("a", "1", 0, 2, 1), Call("a", "2", 6, 8, 1)], ["a"])
    one, other = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (reasons(one), reasons(other)) == ({}, {"starting": 4})


def test_a_call_without_an_answer_keeps_its_engine_busy_but_while_it_waits_for_a_limit() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(2, said.EngineThrottled("engine_a", "the endpoint, which asks for pauses")),
        at(5, said.EngineUnthrottled("engine_a")),
        at(8, finished()),
    ]
    calls = calls_of([Call("a", "0", 0, 6, answered=False), Call("a", "1", 6, 7)], ["a"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (one.busy_s, reasons(one)) == (4, {"rate_limit": 3, "no_rows": 1})


def test_hours_between_two_processes_are_nobodys_idle_time() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(5, snapshot(5)),
        at(36_000, started()),
        at(36_000, said.EngineStarted("engine_a", "", 0.0)),
        at(36_005, finished()),
    ]
    calls = calls_of([Call("a", "0", 0, 5), Call("a", "1", 36_000, 36_005)], ["a"])
    (one,) = idleness(Timeline.of(records), calls, chain_of("a"))
    assert (one.up_s, one.busy_s) == (10, 10)


def test_without_events_a_replica_is_taken_to_be_there_from_its_first_call_to_its_last() -> None:
    calls = calls_of([Call("a", "0", 2, 4), Call("a", "1", 6, 8)], ["a"])
    (one,) = idleness(Timeline.of([at(0, started()), at(10, finished())]), calls, chain_of("a"))
    assert (one.up_s, one.busy_s, one.has_events) == (6, 4, False)


def test_calls_after_the_clock_was_put_back_lie_where_they_were() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(4, snapshot(4)),
        at(5 - 100, snapshot(5)),
        at(10 - 100, finished()),
    ]
    timeline = Timeline.of(records)
    calls = calls_of([Call("a", "0", 0, 4), Call("a", "1", 6 - 100, 10 - 100)], ["a"]).steady(timeline.jumps)
    (one,) = idleness(timeline, calls, chain_of("a"))
    assert (round(one.up_s, 2), round(one.busy_s, 2)) == (10, 8)


MADE = st.lists(
    st.builds(
        lambda step, row, start, took, replica: Call(step, str(row), start / 7, (start + took) / 7, replica),
        st.sampled_from("ab"),
        st.integers(0, 5),
        st.integers(-10, 80),
        st.integers(0, 30),
        st.integers(0, 1),
    ),
    max_size=12,
)
SAID = st.lists(
    st.tuples(
        st.integers(0, 70),
        st.sampled_from(
            [
                said.EngineStarting("engine_a", ""),
                said.EngineStarted("engine_a", "", 0.5, replicas=2),
                said.EngineStarted("engine_b", "", 0.0),
                said.EngineStarted("engine_a", "", 0.2, replica=1, replicas=2),
                said.EngineDied("engine_a", 1, ""),
                said.EngineAsleep("engine_a"),
                said.EngineAwake("engine_a", 0.7),
                said.EngineStopped("engine_b"),
                said.EngineThrottled("engine_b", "limit"),
                said.EngineUnthrottled("engine_b"),
                said.ChunkRead(0, 0, 1),
            ]
        ),
    ),
    max_size=10,
)


@given(SAID, MADE)
def test_busy_and_idle_time_are_all_there_is_whatever_happens(
    happened: list[tuple[int, said.Event]], made: list[Call]
) -> None:
    happened.sort(key=lambda one: one[0])
    records = [at(0, started()), *(at(second / 7, event) for second, event in happened), at(11, finished())]
    timeline = Timeline.of(records)
    for one in idleness(timeline, calls_of(made, ["a", "b"]), chain_of("a", "b")):
        assert one.busy_s + sum(one.why.values()) == pytest.approx(one.up_s, abs=1e-5)
        assert 0 <= one.busy_s <= one.up_s + 1e-6 <= timeline.seconds + 1e-5
        assert all(seconds >= 0 for seconds in one.why.values())
