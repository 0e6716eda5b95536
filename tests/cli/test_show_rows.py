"""Rows and runs in the terminal: pages, conditions, one row's tree, tags, the pager, a run that is followed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from chainette.cli.row_tree import row_tree
from chainette.cli.wording import ICONS, PLAIN
from chainette.files.reading import RunReader
from chainette.reports.journey import journey
from tests.cli.conftest import Project
from tests.run.looping import every_construct, tasks

NUMBERS = """
from pydantic import BaseModel
from chainette import Chain, apply

class Number(BaseModel):
    value: int
    word: str = ""

def named(n: Number) -> Number:
    if n.value % 10 == 9:
        raise ValueError("nine")
    return Number(value=n.value, word="even" if n.value % 2 == 0 else "odd")

numbers = Chain(name="Numbers", steps=[apply(named)])
"""


@pytest.fixture
def numbers(project: Project) -> Project:
    """60 rows in `runs/many`, six of which failed."""
    Path("evens.py").write_text(NUMBERS, encoding="utf-8")
    Path("numbers.jsonl").write_text("".join(f'{{"value": {n}}}\n' for n in range(60)), encoding="utf-8")
    run = ("run", "evens.py:numbers", "-i", "numbers.jsonl", "-q", "--max-failed", "9")
    project.call(*run, "-o", "runs/many", "--tag", "baseline", "--tag", "small")
    return project


def shown(out: str) -> list[str]:
    """The ids of the rows."""
    return [line.split()[0] for line in out.splitlines() if line and line[0].isdigit() and ": " in line]


def test_rows_are_shown_a_page_at_a_time_from_any_place(numbers: Project) -> None:
    out = numbers.call("show", "many", "named", "--limit", "3", "--page", "2")
    assert shown(out) == ["3", "4", "5"]
    assert out.splitlines()[-1] == "rows 4 to 6 of 54; on: --offset 6"
    assert shown(numbers.call("show", "many", "named", "--offset", "52")) == ["57", "58"]
    assert "rows 53 to 54 of 54" in numbers.out
    assert "there are only 54 rows" in numbers.call("show", "many", "named", "--offset", "99")
    rows = json.loads(numbers.call("show", "many", "named", "--offset", "50", "--limit", "0", "--json"))
    assert [row["_id"] for row in rows["rows"]] == ["55", "56", "57", "58"]


def test_rows_are_chosen_by_a_field_and_by_a_text(numbers: Project) -> None:
    assert shown(numbers.call("show", "many", "named", "--where", "value>=56")) == ["56", "57", "58"]
    assert shown(numbers.call("show", "many", "named", "--where", "value<5", "--where", "word=odd")) == ["1", "3"]
    out = numbers.call("show", "many", "named", "--search", "EVEN", "--limit", "2")
    assert shown(out) == ["0", "2"]
    assert "the first 2 such rows; on: --offset 2" in out
    assert "no such rows" in numbers.call("show", "many", "named", "--where", "word=prime")
    every = json.loads(numbers.call("show", "many", "named", "--where", "word=odd", "--limit", "0", "--json"))
    assert len(every["rows"]) == 24


def test_a_condition_that_compares_nothing_or_no_field_is_refused(numbers: Project) -> None:
    numbers.call("show", "many", "named", "--where", "word")
    assert "compares nothing" in numbers.err
    numbers.call("show", "many", "named", "--where", "wrod=odd")
    assert 'did you mean "word"?' in numbers.err
    assert numbers.exit_code == 2


def test_failed_rows_have_pages_too(numbers: Project) -> None:
    out = numbers.call("show", "many", "named", "--failed", "--limit", "2", "--offset", "2")
    assert [line.split()[0] for line in out.splitlines() if "ValueError" in line] == ["29", "39"]
    assert "rows 3 to 4 of 6" in out


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    """A run of everything that control flow can do."""
    from chainette import register_engine
    from chainette.specs import default_registry

    before = default_registry.copy()
    register_engine("stand_in", backend="scripted")
    folder = tmp_path_factory.mktemp("looped") / "run"
    every_construct().run(tasks(20), folder, max_failed=20)
    default_registry.replace(before)
    return RunReader(folder)


def tree_of(reader: RunReader, row: str, **kwargs: Any) -> list[str]:
    lines = row_tree(journey(reader, "chain_input", row), reader.graph()["outline"], kwargs.get("glyphs", ICONS))
    return [line.plain for line in lines]


def test_a_row_is_a_tree_of_the_branches_cases_and_turns_it_took(looped: RunReader) -> None:
    tree = tree_of(looped, "8")
    text = "\n".join(tree)
    assert tree[0].startswith("row 8")
    assert tree[1].startswith("├─ input  text: task 8 plain.")
    for word in ("branch work (as draft)", "took short", "turn 1", "turn 2", "took otherwise"):
        assert word in text
    assert "took long" not in text
    assert "turn 3" not in text
    depth = {line.strip("│ ├╰─◆ƒ↻◇»⋈∪~").split("  ")[0]: len(line) - len(line.lstrip("│ ├╰─")) for line in tree}
    assert depth["branch work (as draft)"] < depth["way"] < depth["took short"] < depth["work"] < depth["turn 1"]
    assert depth["turn 1"] < depth["note"]


def test_a_rows_tree_has_calls_with_times_and_tokens_and_its_children(looped: RunReader) -> None:
    text = "\n".join(tree_of(looped, "2"))
    assert " s, " in text
    assert " tokens" in text
    assert "✓ 2.0  text: task 2 refuses. part 0" in text
    assert "made into" in text
    assert "2.1  at split" in text


def test_a_rows_tree_ends_where_the_row_ended(looped: RunReader) -> None:
    assert tree_of(looped, "9")[-1].endswith("kept  apply  dropped here, or never got here")
    failed = "\n".join(tree_of(looped, "14"))
    assert "✗ apply  ValueError: will not be revised" in failed
    assert "second_vote" not in failed


def test_a_tree_is_drawn_in_ascii_where_it_must_be(looped: RunReader) -> None:
    drawn = set("".join(tree_of(looped, "8", glyphs=PLAIN)))
    assert not drawn & set("├╰│─◆ƒ⋈↻»◇∪✓✗")


def test_show_row_without_a_step_is_the_tree_and_with_one_all_that_was_said_there(looped: RunReader) -> None:
    from typer.testing import CliRunner

    from chainette.cli.main import app

    def call(*words: str) -> str:
        return CliRunner().invoke(app, ["show", str(looped.path), *words], prog_name="chainette").stdout

    assert call("--row", "8").splitlines()[2] == "├─ ƒ kept  apply"
    assert call("final", "--row", "8") == call("final", "8")
    assert json.loads(call("--row", "8", "--json"))["row"] == "8"


def test_tags_are_kept_listed_and_looked_for(numbers: Project) -> None:
    run = ("run", "evens.py:numbers", "-i", "numbers.jsonl", "-q", "--max-failed", "9")
    numbers.call(*run, "-o", "runs/other", "--tag", "baseline")
    assert json.loads(Path("runs/many/graph.json").read_text())["tags"] == ["baseline", "small"]
    assert "tags    baseline, small" in numbers.call("show", "many")
    listed = json.loads(numbers.call("runs", "--tag", "baseline", "--json"))
    assert {run["run"] for run in listed} == {"many", "other"}
    assert [run["run"] for run in json.loads(numbers.call("runs", "--tag", "small", "--json"))] == ["many"]
    assert "baseline, small" in numbers.call("runs")
    numbers.call("runs", "--tag", "smal")
    assert 'did you mean "small"?' in numbers.err


def test_a_tag_is_a_short_printable_word(numbers: Project) -> None:
    numbers.call("run", "evens.py:numbers", "-i", "numbers.jsonl", "--tag", "a\x1b[2J")
    assert numbers.exit_code == 2
    assert "is no tag" in numbers.err


def test_a_run_that_goes_on_keeps_its_tags(numbers: Project) -> None:
    text = Path("evens.py").read_text(encoding="utf-8").replace('raise ValueError("nine")', "pass")
    Path("evens.py").write_text(text, encoding="utf-8")
    numbers.call("retry", "many", "--force", "-q")
    assert numbers.exit_code == 0
    assert json.loads(numbers.call("runs", "--json"))[0]["tags"] == ["baseline", "small"]


def test_runs_are_chosen_by_state(numbers: Project) -> None:
    assert json.loads(numbers.call("runs", "--state", "died", "--json")) == []
    assert [run["run"] for run in json.loads(numbers.call("runs", "--state", "done", "--json"))] == ["many"]
    numbers.call("runs", "--state", "finished")
    assert 'no run is "finished"' in numbers.err


@pytest.mark.parametrize("width", [60, 80, 200])
def test_runs_fit_the_width_with_the_columns_that_matter_most(
    finished_run: Project, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    head, *lines = finished_run.call("runs").splitlines()
    assert head.startswith("RUN   STATE  ROWS")
    assert max(map(len, [head, *lines])) <= width
    assert ("TOKENS" in head) == (width > 60)
    assert ("CHAIN" in head) == (width > 60)


def in_terminal(*words: str, lines: int, env: dict[str, str]) -> str:
    """What a terminal of so many lines gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    told = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **env}
    command = [sys.executable, "-m", "chainette.cli", *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=told) as process:
        os.close(theirs)
        out = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                out += chunk
        except OSError:  # the other end is closed
            pass
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(ours)
    return out.decode()


PAGER = (
    "import sys; text = sys.stdin.read(); open('paged.txt', 'w').write(text); print(len(text.splitlines()), 'paged')"
)


def test_what_is_longer_than_the_screen_goes_through_the_pager(numbers: Project) -> None:
    Path("pager.py").write_text(PAGER, encoding="utf-8")
    env = {"PAGER": f"{sys.executable} pager.py"}
    assert in_terminal("show", "many", "named", "--limit", "0", lines=20, env=env).strip() == "54 paged"
    assert "\x1b[" in Path("paged.txt").read_text(), "with colours"
    assert "word:" in in_terminal("show", "many", "named", "--limit", "5", lines=20, env=env)
    whole = in_terminal("show", "many", "named", "--limit", "0", "--no-pager", lines=20, env=env)
    assert "paged" not in whole
    assert whole.count("word:") == 54


@pytest.mark.parametrize("pager", ["", "cat", "no-such-program", "'"])
def test_without_a_pager_everything_is_printed(numbers: Project, pager: str) -> None:
    out = in_terminal("show", "many", "named", "--limit", "0", lines=20, env={"PAGER": pager})
    assert out.count("word:") == 54


def test_less_is_told_of_colours_whatever_the_user_says_of_it(numbers: Project) -> None:
    Path("bin").mkdir()
    Path("bin/less").write_text('#!/bin/sh\ncat > /dev/null\necho "less $*, $LESS"\n', encoding="utf-8")
    Path("bin/less").chmod(0o755)
    env = {"PAGER": "bin/less -i", "LESS": "-X"}
    assert in_terminal("show", "many", "named", "--limit", "0", lines=20, env=env).strip() == "less -R -i, -X"


def test_a_step_that_is_given_and_empty_is_refused(numbers: Project) -> None:
    numbers.call("show", "many", "")
    assert numbers.exit_code == 2
    assert "STEP: is empty" in numbers.err


def test_a_pager_that_is_left_early_is_no_error(numbers: Project) -> None:
    env = {"PAGER": f"{sys.executable} -c 'print(input()[:9])'"}
    assert "word" not in in_terminal("show", "many", "named", "--limit", "0", lines=20, env=env)


def test_following_a_run_that_is_over_shows_its_end_and_how_it_ended(numbers: Project) -> None:
    numbers.call("show", "many", "--follow")
    assert numbers.exit_code == 0
    assert "100% | 60 of 60 rows committed" in numbers.err
    assert "6 failed" in numbers.err


def test_following_gives_the_events_as_json(numbers: Project) -> None:
    events = [json.loads(line) for line in numbers.call("show", "many", "--follow", "--json").splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("run_started", "run_finished")


def test_following_a_run_that_died_says_so_with_the_next_command(numbers: Project) -> None:
    record = Path("runs/many/events.jsonl")
    lines = [line for line in record.read_text().splitlines(True) if '"event":"run_finished"' not in line]
    record.write_text("".join(lines))
    status = json.loads(Path("runs/many/status.json").read_text())
    Path("runs/many/status.json").write_text(json.dumps({**status, "state": "running"}))
    numbers.call("show", "many", "--follow")
    assert numbers.exit_code == 2
    assert "many is died" in numbers.err
    assert "chainette resume many" in numbers.err


def test_report_is_written_into_the_run_or_where_it_is_wanted(numbers: Project) -> None:
    assert numbers.call("report", "many").strip() == "runs/many/report.html"
    told = json.loads(numbers.call("report", "many", "-o", "sent/numbers.html", "--json"))
    assert Path("sent/numbers.html").stat().st_size == told["bytes"]
    assert numbers.call("report", "many", "-o", "-", "--json").startswith("<!doctype html>")
    assert json.loads(numbers.err)["file"] == "-"
    Path("mine.html").write_text("mine")
    numbers.call("report", "many", "-o", "mine.html")
    assert "is no report" in numbers.err
    assert Path("mine.html").read_text() == "mine"


def test_a_run_leaves_its_report_when_asked_to(numbers: Project) -> None:
    run = ("run", "evens.py:numbers", "-i", "numbers.jsonl", "--max-failed", "9")
    numbers.call(*run, "-o", "runs/told", "--report")
    assert numbers.exit_code == 0
    assert Path("runs/told/report.html").is_file()
    assert "report  runs/told/report.html" in numbers.err
    assert not Path("runs/many/report.html").exists()
    numbers.call(*run, "-o", "runs/stopped", "--report", "--max-failed", "1", "--chunk-size", "5")
    assert "stopped" in Path("runs/stopped/report.html").read_text()


WAITS = """
from pydantic import BaseModel
from chainette import Chain, apply

class Number(BaseModel):
    value: int

def waits(n: Number) -> Number:
    if n.value == 4:
        open("gate").read()
    return n

chain = Chain(name="Waits", steps=[apply(waits)], chunk_size=4)
"""


def test_a_run_of_another_process_is_followed_until_it_ends(project: Project) -> None:
    Path("waits.py").write_text(WAITS, encoding="utf-8")
    Path("eight.jsonl").write_text("".join(f'{{"value": {n}}}\n' for n in range(8)), encoding="utf-8")
    os.mkfifo("gate")
    program = [sys.executable, "-m", "chainette.cli"]
    words = ["run", "waits.py:chain", "-i", "eight.jsonl", "-o", "runs/slow", "--json-logs"]
    with subprocess.Popen([*program, *words], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert "run_started" in run.stdout.readline()
        following = [*program, "show", "slow", "--follow"]
        with subprocess.Popen(following, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as follow:
            assert follow.stderr is not None
            assert "Waits: 8 rows into" in follow.stderr.readline()
            with open("gate", "w"):
                pass
            told = follow.stderr.read()
        run.stdout.read()
    assert (run.returncode, follow.returncode) == (0, 0)
    assert "100% | 8 of 8 rows committed" in told
