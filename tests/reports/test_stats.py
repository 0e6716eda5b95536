"""The figures of real runs, held against what their folders say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainette import Branch, Chain, EngineDiedError, apply, register_engine, while_loop
from chainette.engine.scripted import Script, scripted_server
from chainette.files.reading import RunReader
from chainette.reports import RunStats, run_stats
from tests.folders import as_killed, lines, status
from tests.models import Answer, Question, Summary, step

QA = step("qa", Question, Answer)
SUM_UP = step("sum_up", Answer, Summary, prompt="{{ answer }} of {{ row_id }}")
ROWS = 24


def questions(count: int = ROWS) -> list[Question]:
    return [Question(text=f"question {n}") for n in range(count)]


def stats_of(folder: Path, **options: Any) -> RunStats:
    return run_stats(RunReader(folder), **options)


def calls_in(run: Path, step: str) -> list[dict[str, Any]]:
    return [record for path in sorted(run.glob(f"calls/{step}/*.jsonl")) for record in lines(path)]


@pytest.fixture
def two_steps(engine: Callable[..., Any], tmp_path: Path) -> Path:
    engine(service_mean_s=0.004, service_sigma=0.3, slots=4, cached_share=0.25, metrics=True)
    Chain(name="Two", steps=[QA, SUM_UP]).run(questions(), tmp_path / "run", chunk_size=6)
    return tmp_path / "run"


def test_counts_and_tokens_are_those_of_the_status(two_steps: Path) -> None:
    stats, said = stats_of(two_steps), status(two_steps)
    assert (stats.state, stats.rows_in, stats.rows_out, stats.rows_total) == ("done", ROWS, ROWS, ROWS)
    for one in stats.steps:
        node = said["nodes"][one.id]
        assert (one.calls, one.rows_out, one.seconds) == (node["calls"], node["rows_out"], node["seconds"])
        assert (one.tokens.prompt, one.tokens.cached) == (node["prompt_tokens"], node["cached_tokens"])
        assert one.tokens.cached_share == node["cached_tokens"] / node["prompt_tokens"]
    assert stats.tokens.completion == said["completion_tokens"]
    assert stats.engines[0].busy_s == said["engines"]["stand_in"]["busy_s"]


def test_times_are_those_of_the_calls(two_steps: Path) -> None:
    for one in stats_of(two_steps).steps:
        records = calls_in(two_steps, one.id)
        assert one.times is not None
        for spread, name in ((one.times.queue, "queue_s"), (one.times.first_token, "first_token_s")):
            assert spread is not None
            assert spread.count == ROWS
            assert spread.mean == pytest.approx(np.mean([record[name] for record in records]), rel=1e-5, abs=1e-6)
        assert one.times.total is not None
        seconds = sorted(record["seconds"] for record in records)
        assert (one.times.total.p50, one.times.total.most) == (seconds[ROWS // 2 - 1], seconds[-1])
        began = min(record["started_s"] for record in records)
        assert one.at_work_s == pytest.approx(max(r["started_s"] + r["seconds"] for r in records) - began, abs=0.005)


def test_the_parts_of_the_critical_path_are_the_time_of_the_run(two_steps: Path) -> None:
    stats = stats_of(two_steps)
    assert stats.path is not None
    assert sum(part.seconds for part in stats.path.parts) == pytest.approx(stats.seconds)
    assert {part.name for part in stats.path.parts if part.kind == "call"} == {"qa", "sum_up"}


def test_a_replicas_time_is_busy_or_idle_for_a_reason(two_steps: Path) -> None:
    (engine,) = stats_of(two_steps).engines
    (one,) = engine.replicas
    assert one.has_events
    assert one.busy_s + sum(one.why.values()) == pytest.approx(one.up_s)
    assert one.in_flight == pytest.approx(sum(r["seconds"] for s in engine.steps for r in calls_in(two_steps, s)), 0.2)


def test_what_is_public_is_json(two_steps: Path) -> None:
    told = json.loads(json.dumps(stats_of(two_steps).public(), allow_nan=False))
    assert told["steps"][0]["times"]["total"]["count"] == ROWS
    assert told["critical_path"]["parts"]
    assert told["missing"] == []


def test_fan_out_and_branches_are_told_edge_by_edge(engine: Callable[..., Any], tmp_path: Path) -> None:
    def twice(row: Question) -> list[Question]:
        return [row, row]

    def first_half(row: Question) -> Question | None:
        return row if int(row.text.split()[1]) < 3 else None

    engine()
    extra = Branch(name="extra", steps=[apply(first_half), step("aside", Question, Summary)]).join("x", missing="none")
    chain = Chain(name="Fan", steps=[apply(twice), [extra], QA])
    chain.run(questions(6), tmp_path / "run")
    stats = stats_of(tmp_path / "run")
    rows = {(edge.start, edge.end): (edge.rows, edge.per_entered) for edge in stats.edges}
    assert rows["chain_input", "twice"] == (6, 1.0)
    assert rows["twice", "first_half"] == (12, 2.0)
    assert rows["first_half", "aside"] == (6, 0.5)
    by_id = {one.id: one for one in stats.steps}
    assert by_id["twice"].made_per_row == 2.0
    assert by_id["first_half"].dropped == 6


def test_a_loop_tells_its_turns_per_row(engine: Callable[..., Any], tmp_path: Path) -> None:
    engine(answers={"question 0": {"text": "go on"}, "go on": {"text": "enough"}, "question 1": {"text": "enough"}})
    again = while_loop(
        [step("again", Question, Question)], until=lambda row: row.text == "enough", max_iterations=3, id="loop"
    )
    Chain(name="Loop", steps=[again]).run(questions(2), tmp_path / "run")
    by_id = {one.id: one for one in stats_of(tmp_path / "run").steps}
    assert (by_id["loop"].turns, by_id["again"].rows_in) == (1.5, 3)


def test_a_run_without_steps_says_that_there_are_no_times(tmp_path: Path) -> None:
    Chain(name="Plain", steps=[apply(lambda rows: rows)]).run([{"text": "a"}], tmp_path / "run")
    stats = stats_of(tmp_path / "run")
    assert (stats.engines, stats.path) == ([], None)
    assert any("no step asks an engine" in words for words in stats.missing)


def test_answers_of_another_run_have_no_times_of_this_one(two_steps: Path, tmp_path: Path) -> None:
    Chain(name="Two", steps=[QA, SUM_UP]).run(questions(), tmp_path / "second", reuse=two_steps)
    stats = stats_of(tmp_path / "second")
    assert [(one.calls, one.reused) for one in stats.steps] == [(0, ROWS), (0, ROWS)]
    assert [one.times.total for one in stats.steps if one.times is not None] == [None, None]
    assert stats.path is None
    assert any("all answers are of another" in words for words in stats.missing)


def test_failures_are_counted_and_calls_without_an_answer_have_no_total(tmp_path: Path) -> None:
    faults = ({"kind": "error_body", "containing": "question 3", "status": 400},)
    with scripted_server(Script(faults=faults)) as server:
        register_engine("served", backend="openai", model="m", endpoint=server.url, max_retries=0)
        Chain(name="One", steps=[QA]).run(questions(6), tmp_path / "run")
    (one,) = stats_of(tmp_path / "run").steps
    assert (one.failed, one.calls) == (1, 6)
    assert one.times is not None
    assert one.times.total is not None
    assert (one.times.total.count, one.times.unanswered) == (5, 1)


def test_what_the_endpoint_does_not_tell_is_said_and_not_zero(engine: Callable[..., Any], tmp_path: Path) -> None:
    engine()
    Chain(name="One", steps=[QA]).run(questions(3), tmp_path / "run")
    stats = stats_of(tmp_path / "run")
    times = stats.steps[0].times
    assert times is not None
    assert (times.queue, times.first_token) == (None, None)
    assert any("does not tell how long calls waited" in words for words in stats.missing)
    assert stats.gpu_seconds is None


def test_a_run_that_died_says_when_and_with_which_words_and_what_to_type(two_steps: Path) -> None:
    kept = [line for line in (two_steps / "events.jsonl").read_bytes().splitlines() if b"run_finished" not in line]
    (two_steps / "events.jsonl").write_bytes(b"\n".join(kept) + b"\n")
    stats = stats_of(as_killed(two_steps))
    assert (stats.state, stats.next_command, stats.processes) == ("died", "resume", 1)
    ended = max(r["started_s"] + r["seconds"] for s in ("qa", "sum_up") for r in calls_in(two_steps, s))
    assert stats.last_sign_s is not None
    assert stats.last_sign_s >= ended - 0.001
    assert stats.last_words


def test_a_run_in_two_processes_is_the_time_of_both_and_not_what_lies_between(
    engine: Callable[..., Any], tmp_path: Path
) -> None:
    engine(die_after=10)
    with pytest.raises(EngineDiedError):
        Chain(name="One", steps=[QA]).run(questions(), tmp_path / "run")
    engine()
    events = tmp_path / "run" / "events.jsonl"
    _hours_ago(tmp_path / "run")
    Chain(name="One", steps=[QA]).run(questions(), resume=tmp_path / "run")
    stats = stats_of(tmp_path / "run")
    assert events.read_bytes().count(b'"run_started"') == 2
    assert stats.processes == 2
    assert stats.last_sign_s is not None
    assert stats.started_s is not None
    assert stats.last_sign_s - stats.started_s > 7000
    assert stats.seconds < 3600
    assert sum(one.up_s for engine in stats.engines for one in engine.replicas) <= stats.seconds + 1e-6


def _hours_ago(run: Path) -> None:
    """What the folder says of times is two hours earlier."""
    from chainette.observe import unix_s, utc

    told = [json.dumps({**r, "time": utc(unix_s(r) - 7200)}) for r in lines(run / "events.jsonl")]
    (run / "events.jsonl").write_text("\n".join(told) + "\n", encoding="utf-8")
    for path in run.glob("calls/*/*.jsonl"):
        moved = [{**r, "started_s": r["started_s"] - 7200} if "started_s" in r else r for r in lines(path)]
        path.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in moved), encoding="utf-8")


def test_a_folder_without_events_still_has_figures(two_steps: Path) -> None:
    (two_steps / "events.jsonl").unlink()
    stats = stats_of(two_steps)
    assert stats.seconds == pytest.approx(status(two_steps)["seconds"], abs=0.1)
    assert stats.path is not None
    assert not stats.engines[0].replicas[0].has_events
    assert any("events.jsonl does not say" in words for words in stats.missing)


def test_a_run_at_work_is_told_as_of_now_with_the_time_to_go(two_steps: Path) -> None:
    (two_steps / "status.json").write_text(json.dumps({**status(two_steps), "state": "running", "rows_done": 12}))
    whole = lines(two_steps / "events.jsonl")
    began = [record for record in whole if record["event"] not in ("progressed", "run_finished")]
    snapshot = next(record for record in whole if record["event"] == "progressed")
    from chainette.observe import unix_s, utc

    zero_s = unix_s(whole[0])
    for second, done in ((10, 0), (20, 6), (30, 12)):
        said = {**snapshot, "time": utc(zero_s + second), "elapsed_s": second, "rows_done": done}
        began.append(said)
    (two_steps / "events.jsonl").write_text("".join(json.dumps(record) + "\n" for record in began))
    from filelock import FileLock

    with FileLock(two_steps / ".lock"):
        stats = stats_of(two_steps, now_s=zero_s + 31)
    assert (stats.state, round(stats.seconds)) == ("running", 31)
    assert stats.eta_s is not None
    assert 10 <= stats.eta_s <= 40


def test_of_more_calls_than_the_limit_a_sample_is_looked_at_and_said_so(two_steps: Path) -> None:
    for path in two_steps.glob("calls/*/000.jsonl"):
        path.write_bytes(path.read_bytes() * 400)
    stats = stats_of(two_steps, limit=5_000)
    assert stats.sample is not None
    assert stats.sample.looked_at < 400 * ROWS * 2
    assert stats.sample.about == pytest.approx(400 * ROWS * 2, rel=0.05)
    assert stats.path is None
    times = stats.steps[0].times
    assert times is not None
    assert times.total is not None
    assert times.total.count <= stats.sample.looked_at


def test_a_damaged_line_of_calls_is_counted_and_said(two_steps: Path) -> None:
    with (two_steps / "calls/qa/000.jsonl").open("ab") as file:
        file.write(b'{"_id":"7","key":"\n')
    assert "1 line of calls/ cannot be read" in stats_of(two_steps).missing


def test_reports_are_imported_lightly() -> None:
    program = "import sys; from chainette.reports import run_stats; print({'numpy', 'duckdb'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
