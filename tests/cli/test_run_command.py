from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Project


def test_a_run_leaves_its_folder_and_says_where(project: Project) -> None:
    out = project.call("run", "small.py:chain", "-i", "in.jsonl")
    assert project.exit_code == 0
    assert len((project.folder / out.strip() / "steps" / "last" / "000.jsonl").read_text().splitlines()) == 5
    assert "done · 5 rows in · 5 out" in project.err


@pytest.mark.parametrize(
    "words",
    [
        ["small.py", "chain", "in.jsonl", "out"],
        ["small.py", "chain", "in.jsonl", "-o", "out"],
        ["small.py", "chain", "-i", "in.jsonl", "-o", "out"],
        ["small.py", "chain", "out", "-i", "in.jsonl"],
        ["small.py:chain", "in.jsonl", "out"],
        ["small.py:chain", "--input", "in.jsonl", "--output_dir=out", "--max_lines_per_file", "2"],
        ["small.py:chain", "-i", "in.jsonl", "-o", "out", "--stream_writer", "--no_flattened"],
        ["small:chain", "-i", "in.jsonl", "-o", "out"],
    ],
)
def test_every_way_of_calling_it_means_the_same(project: Project, words: list[str]) -> None:
    project.call("run", *words, "--quiet")
    assert project.exit_code == 0, project.err
    assert (project.folder / "out" / "steps" / "last" / "000.jsonl").exists()


def test_rows_can_come_from_standard_input(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "-", "-o", "out", "-q", stdin='{"text": "a"}\n')
    assert project.exit_code == 0, project.err
    assert (project.folder / "out" / "steps" / "halves" / "000.jsonl").read_text() == '{"_id":"0","text":"a"}\n'


def test_the_limit_takes_the_first_rows(project: Project) -> None:
    project.call("run", "small.py:chain", "-i", "in.jsonl", "--limit", "2")
    assert "2 rows in" in project.err


def test_failed_rows_are_exit_code_3(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl")
    assert project.exit_code == 3
    assert "1 × halves apply  ValueError: a bad [red]row[/red]" in project.err
    assert "chainette show plain-" in project.err


def test_failed_rows_within_max_failed_are_a_success(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "--max-failed", "20%")
    assert project.exit_code == 0
    assert "1 failed (allowed)" in project.err


def test_more_failed_rows_than_max_failed_are_exit_code_3(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "--max_failed=0")
    assert project.exit_code == 3


def test_json_logs_are_all_that_stands_on_stdout(project: Project) -> None:
    said = [
        json.loads(line) for line in project.call("run", "small.py:plain", "-i", "in.jsonl", "--json-logs").splitlines()
    ]
    assert said[0]["event"] == "run_started"
    assert said[-1]["event"] == "run_finished"
    assert said[-1]["nodes"]["halves"] | {"seconds": 0} == said[-1]["nodes"]["halves"] | {
        "entered": 5,
        "done": 3,
        "made": 3,
        "failed": 1,
        "dropped": 1,
        "running": 0,
        "waiting": 0,
        "seconds": 0,
    }
    assert "halving" not in project.out
    assert "halving" in project.err


def test_json_logs_are_the_lines_of_the_record_with_more_snapshots(project: Project) -> None:
    said = project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "out", "--json-logs").splitlines()
    record = (project.folder / "out/events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line for line in said if line in record] == record
    assert {json.loads(line)["event"] for line in set(said) - set(record)} <= {"progressed"}


def test_json_logs_tell_of_an_error_too(project: Project) -> None:
    said = [
        json.loads(line) for line in project.call("run", "small.py:wrong", "-i", "in.jsonl", "--json-logs").splitlines()
    ]
    assert [line["event"] for line in said] == ["error"]
    assert said[0]["exit_code"] == project.exit_code == 2
    assert len(said[0]["problems"]) == 3


def test_quiet_leaves_only_the_folder(project: Project) -> None:
    out = project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "out", "--quiet")
    assert (out, project.err) == ("out\n", "")


def test_without_icons_everything_is_ascii(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "--no-icons")
    assert project.err.isascii()


def test_another_engine_can_be_named_for_a_step(project: Project) -> None:
    project.call("run", "small.py:chain", "-i", "in.jsonl", "--engine", "last=stand_im")
    assert project.exit_code == 2
    assert 'did you mean "stand_in"?' in project.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["small.py:chian", "-i", "in.jsonl"], 'did you mean "chain"?'),
        (["smal.py:chain", "-i", "in.jsonl"], 'did you mean "small.py"?'),
        (["small.py:chain"], "--input"),
        (["small.py", "chain", "in.jsonl", "out", "more"], "too many: more"),
        (["small.py:chain", "in.jsonl", "-i", "in.jsonl", "-o", "x"], "given as the input too"),
        (["small.py", "chain", "in.jsonl", "out", "-o", "x"], "given as the folder too"),
        (["small.py:chain", "-i", "in.jsonl", "--param", "novalue"], 'takes name=value, not "novalue"'),
        (["small.py:chain", "-i", "in.jsonl", "--reuse", "last"], "there are no runs in runs"),
        (["small.py:chain", "-i", "in.jsonl", "--max-failed", "many"], "max_failed"),
        (["small.py:chain", "-i", "in.jsonl", "-o", "."], "is not empty"),
        (["small.py:chain", "-i", "in.jsonl", "--engine", "lst=stand_in"], 'did you mean "last"?'),
        (["small.py:wrong", "-i", "in.jsonl"], "next: chainette inspect small.py:wrong"),
        (["small.py:chain", "-i", ""], "--input: is empty"),
        (["small.py:chain", "-i", "in.jsonl", "-o", ""], "--output-dir: is empty"),
        (["small.py:chain", "-i", "in.jsonl", "--columns", ""], "--columns: is empty"),
        (["small.py:chain", "-i", "in.jsonl", "--columns", ",text"], "--columns: column 1 is empty"),
        (["small.py:chain", "-i", "in.jsonl", "-q", "--json-logs"], "--quiet: says nothing"),
        (["small.py:chain", "-i", "in.jsonl", "--format", "xml"], "'xml' is not one of jsonl, parquet, csv"),
        (["small.py:chain", "-i", "in.jsonl", "--limit", "x"], "--limit: should be a valid integer"),
        (["small.py:chain", "-i"], "requires an argument"),
        (["small.py:chain", "--limt", "3"], 'did you mean "--limit"?'),
        ([], "CHAIN: is missing"),
    ],
)
def test_a_wrong_call_is_one_block_and_exit_code_2(project: Project, words: list[str], said: str) -> None:
    assert project.call("run", *words) == ""
    assert project.exit_code == 2
    assert project.err.startswith("error: ")
    assert said in project.err
    assert "Traceback" not in project.err


def test_a_bad_input_line_is_exit_code_2_before_anything_is_made(project: Project) -> None:
    Path("broken.jsonl").write_text('{"text": "a"}\n{"txt": 1}\n')
    project.call("run", "small.py:chain", "-i", "broken.jsonl")
    assert project.exit_code == 2
    assert "broken.jsonl" in project.err
    assert not Path("runs").exists()


def test_a_dry_run_checks_and_leaves_nothing(project: Project) -> None:
    out = project.call("run", "small.py:chain", "-i", "in.jsonl", "--dry-run")
    assert project.exit_code == 0
    assert "nothing stands in the way of a run" in out
    project.call("run", "small.py:wrong", "-i", "in.jsonl", "--dry-run")
    assert project.exit_code == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-i", "nowhere.jsonl"], "there is no nowhere.jsonl"),
        (["-i", "broken.jsonl"], "broken.jsonl:2"),
        (["-i", "in.jsonl", "-o", "full"], "full is not empty"),
        (["-i", "in.jsonl", "-o", "in.jsonl"], "in.jsonl is a file"),
        (["-i", "in.jsonl", "-o", "in.jsonl/x"], "in.jsonl/x"),
        (["-i", "in.jsonl", "--columns", "nope"], 'no column "nope"'),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(project: Project, words: list[str], said: str) -> None:
    Path("broken.jsonl").write_text('{"text": "a"}\n{"txt": 1}\n')
    Path("full").mkdir()
    Path("full/x").touch()
    out = project.call("run", "small.py:chain", *words, "--dry-run")
    assert project.exit_code == 2
    assert said in out
    project.call("run", "small.py:chain", *words)
    assert project.exit_code == 2
    assert said in project.err


def test_a_dry_run_ends_with_the_command_that_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "small.py:chain", "-i", "in.jsonl", "-o", "my out", "--limit", "2", "--dry_run"]
    monkeypatch.setattr("sys.argv", ["chainette", *words])
    last = project.call(*words).splitlines()[-1]
    assert last == "next: chainette run small.py:chain -i in.jsonl -o 'my out' --limit 2"


def test_a_dry_run_leaves_standard_input_unread(project: Project) -> None:
    out = project.call("run", "small.py:chain", "-i", "-", "--dry-run", stdin="no json")
    assert project.exit_code == 0, out


@pytest.mark.parametrize(
    ("code", "target", "said"),
    [
        ("import sys\nsys.exit(0)\n", "bad.py:chain", "bad.py:2: called sys.exit(0) when imported"),
        ("import sys\nsys.exit(0)\n", "bad_module:chain", "bad_module.py:2: called sys.exit(0) when imported"),
        ("raise BaseException('no')\n", "bad.py:chain", "bad.py:1: raised BaseException when imported: no"),
        ("def f():\n    raise ValueError('no')\n\nf()\n", "bad.py:chain", "bad.py:2: raised ValueError"),
        ("import nosuchpackage\n", "bad.py:chain", "hint: pip install nosuchpackage"),
        ("x = (\n", "bad.py:chain", "bad.py:1: raised SyntaxError"),
        ("", ":chain", "names no module or file"),
        ("", "small.py:", "names no chain after the colon"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_its_line(
    project: Project, code: str, target: str, said: str
) -> None:
    Path("bad.py").write_text(code)
    Path("bad_module.py").write_text(code)
    project.call("run", target, "-i", "in.jsonl")
    assert project.exit_code == 2
    assert said in project.err


def test_a_module_may_have_a_name_of_one_letter(project: Project) -> None:
    Path("s.py").write_text("from small import plain\n")
    project.call("run", "s:plain", "-i", "in.jsonl", "--limit", "1", "-q")
    assert project.exit_code == 0, project.err


def test_a_run_that_stops_says_why_and_where_and_is_exit_code_1(project: Project) -> None:
    Path("engines.yml").write_text("engines: [{name: stand_in, backend: scripted, script: {die_after: 3}}]\n")
    out = project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "out")
    assert (project.exit_code, out) == (1, "out\n")
    assert "error: engine" in project.err
    assert "folder: out\n  next: chainette resume out" in project.err
