"""Descriptors, signals and broken pipes of the real program."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Project

PROGRAM = [sys.executable, "-m", "chainette.cli"]
RUN = ["run", "small.py:chain", "-i", "in.jsonl", "-o", "out"]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """`chainette` with `line` behind it, redirections and all."""
    command = f'exec "$0" -m chainette.cli {line}'
    return subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_needs_none_of_the_standard_streams(project: Project, closed: str) -> None:
    done = shell(f"{' '.join(RUN)} {closed}")
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("out/status.json").read_text())["state"] == "done"


@needs_full
def test_a_stderr_that_cannot_be_written_does_not_end_a_run(project: Project) -> None:
    done = shell(f"{' '.join(RUN)} 2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "out\n")


@needs_full
def test_user_code_may_print_to_a_stderr_that_cannot_be_written(project: Project) -> None:
    Path("in.jsonl").write_text('{"text": "a"}\n')
    done = shell("run small.py:plain -i in.jsonl -q -o out 2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "out\n")


@needs_full
@pytest.mark.parametrize("words", ["runs", "--help", " ".join(RUN)])
def test_a_stdout_that_cannot_be_written_is_said_and_is_exit_code_1(project: Project, words: str) -> None:
    done = shell(f"{words} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: cannot write to standard output: no space left on device"


@needs_full
def test_json_logs_that_cannot_be_written_do_not_end_a_run(project: Project) -> None:
    done = shell(f"{' '.join(RUN)} --json-logs >/dev/full")
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr
    assert json.loads(Path("out/status.json").read_text())["state"] == "done"


def test_a_line_of_ours_is_not_glued_onto_what_user_code_printed(project: Project) -> None:
    Path("talks.py").write_text(
        "from small import *\n"
        "def says(row: Text) -> Text:\n"
        "    print('no line break', end='')\n"
        "    return row\n"
        "chain = Chain(name='Talks', steps=[apply(says)])\n"
    )
    said = shell("run talks.py:chain -i in.jsonl --limit 1").stderr.splitlines()
    assert any(line.endswith("no line break") for line in said)
    assert not any("no line break" in line and "elapsed" in line for line in said)


PASSES = """
import atexit, sys
from pydantic import BaseModel
from chainette import Chain, apply
class Row(BaseModel):
    text: str
def same(row: Row) -> Row:
    return row
chain = Chain(name="Passes", steps=[apply(same)])
"""


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until(running: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    assert running.stdout is not None
    said: list[dict[str, Any]] = []
    for line in running.stdout:
        said.append(json.loads(line))
        if said[-1]["event"] == event:
            break
    return said


def test_ctrl_c_finishes_what_is_in_flight_and_is_exit_code_130(project: Project) -> None:
    Path("passes.py").write_text(PASSES)
    with started("run", "passes.py:chain", "-i", "-", "-o", "out", "--chunk-size", "5", "--json-logs") as running:
        assert running.stdin is not None
        running.stdin.write('{"text": "a"}\n' * 50)
        running.stdin.flush()
        until(running, "chunk_committed")
        running.send_signal(signal.SIGINT)
        said = until(running, "interrupted")
        running.stdin.close()
        said += until(running, "run_finished")
    assert running.returncode == 130
    assert said[-1]["state"] == "interrupted"
    assert json.loads(Path("out/status.json").read_text())["state"] == "interrupted"


def test_a_ctrl_c_while_the_program_is_ending_changes_nothing(project: Project) -> None:
    waits = "atexit.register(lambda: (print('leaving', flush=True), sys.stdin.readline()))\n"
    Path("passes.py").write_text(PASSES + waits)
    with started("run", "passes.py:chain", "-i", "in.jsonl", "-q") as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert "leaving\n" in iter(running.stdout.readline, "")
        running.send_signal(signal.SIGINT)
        running.stdin.close()
    assert running.returncode == 0
