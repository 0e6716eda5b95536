"""Every example runs with the command at the top of its file."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ["join/inc_dec_join.py"]
ON_THE_DEMO_MODEL = ["reviews.py", "qa.py", "product_struct_extract.py", "multi_doc_summary_eval.py"]


def run(example, tmp_path, *more):
    text = (ROOT / "examples" / example).read_text(encoding="utf-8")
    command = re.search(r"^\s*(chainette run .*)$", text, re.MULTILINE)
    assert command, f"{example} says no command"
    words = shlex.split(command[1])[1:]
    done = subprocess.run(
        [sys.executable, "-m", "chainette.cli", *words, "-o", str(tmp_path / "run"), "--quiet", *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "run" / "status.json").read_text())


@pytest.mark.parametrize("example", QUICK)
def test_an_example_without_engine_runs(example, tmp_path):
    assert run(example, tmp_path)["rows_failed"] == 0


@pytest.mark.embedded
@pytest.mark.parametrize("example", ON_THE_DEMO_MODEL)
def test_an_example_runs_on_the_demo_model(example, tmp_path):
    status = run(example, tmp_path)
    assert (status["state"], status["rows_failed"]) == ("done", 0)
    assert status["rows_out"] > 0


@pytest.mark.slow
def test_a_million_rows_run(tmp_path):
    status = run("runner/huge_batch_demo.py", tmp_path)
    assert (status["rows_in"], status["rows_out"]) == (1_000_000, 1_000_000)
