"""`chainette note`: said, changed, listed and taken away, and no part of what a run is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.folders import everything


@pytest.fixture
def run(project: Project) -> Path:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "r", "--max-failed", "9", "--quiet")
    return project.folder / "r"


def test_a_note_is_written_changed_and_listed(project: Project, run: Path) -> None:
    project.call("note", "r", "halves", "0", "wrong [b]city[/b]", "--label", "bad", "--by", "ann")
    project.call("note", "r", "halves", "0", "-l", "good")
    out = project.call("note", "r")
    assert "0  halves  good" in out
    assert "wrong [b]city[/b]" in out
    told = json.loads(project.call("note", "r", "halves", "--json"))
    assert [(one["_id"], one["label"], one["text"]) for one in told] == [("0", "good", "wrong [b]city[/b]")]
    project.call("note", "r", "halves", "0", "--remove")
    assert "no notes yet" in project.call("note", "r")


def test_a_row_that_failed_or_was_dropped_may_be_noted(project: Project, run: Path) -> None:
    for row in ("1", "3"):
        project.call("note", "r", "halves", row, "-l", "todo")
        assert project.exit_code == 0


def test_a_note_on_no_row_says_how_to_find_one(project: Project, run: Path) -> None:
    project.call("note", "r", "halves", "77", "-l", "good")
    assert project.exit_code == 2
    assert 'no row "77" at halves in r' in project.err
    assert "next: chainette show r halves" in project.err
    project.call("note", "r", "halfs", "0", "-l", "good")
    assert 'did you mean "halves"?' in project.err
    project.call("note", "r", "-l", "good")
    assert project.exit_code == 2


def test_notes_stay_through_a_retry_and_a_resume_and_change_nothing_of_the_run(project: Project, run: Path) -> None:
    before = everything(run)
    project.call("note", "r", "halves", "3", "-l", "bad")
    after = everything(run)
    assert {path for path in after if path not in before} == {"notes/halves.jsonl"}
    assert all(after[path] == content for path, content in before.items())
    project.call("retry", "r", "--quiet")
    project.call("resume", "r", "--quiet")
    assert everything(run)["notes/halves.jsonl"] == after["notes/halves.jsonl"]
    assert "3  halves  bad" in project.call("note", "r")
