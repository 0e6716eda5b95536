"""`chainette resume` and `chainette retry`, and `run` with --resume and --reuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from chainette.run import load_chain
from tests.cli.conftest import ENGINES, TEXTS, Project
from tests.folders import as_killed, derived, everything

DYING = "engines: [{name: stand_in, backend: scripted, script: {die_after: %d}}]\n"
BAD = "engines: [{name: stand_in, backend: scripted, script: {faults: [{kind: mismatch, containing: 'In French.'}]}}]\n"


def engines(project: Project, text: str) -> None:
    (project.folder / "engines.yml").write_text(text, encoding="utf-8")


@pytest.fixture
def stopped(project: Project) -> Project:
    """The project with one run in `runs/one` whose engine died after seven calls, and a whole one in `runs/whole`."""
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/whole", "-q", "--chunk-size", "2")
    engines(project, DYING % 7)
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/one", "-q", "--chunk-size", "2")
    assert project.exit_code == 1
    engines(project, ENGINES)
    return project


@pytest.mark.parametrize(
    "words", [["resume", "one"], ["resume", "runs/one"], ["run", "small.py:chain", "--resume", "one"]]
)
def test_a_stopped_run_goes_on_in_its_folder_to_the_files_of_a_whole_one(stopped: Project, words: list[str]) -> None:
    more = ["-i", "in.jsonl"] if words[0] == "run" else []
    stopped.call(*words, *more)
    assert stopped.exit_code == 0, stopped.err
    runs = stopped.folder / "runs"
    assert derived(runs / "one") == derived(runs / "whole")
    assert sorted(path.name for path in runs.iterdir()) == ["one", "whole"]


def test_a_run_is_resumed_from_anywhere(stopped: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stopped.call("resume", str(stopped.folder / "runs/one"), "-q")
    assert stopped.exit_code == 0, stopped.err
    assert derived(stopped.folder / "runs/one") == derived(stopped.folder / "runs/whole")


def test_a_run_that_is_done_is_left_alone_and_it_is_said(finished_run: Project) -> None:
    before = everything(finished_run.folder / "runs/done")
    finished_run.call("resume", "done")
    assert finished_run.exit_code == 0
    assert "done" in finished_run.err + finished_run.out
    assert everything(finished_run.folder / "runs/done") == before


def test_a_changed_prompt_is_named_and_exit_code_2_and_force_takes_it(stopped: Project) -> None:
    chain = stopped.folder / "small.py"
    chain.write_text(chain.read_text().replace("In French.", "In German."), encoding="utf-8")
    before = everything(stopped.folder / "runs/one")
    stopped.call("resume", "one")
    assert stopped.exit_code == 2
    assert 'step "french"' in stopped.err
    assert "--force" in stopped.err
    assert everything(stopped.folder / "runs/one") == before
    stopped.call("resume", "one", "--force", "-q")
    assert stopped.exit_code == 0, stopped.err


def test_rows_from_standard_input_need_not_be_piped_again_once_they_were_all_read(project: Project) -> None:
    rows = (project.folder / "in.jsonl").read_text()
    project.call("run", "small.py:chain", "-i", "-", "-o", "runs/whole", "-q", stdin=rows)
    run = as_killed(Path(shutil.copytree(project.folder / "runs/whole", project.folder / "runs/one")))
    shutil.rmtree(run / "steps")
    project.call("resume", "one", "-q")
    assert project.exit_code == 0, project.err
    assert derived(run) == derived(project.folder / "runs/whole")


def test_rows_from_standard_input_that_were_not_all_read_can_be_piped_again(project: Project) -> None:
    rows = (project.folder / "in.jsonl").read_text()
    project.call("run", "small.py:chain", "-i", "-", "-o", "runs/whole", "-q", "--chunk-size", "1", stdin=rows)
    run = as_killed(Path(shutil.copytree(project.folder / "runs/whole", project.folder / "runs/one")))
    os.truncate(run / "inputs/000.jsonl", len('{"_id":"0","text":"one"}\n') * 2)
    project.call("resume", "one")
    assert project.exit_code == 2
    assert "-i -" in project.err
    project.call("resume", "one", "-i", "-", "-q", stdin=rows)
    assert derived(run) == derived(project.folder / "runs/whole")


def test_a_run_that_was_started_from_python_says_how_to_go_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_chain("small.py:plain").run([{"text": "a"}], output_dir="runs/python")
    project.call("resume", "python")
    assert project.exit_code in (1, 2)
    assert "chain.run(inputs, resume=" in project.err


def test_a_run_that_is_not_there_is_named(project: Project) -> None:
    for words in (
        ["resume", "nope"],
        ["retry", "nope"],
        ["run", "small.py:chain", "-i", "in.jsonl", "--reuse", "nope"],
    ):
        project.call(*words)
        assert project.exit_code in (1, 2)
        assert 'no run "nope"' in project.err


def test_retry_heals_failed_rows_in_their_places(project: Project) -> None:
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/whole", "-q")
    engines(project, BAD)
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/one", "-q")
    assert project.exit_code == 3
    engines(project, ENGINES)
    project.call("retry", "one", "--step", "french", "--kind", "schema")
    assert project.exit_code == 0, project.err
    assert derived(project.folder / "runs/one") == derived(project.folder / "runs/whole")


def test_an_unknown_step_or_kind_is_refused_with_the_nearest(finished_run: Project) -> None:
    finished_run.call("retry", "done", "--step", "frensh")
    assert (finished_run.exit_code, "french" in finished_run.err) == (2, True)
    finished_run.call("retry", "done", "--kind", "schemas")
    assert (finished_run.exit_code, "schema" in finished_run.err) == (2, True)


def test_a_run_with_reuse_makes_no_call_that_was_made_before(finished_run: Project) -> None:
    engines(finished_run, DYING % 0)
    finished_run.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/new", "-q", "--reuse", "done")
    assert finished_run.exit_code == 0, finished_run.err
    status = json.loads((finished_run.folder / "runs/new/status.json").read_text())
    assert {node["reused"] for id, node in status["nodes"].items() if id in ("facts", "french", "last")} == {len(TEXTS)}
    assert derived(finished_run.folder / "runs/new") == derived(finished_run.folder / "runs/done")
