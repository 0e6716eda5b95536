"""trace.json as a run leaves it: read by Perfetto's trace processor, made again after a death, never in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainette import Chain, apply
from chainette.engine.scripted import Fault
from chainette.events import Event, Warned
from chainette.files.reading import RunReader
from chainette.reports.trace import write_trace
from chainette.run import RunOptions, run
from tests.folders import as_killed, calls, lines
from tests.models import Answer, Question, step
from tests.observe.perfetto import loaded
from tests.run.conftest import ROWS
from tests.run.pipeline import chain as pipeline
from tests.run.pipeline import items

Serve = Callable[..., Any]


def shout(answer: Answer) -> Answer:
    return Answer(answer=answer.answer.upper(), confidence=answer.confidence)


def chain() -> Chain:
    ask = step("ask", Question, Answer, "Q: {{ text }}", retries=0)
    return Chain(name="timed", steps=[ask, apply(shout), step("again", Answer, Answer, "A: {{ answer }}")])


def questions(count: int) -> list[Question]:
    return [Question(text=f"why {number}") for number in range(count)]


def spans(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_bytes())
    return [event for event in document["traceEvents"] if event.get("cat") in ("call", "refused", "failed")]


def test_a_run_leaves_a_trace_that_perfetto_reads(served: Serve, tmp_path: Path) -> None:
    served(Fault(kind="refuse", status=400, containing="why 3"), service_mean_s=0.002, slots=2)
    folder = tmp_path / "run"
    chain().run(questions(8), folder, max_failed=1)
    with loaded(folder / "trace.json", tmp_path) as trace:
        assert trace.problems() == []
        found = trace.slices("p.name like 'engine served%' and t.name like 'slot %' and s.depth = 0")
        names = [name for _, _, name, *_ in found]
        lanes: dict[tuple[str, str], float] = {}
        for process, lane, _, at, length, _ in found:
            assert at >= lanes.get((process, lane), 0.0)
            lanes[process, lane] = at + length
        assert trace.slices("t.name = 'sessions'")[0][2] == "session 1: done"
    assert {name: names.count(name) for name in names} == {"ask": 7, "ask (failed: http)": 1, "again": 7}
    rows = [(e["name"].split()[0], e["args"]["row"]) for e in spans(folder / "trace.json")]
    assert sorted(rows) == sorted((name, row) for name, row, _ in calls(folder))


def test_a_run_that_stopped_leaves_one_too(cut_off: Callable[..., Path]) -> None:
    folder = cut_off(after=20)
    document = json.loads((folder / "trace.json").read_bytes())
    assert document["otherData"]["state"] == "stopped"
    assert len(spans(folder / "trace.json")) == len(calls(folder))


def test_a_run_that_goes_on_has_both_its_processes_in_it(cut_off: Callable[..., Path]) -> None:
    folder = cut_off(after=20)
    pipeline().run(items(ROWS), resume=folder)
    assert len(spans(folder / "trace.json")) == len(calls(folder))
    events = json.loads((folder / "trace.json").read_bytes())["traceEvents"]
    sessions = [event["name"] for event in events if event["name"].startswith("session ")]
    assert sessions == ["session 1: stopped", "session 2: done"]


def test_that_no_trace_can_be_written_is_a_warning_and_no_more(served: Serve, tmp_path: Path) -> None:
    served()
    said: list[Event] = []

    def in_the_way(event: Event) -> None:
        said.append(event)
        (tmp_path / "run" / "trace.json").mkdir(exist_ok=True)

    result = run(chain(), questions(2), RunOptions(output_dir=tmp_path / "run"), in_the_way)
    assert result.state == "done"
    warnings = [event.message for event in said if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "trace.json was not written" in warnings[0]
    assert not list((tmp_path / "run").glob(".trace*"))


def test_a_run_that_was_killed_has_a_trace_when_it_is_asked_for(served: Serve, tmp_path: Path) -> None:
    served()
    chain().run(questions(3), tmp_path / "run")
    folder = as_killed(tmp_path / "run")
    events = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(events[:-1]) + events[-1][:40])
    written = write_trace(RunReader(folder), tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_bytes())
    assert (written.kept, document["otherData"]["state"]) == (6, "died")


def test_above_a_limit_a_sample_is_taken_over_the_whole_run_and_the_file_says_so(served: Serve, tmp_path: Path) -> None:
    served()
    chain().run(questions(3000), tmp_path / "run")
    path = tmp_path / "small.json"
    written = write_trace(RunReader(tmp_path / "run"), path, max_spans=1000)
    document = json.loads(path.read_bytes())
    other = document["otherData"]
    assert (other["sampled"], other["kept"]) == (True, len(spans(path)))
    assert 500 <= other["kept"] <= 1500
    assert other["of"] == pytest.approx(6000, rel=0.1)
    processes = {e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"}
    assert f"engine served (a sample: {other['kept']:,} of about {other['of']:,} calls)" in processes
    assert written.sampled


def test_calls_taken_from_another_run_are_no_spans_of_this_one(served: Serve, tmp_path: Path) -> None:
    served()
    chain().run(questions(3), tmp_path / "first")
    chain().run(questions(4), tmp_path / "second", reuse=tmp_path / "first")
    assert [e["args"]["row"] for e in spans(tmp_path / "second" / "trace.json")] == ["3", "3"]


def test_a_call_that_was_not_answered_says_when_it_was(served: Serve, tmp_path: Path) -> None:
    served(Fault(kind="refuse", status=400))
    chain().run(questions(1), tmp_path / "run", max_failed=1)
    (record,) = lines(tmp_path / "run" / "calls" / "ask" / "000.jsonl")
    assert record["started_s"] > 1e9
    assert record["seconds"] >= 0
