"""`chainette view` as a program: the address it prints, what it warns of, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from chainette.cli.main import app


@contextmanager
def viewing(*args: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The program, and the lines that it has said when it is ready."""
    variables = {k: v for k, v in os.environ.items() if k not in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY")}
    program = [sys.executable, "-m", "chainette.cli", "view", "--port", "0", "--no-open", *args]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**variables, **environment}
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


def test_it_prints_an_address_that_works_and_ends_with_ctrl_c(runs):
    with viewing("--runs-dir", str(runs)) as (process, lines):
        found = re.fullmatch(rf"{re.escape(str(runs))} at (http://127\.0\.0\.1:\d+/\?token=\S+)", lines[0])
        assert found, lines
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(found[1], timeout=30) as answer:
            assert b"/run/fine" in answer.read()
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=30)
        assert (process.returncode, said.strip(), complaint) == (0, "closed", "")


def test_over_ssh_it_says_how_to_see_it_at_home(runs):
    with viewing(str(runs), SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22") as (_, lines):
        assert re.match(r"on your own machine: ssh -L (\d+):127\.0\.0\.1:\1 \S+@\S+", lines[1])


def test_another_address_is_warned_of(runs):
    with viewing("--runs-dir", str(runs), "--host", "0.0.0.0") as (_, lines):
        assert lines[1].startswith("warning: --host 0.0.0.0 lets other machines reach this page")
        assert "?token=" in lines[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--runs-dir", "nowhere"], ("there is no folder nowhere", "next: chainette run module:chain")),
        (["fime", "--runs-dir", "{runs}"], ('there is no run "fime"', 'did you mean "fine"?')),
        (["--runs-dir", "{runs}", "--host", "256.1.1.1"], ("cannot listen on 256.1.1.1", "next: chainette view")),
    ],
)
def test_what_cannot_be_shown_is_told_before_anything_listens(runs, args, said):
    result = CliRunner().invoke(app, ["view", "--no-open", *(arg.format(runs=runs) for arg in args)])
    assert result.exit_code != 0
    for words in said:
        assert words in result.stderr


def test_a_port_that_is_taken_is_told_with_a_way_out(runs):
    with viewing("--runs-dir", str(runs)) as (_, lines):
        port = re.search(r":(\d+)/", lines[0])
        assert port
        result = CliRunner().invoke(app, ["view", "--no-open", "--runs-dir", str(runs), "--port", port[1]])
        assert result.exit_code != 0
        assert f"cannot listen on 127.0.0.1 port {port[1]}" in result.stderr
        assert "without --port takes one that is free" in result.stderr
