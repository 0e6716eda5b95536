"""Events folded: processes, engines, stages, snapshots, and clocks that were set."""

from __future__ import annotations

import pytest

from chainette import events as said
from chainette.events import Interrupted, StageFinished, StageStarted, Warned
from chainette.observe.engine_track import MOST_REPLICAS
from chainette.observe.timeline import Timeline
from tests.observe.told import T, at, finished, snapshot, started


def spans(timeline: Timeline, engine: str, session: int = 0) -> list[tuple[str, float, float]]:
    track = timeline.sessions[session].engines[engine]
    return [(span.state, round(span.start_s - T, 3), round(span.end_s - T, 3)) for span in track.spans]


def test_a_run_of_an_older_version_has_its_sessions_and_nothing_in_them() -> None:
    timeline = Timeline.of([at(0, started()), at(7, finished())])
    assert [(s.state, s.seconds) for s in timeline.sessions] == [("done", 7.0)]
    assert not timeline.is_detailed


def test_a_process_that_was_killed_ends_with_its_last_event() -> None:
    records = [at(0, started()), at(5, snapshot(4.5)), at(3600, started()), at(3610, finished())]
    timeline = Timeline.of(records)
    assert [(s.state, s.seconds) for s in timeline.sessions] == [("died", 5.0), ("done", 10.0)]
    assert timeline.seconds == 15.0


def test_what_a_later_process_says_of_a_dead_one_is_no_sign_of_life_of_it() -> None:
    recovered = at(3599, said.ChunkCommitted(4, 640, recovered=True))
    read = at(3599, said.ChunkRead(4, 512, 128, recovered=True))
    cut = at(3599, said.ChunksCutBack(5, "the files do not hold them"))
    records = [at(0, started()), at(5, snapshot(4.5)), read, recovered, cut, at(3600, started()), at(3601, finished())]
    assert Timeline.of(records).sessions[0].seconds == 5.0


def test_a_run_at_work_reaches_to_now() -> None:
    records = [at(0, started()), at(1, said.EngineStarted("e", "", 0.5))]
    session = Timeline.of(records, now_s=T + 60).sessions[0]
    assert (session.state, session.seconds) == ("running", 60.0)
    assert session.engines["e"].spans[-1].end_s == T + 60


def test_an_engine_is_followed_through_all_its_states() -> None:
    records = [
        at(0, started()),
        at(1, said.EngineStarting("e", "a model")),
        at(11, said.EngineStarted("e", "a model", 10.0, replicas=2)),
        at(20, said.EngineThrottled("e", "requests per minute")),
        at(23, said.EngineUnthrottled("e", 2.5)),
        at(30, said.EngineDied("e", 1, "out of memory")),
        at(34, said.EngineStarted("e", "a model", 4.0, replica=1, replicas=2)),
        at(40, said.EngineAsleep("e")),
        at(52, said.EngineAwake("e", 2.0)),
        at(60, said.EngineStopped("e", "idle")),
        at(70, finished()),
    ]
    timeline = Timeline.of(records)
    assert spans(timeline, "e") == [
        ("starting", 1, 11),
        ("ready", 11, 40),
        ("asleep", 40, 50),
        ("waking", 50, 52),
        ("ready", 52, 60),
        ("stopped", 60, 70),
    ]
    track = timeline.sessions[0].engines["e"]
    assert (track.replicas, track.starts, track.deaths) == (2, 1, 1)
    assert [(gone.replica, gone.start_s - T, gone.end_s - T, gone.why) for gone in track.dead] == [
        (1, 30, 34, "out of memory")
    ]
    assert [(held.start_s - T, held.end_s - T, held.held_s) for held in track.throttled] == [(20, 23, 2.5)]


def test_an_engine_whose_start_was_not_said_began_as_long_before_as_it_took() -> None:
    timeline = Timeline.of([at(0, started()), at(9, said.EngineStarted("e", "", 4.0)), at(10, finished())])
    assert spans(timeline, "e") == [("starting", 5, 9), ("ready", 9, 10)]


def test_what_lasts_when_a_process_is_killed_lasts_to_its_last_sign_of_life() -> None:
    timeline = Timeline.of([at(0, started()), at(1, said.EngineStarted("e", "", 0)), at(5, snapshot(4))])
    timeline.sessions[0].reach(T + 8)
    assert timeline.sessions[0].seconds == 8.0
    assert spans(timeline, "e") == [("ready", 1, 8)]


def test_snapshots_are_columns_of_equal_length() -> None:
    records = [
        at(0, started()),
        at(1, snapshot(1, nodes={"a": {"entered": 3}})),
        at(2, snapshot(2, nodes={"a": {"entered": 5}}, engines={"e": {"window": 8, "running": 2}})),
        at(3, finished()),
    ]
    progress = Timeline.of(records).sessions[0].progress
    assert list(progress.nodes["a"]["entered"]) == [3, 5]
    running = progress.engines["e"]["running"]
    assert (len(running), running[1]) == (2, 2)
    assert running[0] != running[0]


def test_stages_chunks_warnings_and_the_wish_to_stop_have_their_times() -> None:
    records = [
        at(0, started()),
        at(1, StageStarted(0, 2, ("a",), ("e",))),
        at(2, said.ChunkRead(0, 0, 128)),
        at(3, Warned("slow")),
        at(4, said.ChunkCommitted(0, 128)),
        at(5, StageFinished(0)),
        at(6, StageStarted(1, 2, ("b",), ("f",))),
        at(7, Interrupted()),
        at(9, finished("interrupted")),
    ]
    session = Timeline.of(records).sessions[0]
    assert [(stage.stage, stage.start_s - T, stage.end_s - T) for stage in session.stages] == [(0, 1, 5), (1, 6, 9)]
    assert (list(session.chunks.read), list(session.chunks.rows_committed)) == ([0], [128])
    assert [(words.at_s - T, words.words) for words in session.warnings] == [(3, "slow")]
    assert session.interrupted_s == T + 7


def test_unknown_and_broken_events_are_counted_and_passed_over() -> None:
    records = [
        at(0, started()),
        {"event": "from_tomorrow", "time": "2026-01-01T00:00:00.000Z"},
        {"event": "chunk_read", "time": "2026-01-01T00:00:00.000Z"},
        {"no": "event"},
        at(2, finished()),
    ]
    timeline = Timeline.of(records)
    assert (timeline.unknown, timeline.sessions[0].state) == (3, "done")


def test_an_engine_of_a_folder_from_anybody_has_no_more_replicas_than_can_be_drawn() -> None:
    records = [
        at(0, started()),
        at(1, said.EngineStarted("a", "", 0.0, replicas=10**12)),
        at(1, said.EngineDied("b", 10**12, "")),
    ]
    engines = Timeline.of(records).sessions[0].engines
    assert [track.replicas for track in engines.values()] == [MOST_REPLICAS, MOST_REPLICAS]


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_a_clock_that_was_set_changes_no_duration(by_s: float) -> None:
    records = [
        at(0, started()),
        at(1, snapshot(1)),
        at(2, snapshot(2)),
        at(3 + by_s, snapshot(3)),
        at(4 + by_s, snapshot(4)),
        at(5 + by_s, finished()),
    ]
    timeline = Timeline.of(records)
    assert timeline.seconds == pytest.approx(5, abs=0.01)
    assert [round(jump.by_s) for jump in timeline.jumps] == [by_s]


def test_a_process_on_a_machine_whose_clock_is_behind_follows_the_one_before_it() -> None:
    timeline = Timeline.of([at(100, started()), at(110, snapshot(9)), at(50, started()), at(56, finished())])
    assert timeline.seconds == 16.0
    assert timeline.sessions[1].started_s >= timeline.sessions[0].ended_s
