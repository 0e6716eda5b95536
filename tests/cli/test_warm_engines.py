"""`warmup`, `engines` and `kill`: real commands, real server processes (stand-ins), a state folder of each test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

ENGINES = """
devices: 2
engines:
  - name: s
    backend: scripted
    model: toy
    gpu_memory_utilization: 0.5
    script: {hosted: true, metrics: true}
  - name: big
    backend: scripted
    model: big
    devices: [0, 1]
    replicas: 2
    gpu_memory_utilization: 0.9
    script: {hosted: true}
  - name: there
    backend: openai
    model: m
    endpoint: http://localhost:1/v1
"""
CHAIN = """
from pydantic import BaseModel
from chainette import Chain, Step

class Row(BaseModel):
    text: str

class Label(BaseModel):
    label: int

chain = Chain(name="labels", steps=[
    Step(id="label", input_model=Row, output_model=Label, engine_name="s", user_prompt="{{ text }}")
])
"""


class Place:
    """A folder with an engines.yml, and the commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engines = folder / "state" / "chainette" / "engines"
        (folder / "engines.yml").write_text(ENGINES)
        (folder / "labels.py").write_text(CHAIN)
        (folder / "rows.jsonl").write_text("".join(f'{{"text": "row {n}"}}\n' for n in range(50)))

    def begin(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "chainette.cli", *words],
            cwd=self.folder,
            env={**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, *words: str, code: int = 0) -> Any:
        process = self.begin(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        return json.loads(out) if "--json" in words else out + err

    def live(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.do("engines", "--json")
        return found


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.do("kill", "--all")


def gone(engine: dict[str, Any]) -> bool:
    """Whether its process has ended; nobody may have collected its exit code yet."""
    try:
        return psutil.Process(engine["pid"]).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_warm_engine_stays_and_is_listed(place):
    assert "s is warm in" in place.do("warmup", "-e", "s")
    [engine] = place.live()
    assert psutil.Process(engine["pid"]).is_running()
    assert engine["state"] == "warm"
    assert (engine["model"], engine["devices"], engine["running"], engine["waiting"]) == ("toy", ["0"], 0, 0)
    assert engine["memory_bytes"] > 1_000_000
    shown = place.do("engines")
    for word in (str(engine["pid"]), str(engine["port"]), engine["log"], "toy"):
        assert word in shown


def test_twice_is_once(place):
    place.do("warmup", "-e", "s")
    first = place.live()
    assert "s is warm already" in place.do("warmup", "-e", "s")
    assert [engine["pid"] for engine in place.live()] == [engine["pid"] for engine in first]


def test_eight_at_once_make_one_server(place):
    starts = [place.begin("warmup", "-e", "s", "--json") for _ in range(8)]
    replies = [json.loads(start.communicate(timeout=60)[0])[0] for start in starts]
    assert sum(reply["started"] for reply in replies) == 1
    assert len({reply["replicas"][0]["pid"] for reply in replies}) == 1
    assert len(place.live()) == 1


def test_a_changed_spec_restarts_it(place):
    place.do("warmup", "-e", "s")
    [old] = place.live()
    (place.folder / "engines.yml").write_text(ENGINES.replace("model: toy", "model: other"))
    assert "starting s: its spec has changed" in place.do("warmup", "-e", "s")
    [new] = place.live()
    assert new["model"] == "other"
    assert gone(old)


def test_what_only_the_client_reads_is_no_change(place):
    place.do("warmup", "-e", "s")
    (place.folder / "engines.yml").write_text(ENGINES.replace("model: toy", "model: toy\n    max_concurrency: 3"))
    assert "s is warm already" in place.do("warmup", "-e", "s")


def test_a_run_uses_the_warm_engine_and_leaves_it(place):
    place.do("warmup", "-e", "s")
    [before] = place.live()
    said = place.do("run", "labels.py:chain", "-i", "rows.jsonl", "-o", "out")
    assert "warm" in said
    assert [engine["pid"] for engine in place.live()] == [before["pid"]]
    assert json.loads((place.folder / "out" / "status.json").read_text())["rows_out"] == 50


def test_a_run_without_a_warm_engine_starts_its_own_and_ends_it(place):
    place.do("run", "labels.py:chain", "-i", "rows.jsonl", "-o", "out")
    assert place.live() == []
    assert list(place.engines.glob("*")) == []


def test_kill_leaves_no_process_and_no_file(place):
    (place.folder / "engines.yml").write_text(ENGINES.replace("0.9", "0.4"))
    place.do("warmup")
    live = place.live()
    assert [engine["name"] for engine in live] == ["big", "big", "s"]
    place.do("kill", "-e", "s")
    assert [engine["name"] for engine in place.live()] == ["big", "big"]
    place.do("kill", "--all")
    assert all(gone(engine) for engine in live)
    assert list(place.engines.glob("*")) == []


def test_the_file_of_a_dead_process_is_cleaned_away(place):
    place.do("warmup", "-e", "s")
    [engine] = place.live()
    process = psutil.Process(engine["pid"])
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert place.live() == []
    assert list(place.engines.glob("*")) == []


def test_what_does_not_fit_beside_a_warm_engine_says_which_and_how_to_end_it(place):
    place.do("warmup", "-e", "s")
    said = place.do("warmup", "-e", "big", code=1)
    assert 'engine "big" does not fit' in said
    assert "chainette kill -e s" in said
    assert [engine["name"] for engine in place.live()] == ["s"]


def test_an_endpoint_is_nothing_to_warm_up(place):
    assert "is an endpoint" in place.do("warmup", "-e", "there", code=1)


def test_an_unknown_name_has_the_nearest(place):
    assert 'did you mean "there"' in place.do("warmup", "-e", "ther", code=2)


def test_killing_what_does_not_run_says_so(place):
    assert "s is not running" in place.do("kill", "-e", "s")


def test_the_key_of_a_warm_engine_is_for_its_owner_alone(place):
    place.do("warmup", "-e", "s")
    [file] = place.engines.glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
