"""trace.json as Perfetto's own trace processor reads it, from events and calls as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chainette import events as said
from chainette.events import EngineCount, Event, NodeCount
from chainette.observe import event_fields, record_line, utc
from chainette.observe.call_spans import CallSpans
from chainette.observe.timeline import Timeline
from chainette.observe.trace import Trace
from tests.observe.perfetto import Loaded, loaded

T0 = 1_795_000_000.0
NODES = (("ask", "step", "ask"), ("tidy", "apply", "tidy"))


def call(row: str, start_s: float, seconds: float, **more: Any) -> dict[str, Any]:
    """A line of `calls/`."""
    record = {
        "_id": row,
        "key": "0f" * 16,
        "attempt": 1,
        "text": 'says "usage":{} and ,"finish_reason":',
        "reasoning": None,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "cached_tokens": 2},
        "started_s": T0 + start_s,
        "seconds": seconds,
        "replica": 0,
        "sent": 1,
    }
    return {name: value for name, value in {**record, **more}.items() if value is not ...}


def snapshot(elapsed_s: float, running: int, done: int, tokens: int) -> Event:
    nodes = {"ask": NodeCount(running=running, done=done), "tidy": NodeCount(waiting=running, done=done)}
    engine = EngineCount(window=8, running=running, waiting=1, completion_tokens=tokens, prompt_tokens=2 * tokens)
    return said.Progressed(done + running, done, elapsed_s, nodes, {"llama": engine})


STORY: list[tuple[float, Event]] = [
    (0, said.RunStarted("r-1", "/runs/r-1", "Story", 4, NODES, ["ask", "tidy"], (("llama", "two of them"),))),
    (0, said.StageStarted(0, 2, ("chain_input", "ask", "ask//turn"), ("llama",))),
    (0.1, said.EngineStarting("llama", "two of them")),
    (1.1, said.EngineStarted("llama", "two of them", 1.0, replicas=2)),
    (1.2, snapshot(1.2, 2, 0, 0)),
    (2.0, said.EngineDied("llama", 1, "out of memory </script>")),
    (2.2, snapshot(2.2, 1, 2, 50)),
    (2.5, said.EngineThrottled("llama", "60 requests a minute")),
    (3.0, said.EngineUnthrottled("llama")),
    (3.1, said.EngineStarted("llama", "two of them", 1.1, replica=1, replicas=2)),
    (3.2, snapshot(3.2, 0, 4, 150)),
    (3.3, said.StageFinished(0)),
    (3.3, said.EngineAsleep("llama", "its devices are needed")),
    (3.3, said.StageStarted(1, 2, ("tidy",), ())),
    (4.0, said.EngineAwake("llama", 0.2)),
    (4.1, said.Warned("odd \u001b[31m row")),
    (4.2, said.StageFinished(1)),
    (4.2, said.EngineStopped("llama", "the run is over")),
    (4.5, said.RunFinished("r-1", "/runs/r-1", "done", 4, 4, 0, 0, 4.5, {}, {})),
]
CALLS = [
    call("0", 1.2, 0.5, queue_s=0.1, first_token_s=0.3),
    call("1", 1.2, 0.7, replica=1),
    call('2 "é\\', 1.3, 0.6, attempt=2, refused=["schema"]),
    call("3", 1.75, 1.0, turn=[2, 1], sent=3),
    {"_id": "4", "key": "k", "attempt": 1, "error": {"kind": "timeout", "message": "<b>late</b>"}, "sent": 2}
    | {"started_s": T0 + 2, "seconds": 1.5},
    {"_id": "5", "key": "k", "attempt": 1, "error": {"kind": "http", "message": "of an older run"}, "sent": 1},
    call("6", -500, 1, reused={"run": "other", "_id": "6"}),
    call("7", 2.9, 0.2, texts=["a", "b"], text=..., finish_reason=..., finish_reasons=["stop", "length"]),
    {"_id": "8", "key": "k", "attempt": 1, "made": [{"value": 1}]},
]


def timeline(story: list[tuple[float, Event]]) -> Timeline:
    return Timeline.of({**json.loads(record_line(event_fields(e))), "time": utc(T0 + at + 0.0001)} for at, e in story)


def written(path: Path, story: list[tuple[float, Event]], calls: list[dict[str, Any]], **other: Any) -> Path:
    spans = CallSpans(T0)
    spans.add("ask", "llama", b"".join(record_line(record) + b"\n" for record in calls))
    path.write_bytes(b"".join(Trace(timeline(story), spans, other).blocks()))
    return path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("trace")
    with loaded(written(folder / "trace.json", STORY, CALLS), folder) as processor:
        yield processor


def test_perfetto_reads_it_without_a_complaint(story: Loaded) -> None:
    assert story.problems() == []


def test_each_replica_is_a_process_and_so_are_the_run_its_steps_and_the_engine(story: Loaded) -> None:
    names = {name for (name,) in story.rows("select name from process where name is not null")}
    replicas = {f"engine llama, {which}" for which in ("replica 0", "replica 1", "no replica")}
    assert names == {"run", "steps", "engine llama"} | replicas


def test_calls_that_overlap_lie_in_different_lanes_and_others_share_them(story: Loaded) -> None:
    found = story.slices("p.name = 'engine llama, replica 0' and s.depth = 0")
    assert [(lane, name, at, length) for _, lane, name, at, length, _ in found] == [
        ("slot 0", "ask", 1200.0, 500.0),
        ("slot 1", "ask (refused: schema)", 1300.0, 600.0),
        ("slot 0", "ask", 1750.0, 1000.0),
        ("slot 0", "ask", 2900.0, 200.0),
    ]


def test_waiting_in_the_queue_and_the_first_token_lie_within_their_call(story: Loaded) -> None:
    inner = [(name, at, length) for _, _, name, at, length, depth in story.slices("p.name like '%0'") if depth == 1]
    assert inner == [("queue", 1200.0, 100.0), ("first token", 1300.0, 200.0)]


def test_a_call_says_which_row_it_was_for_and_what_it_took(story: Loaded) -> None:
    assert story.args("name = 'ask' and ts = 1200000000 and track_id in (select id from thread_track)")["row"] in "01"
    refused = story.args("name = 'ask (refused: schema)'")
    assert (refused["row"], refused["attempt"], refused["refused"]) == ('2 "é\\', "2", "schema")
    assert (refused["prompt_tokens"], refused["cached_tokens"], refused["completion_tokens"]) == ("10", "2", "4")
    again = story.args("name = 'ask' and ts = 1750000000")
    assert (again["turn"], again["requests"]) == ("2, 1", "3")


def test_a_call_that_failed_says_why_and_one_that_does_not_say_when_is_left_out(story: Loaded) -> None:
    failed = story.slices("s.name like 'ask (failed%'")
    assert failed == [("engine llama, no replica", "slot 0", "ask (failed: timeout)", 2000.0, 1500.0, 0)]
    assert story.args("name like 'ask (failed%'")["message"] == "<b>late</b>"


def test_what_the_engine_did_is_on_a_lane_of_its_own(story: Loaded) -> None:
    assert [slice[2:5] for slice in story.slices("t.name = 'state'")] == [
        ("starting", 100.0, 1000.0),
        ("ready", 1100.0, 2200.0),
        ("asleep", 3300.0, 500.0),
        ("waking", 3800.0, 200.0),
        ("ready", 4000.0, 200.0),
    ]
    assert [slice[2:5] for slice in story.slices("t.name = 'limits'")] == [("throttled", 2500.0, 500.0)]


def test_a_death_is_on_the_process_of_its_replica(story: Loaded) -> None:
    assert [slice[:1] + slice[2:5] for slice in story.slices("t.name = 'deaths'")] == [
        ("engine llama, replica 1", "dead", 2000.0, 1100.0)
    ]
    assert story.args("name = 'dead'")["why"] == "out of memory </script>"
    assert story.rows("select ts / 1e6 as ts from slice where name = 'died'") == [(2000.0,)]


def test_stages_and_sessions_are_on_the_process_of_the_run(story: Loaded) -> None:
    assert [(lane, name, at, length) for _, lane, name, at, length, _ in story.slices("p.name = 'run'")] == [
        ("sessions", "session 1: done", 0.0, 4500.0),
        ("stages", "stage 1 of 2", 0.0, 3300.0),
        ("stages", "stage 2 of 2", 3300.0, 900.0),
    ]
    assert story.args("name = 'stage 1 of 2'")["nodes"] == "ask"
    assert story.args("name = 'warning'")["message"].endswith("[31m row")


def test_counters_tell_what_is_running_and_how_quick_it_is(story: Loaded) -> None:
    assert story.counter("run", "rows in flight") == [(0, 0), (1200, 2), (2200, 1), (3200, 0), (4500, 0)]
    assert story.counter("engine llama", "calls running") == [(1200, 2), (2200, 1), (3200, 0), (4500, 0)]
    assert story.counter("engine llama", "tokens/s completion") == [(1200, 50), (2200, 100), (3200, 0)]
    assert story.counter("steps", "tidy waiting") == [(1200, 2), (2200, 1), (3200, 0), (4500, 0)]


def test_a_run_of_two_processes_with_one_that_was_killed_is_one_trace(tmp_path: Path) -> None:
    again = [(at + 100, replace(e, rows_before=2) if isinstance(e, said.RunStarted) else e) for at, e in STORY]
    path = written(tmp_path / "trace.json", [*STORY[:7], *again], CALLS[:2])
    with loaded(path, tmp_path) as trace:
        assert trace.problems() == []
        sessions = [slice[2:5] for slice in trace.slices("t.name = 'sessions'")]
    assert sessions == [("session 1: died", 0.0, 2200.0), ("session 2: done", 100_000.0, 4500.0)]


@pytest.mark.parametrize("spoil", [lambda line: line[:-9], lambda line: b"\xff" + line, lambda line: b"[]"])
def test_a_damaged_line_costs_that_call_and_no_other(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    spans = CallSpans(T0)
    lines = [record_line(record) for record in (call("0", 1, 1), call("1", 2, 1), call("2", 3, 1))]
    spans.add("ask", "llama", b"\n".join([lines[0], spoil(lines[1]), lines[2], b""]))
    assert spans.kept == 2
    document = json.loads(b"".join(Trace(timeline(STORY), spans).blocks()))
    assert [e["args"]["row"] for e in document["traceEvents"] if e.get("cat") == "call"] == ["0", "2"]


def test_a_call_is_told_the_same_whether_or_not_its_line_is_a_usual_one() -> None:
    usual, unusual = CallSpans(T0), CallSpans(T0)
    record = call("17.2", 1.5, 0.25, turn=...)
    usual.add("ask", "llama", record_line(record) + b"\n")
    unusual.add("ask", "llama", record_line({**record, "more": 1}) + b"\n")
    told = [json.loads(b"{" + s.replicas["llama", 0][0][2] + b"}}") for s in (usual, unusual)]
    assert told[0] == told[1]
    assert usual.replicas["llama", 0][0][:2] == unusual.replicas["llama", 0][0][:2] == (1_500_000, 1_750_000)
