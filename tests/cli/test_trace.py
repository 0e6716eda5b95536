"""`chainette trace`, and `--otel` on `run` and `resume`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Project
from tests.reports.otlp import read_file


def test_trace_makes_the_file_again_and_says_where_it_is(finished_run: Project) -> None:
    Path("runs/done/trace.json").unlink()
    out = finished_run.call("trace", "done")
    assert out.startswith("runs/done/trace.json  ")
    assert "https://ui.perfetto.dev" in out
    assert json.loads(Path("runs/done/trace.json").read_text())["otherData"]["chain"] == "Small"


def test_trace_writes_elsewhere_and_tells_a_program_what_it_wrote(finished_run: Project) -> None:
    told = json.loads(finished_run.call("trace", "last", "-o", "t.json", "--json"))
    assert told["bytes"] == Path("t.json").stat().st_size
    assert (told["run"], told["calls"], told["of"], told["sampled"]) == ("done", 15, 15, False)


def test_a_trace_of_fewer_calls_says_of_how_many(finished_run: Project) -> None:
    assert " of about " in finished_run.call("trace", "last", "-o", "t.json", "--max-spans", "1")


def test_a_folder_that_cannot_be_written_is_an_error_with_its_name(finished_run: Project) -> None:
    finished_run.call("trace", "last", "-o", "nowhere/t.json")
    assert finished_run.exit_code != 0
    assert "nowhere/t.json" in finished_run.err


def test_a_file_that_is_no_trace_is_not_replaced(finished_run: Project) -> None:
    Path("mine.json").write_text("mine")
    finished_run.call("trace", "last", "-o", "mine.json")
    assert (finished_run.exit_code, Path("mine.json").read_text()) == (2, "mine")
    assert "is no trace" in finished_run.err


def test_a_trace_does_not_go_to_standard_output(finished_run: Project) -> None:
    finished_run.call("trace", "last", "-o", "-")
    assert finished_run.exit_code == 2
    assert not Path("-").exists()


def test_a_run_without_events_has_no_trace(finished_run: Project) -> None:
    Path("runs/done/events.jsonl").unlink()
    finished_run.call("trace", "done")
    assert finished_run.exit_code == 2
    assert "done has no events" in finished_run.err


def test_run_tells_open_telemetry_in_a_file(project: Project) -> None:
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/one", "-q", "--otel", "file:spans.json")
    assert project.exit_code == 0, project.err
    spans, metrics = read_file(Path("spans.json"))
    assert {span["name"].split()[0] for span in spans} >= {"chainette.run", "chainette.step", "chat"}
    assert metrics


def test_what_is_no_target_is_a_wrong_call(project: Project) -> None:
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/one", "--otel", "here")
    assert project.exit_code == 2
    assert "http://localhost:4318, env, or file:spans.json" in project.err
    assert not Path("runs/one").exists()
