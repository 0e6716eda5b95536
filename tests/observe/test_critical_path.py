"""The critical path of small runs whose answer is known, and of any run: its parts are all the time there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

from chainette import events as said
from chainette.observe.critical_path import CriticalPath, critical_path
from chainette.observe.latency import Sample
from chainette.observe.timeline import Timeline
from chainette.observe.ways import Ways
from tests.observe.test_idle import MADE, SAID
from tests.observe.told import Call, at, calls_of, chain_of, finished, snapshot, started


def path_of(records: Sequence[dict[str, Any]], made: Sequence[Call], ways: Ways) -> CriticalPath:
    found = critical_path(Timeline.of(records), calls_of(made, sorted(ways.steps)), ways)
    assert found is not None
    return found


def shares(path: CriticalPath) -> dict[tuple[str, str], float]:
    return {(part.kind, part.name): round(part.seconds, 3) for part in path.parts if part.seconds > 1e-4}


def test_one_row_after_another_step_is_all_calls() -> None:
    made = [Call("a", "0", 1, 4), Call("b", "0", 4, 9)]
    path = path_of([at(0, started()), at(10, finished())], made, chain_of("a", "b"))
    assert shares(path) == {("call", "b"): 5, ("call", "a"): 3, ("input", ""): 1, ("end", ""): 1}
    assert sum(part.share for part in path.parts) == pytest.approx(1)


def test_the_start_of_an_engine_is_on_the_path_of_what_waited_for_it() -> None:
    records = [
        at(0, started()),
        at(1, said.ChunkRead(0, 0, 1)),
        at(1, said.EngineStarting("engine_a", "")),
        at(8, said.EngineStarted("engine_a", "", 7.0)),
        at(10, finished()),
    ]
    path = path_of(records, [Call("a", "0", 8, 10)], chain_of("a"))
    assert shares(path) == {("start", "engine_a"): 7, ("call", "a"): 2, ("input", ""): 1}


def test_rows_that_wait_for_a_slot_wait_for_the_call_that_held_it() -> None:
    records = [
        at(0, started()),
        at(0, said.ChunkRead(0, 0, 3)),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(6, snapshot(6, engines={"engine_a": {"window": 1}})),
        at(6, finished()),
    ]
    made = [Call("a", "0", 0, 2), Call("a", "1", 2, 4), Call("a", "2", 4, 6)]
    path = path_of(records, made, chain_of("a"))
    assert shares(path) == {("call", "a"): 6}
    assert path.parts[0].times == 3


def test_time_in_the_engines_queue_is_told_apart() -> None:
    path = path_of([at(0, started()), at(5, finished())], [Call("a", "0", 0, 5, queue=2.0)], chain_of("a"))
    assert shares(path) == {("call", "a"): 3, ("queue", "a"): 2}


def test_a_function_between_two_steps_is_named() -> None:
    made = [Call("a", "0", 0, 2), Call("b", "0", 6, 8)]
    path = path_of([at(0, started()), at(8, finished())], made, chain_of("a", "f", "b", functions=["f"]))
    assert shares(path) == {("function", "f"): 4, ("call", "a"): 2, ("call", "b"): 2}


def test_a_later_stage_waits_for_all_rows_of_the_one_before_and_for_its_engine() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(6, said.EngineStarting("engine_b", "")),
        at(9, said.EngineStarted("engine_b", "", 3.0)),
        at(10, finished()),
    ]
    made = [Call("a", "0", 0, 1), Call("a", "1", 0, 6), Call("b", "0", 9, 10)]
    path = path_of(records, made, chain_of("a", "b"))
    assert shares(path) == {("call", "a"): 6, ("start", "engine_b"): 3, ("call", "b"): 1}


def test_children_wait_for_the_row_they_were_made_from_and_a_gathered_row_for_its_children() -> None:
    made = [Call("a", "0", 0, 2), Call("b", "0.0", 2, 3), Call("b", "0.1", 2, 7), Call("c", "0", 7, 8)]
    others = [Call("b", "1.0", 0, 7.5)]
    path = path_of([at(0, started()), at(8, finished())], [*made, *others], chain_of("a", "b", "c"))
    assert shares(path) == {("call", "b"): 5, ("call", "a"): 2, ("call", "c"): 1}


def test_a_rate_limit_is_what_the_next_call_waited_for() -> None:
    records = [
        at(0, started()),
        at(0, said.EngineStarted("engine_a", "", 0.0)),
        at(2, said.EngineThrottled("engine_a", "requests per minute")),
        at(6, said.EngineUnthrottled("engine_a")),
        at(7, finished()),
    ]
    path = path_of(records, [Call("a", "0", 0, 2), Call("a", "1", 6, 7)], chain_of("a"))
    assert shares(path) == {("rate_limit", "engine_a"): 4, ("call", "a"): 3}


def test_in_a_loop_a_call_waits_for_the_turn_before() -> None:
    ways = Ways.of(
        {
            "nodes": [
                {"id": "loop", "type": "while_loop", "ways": [{"name": "body", "nodes": ["write", "review"]}]},
                {"id": "write", "type": "step", "engine": "e", "loops": ["loop"]},
                {"id": "review", "type": "step", "engine": "e", "loops": ["loop"]},
                {"id": "publish", "type": "step", "engine": "e"},
            ],
            "edges": [["chain_input", "loop"], ["loop", "write"], ["write", "review"], ["loop", "publish"]],
        }
    )
    made = [
        *(Call("write", "0", 0, 2), Call("review", "0", 2, 3), Call("write", "0", 3, 5), Call("review", "0", 5, 6)),
        Call("publish", "0", 6, 8),
    ]
    path = path_of([at(0, started()), at(8, finished())], made, ways)
    assert shares(path) == {("call", "write"): 4, ("call", "review"): 2, ("call", "publish"): 2}


def test_hours_between_two_processes_are_not_on_the_path() -> None:
    records = [at(0, started()), at(5, snapshot(5)), at(36_000, started()), at(36_004, finished())]
    path = path_of(records, [Call("a", "0", 0, 5), Call("a", "1", 36_000, 36_004)], chain_of("a"))
    assert path.seconds == 9
    assert shares(path) == {("call", "a"): 9}


def test_there_is_no_path_of_a_sample() -> None:
    calls = calls_of([Call("a", "0", 0, 5)], ["a"])
    calls.sample = Sample(1, 100)
    assert critical_path(Timeline.of([at(0, started()), at(5, finished())]), calls, chain_of("a")) is None


@given(SAID, MADE)
def test_the_parts_are_all_the_time_there_is_whatever_happens(
    happened: list[tuple[int, said.Event]], made: list[Call]
) -> None:
    happened.sort(key=lambda one: one[0])
    records = [
        at(-3, started()),
        at(-1, snapshot(2)),
        at(0, started()),
        *(at(second / 7, event) for second, event in happened),
        at(11, finished()),
    ]
    path = path_of(records, made, chain_of("a", "b"))
    assert sum(part.seconds for part in path.parts) == pytest.approx(13, abs=1e-5)
    assert sum(part.share for part in path.parts) == pytest.approx(1, abs=1e-5)
    assert all(one.end_s >= one.start_s for one in path.longest)
