"""chainette diff: what is said of two runs, and its exit code."""

from __future__ import annotations

import json

import pytest

from chainette.reports.changed_words import changed_words
from tests.cli.conftest import Project


@pytest.fixture
def two_runs(finished_run: Project) -> Project:
    """`done`, and `other` with another prompt in its second step and one more input row at the front."""
    chain = (finished_run.folder / "small.py").read_text("utf-8")
    changed = chain.replace('system_prompt="In French."', 'system_prompt="In plain French."')
    (finished_run.folder / "changed.py").write_text(changed, encoding="utf-8")
    rows = (finished_run.folder / "in.jsonl").read_text("utf-8")
    (finished_run.folder / "more.jsonl").write_text('{"text": "zero"}\n' + rows, encoding="utf-8")
    finished_run.call("run", "changed.py:chain", "-i", "more.jsonl", "-o", "runs/other", "-q")
    assert finished_run.exit_code == 0, finished_run.err
    return finished_run


def test_two_runs_of_the_same_chain_differ_in_nothing(finished_run: Project) -> None:
    finished_run.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/again", "-q")
    out = finished_run.call("diff", "done", "again")
    assert finished_run.exit_code == 0
    assert "no row differs" in out
    assert json.loads(finished_run.call("diff", "done", "again", "--json"))["differs"] is False


def test_what_changed_in_the_chain_stands_before_the_rows(two_runs: Project) -> None:
    out = two_runs.call("diff", "done", "other")
    assert two_runs.exit_code == 1
    assert out.index('step "french": its prompt changed') < out.index("chain_input")
    assert "In {+plain +}French." in out
    assert "input: its content changed" in out


def test_a_row_at_the_front_does_not_make_the_others_differ(two_runs: Project) -> None:
    nodes = {n["id"]: n for n in json.loads(two_runs.call("diff", "done", "other", "--json"))["nodes"]}
    assert (nodes["chain_input"]["same"], nodes["chain_input"]["added"]) == (5, 1)
    assert (nodes["facts"]["same"], nodes["facts"]["added"], nodes["facts"]["changed"]) == (5, 1, 0)
    assert nodes["french"]["changed"] == 5
    assert nodes["french"]["fields"] == {"verdict": 5}


def test_examples_show_both_ids_and_the_words_that_differ(two_runs: Project) -> None:
    out = two_runs.call("diff", "done", "other", "--step", "french", "--limit", "1")
    assert "0 -> 1  changed" in out
    assert "  verdict  " in out
    assert "and 4 more" in out
    assert "facts" not in out.partition("step ")[2]


def test_tokens_stand_before_and_after(two_runs: Project) -> None:
    told = json.loads(two_runs.call("diff", "done", "other", "--json", "--step", "facts"))
    (node,) = told["nodes"]
    assert node["tokens"]["after"]["prompt_tokens"] > node["tokens"]["before"]["prompt_tokens"] > 0
    before, after = (f"{node['tokens'][when]['prompt_tokens']:,}" for when in ("before", "after"))
    assert f"{before} -> {after}" in two_runs.call("diff", "done", "other")


def test_rows_that_fail_now_are_told_with_the_reason(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "runs/bad", "-q")
    chain = (project.folder / "small.py").read_text("utf-8")
    (project.folder / "good.py").write_text(chain.replace('"bad"', '"never"'), encoding="utf-8")
    project.call("run", "good.py:plain", "-i", "in.jsonl", "-o", "runs/good", "-q")
    out = project.call("diff", "good", "bad")
    assert project.exit_code == 1
    assert "3  newly failed\n    apply: ValueError: a bad [red]row[/red]" in out
    assert "1 -> 0" in project.call("diff", "bad", "good")
    assert "no longer failed" in project.out


@pytest.mark.parametrize(
    "args", [("done", "nowhere"), ("done", "done", "--step", "frensh"), ("done",), ("done", "done", "--limit", "-1")]
)
def test_a_wrong_call_is_exit_code_2(finished_run: Project, args: tuple[str, ...]) -> None:
    finished_run.call("diff", *args)
    assert finished_run.exit_code == 2


def test_an_unknown_step_is_answered_with_the_nearest(finished_run: Project) -> None:
    finished_run.call("diff", "done", "last", "--step", "frensh")
    assert 'did you mean "french"?' in finished_run.err


def test_only_the_words_near_a_change_are_shown() -> None:
    before = " ".join(f"w{i}" for i in range(100))
    parts = changed_words(before, before.replace("w50", "new"))
    assert [(sign, words) for sign, words in parts if sign != " "] == [("-", "w50"), ("+", "new")]
    assert len(parts[0][1]) < 60
    assert parts[0][1].endswith("w49 ")
    assert changed_words("same", "same") == [(" ", "same")]
