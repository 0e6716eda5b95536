"""The life of real vLLM servers: two models that take turns, a warm one that is shared, one that is killed mid-run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import BaseModel, Field

import chainette
from chainette.engine.live import live_servers
from chainette.events import Progressed
from chainette.run.running import run
from chainette.specs import default_registry
from tests.engine.conftest import environment
from tests.engine.hosted import words
from tests.vllm.conftest import CPU, session


class Row(BaseModel):
    text: str


class Label(BaseModel):
    label: int = Field(ge=0, le=9)


class Other(BaseModel):
    other: int = Field(ge=0, le=9)


class Again(BaseModel):
    again: int = Field(ge=0, le=9)


def step(id: str, takes: type[BaseModel], gives: type[BaseModel], engine: str) -> chainette.Step:
    return chainette.Step(
        id=id,
        input_model=takes,
        output_model=gives,
        engine_name=engine,
        user_prompt="{{ chain_input.text }}",
        sampling=chainette.SamplingParams(max_tokens=20, temperature=0),
    )


def rows(count: int) -> list[Row]:
    return [Row(text=f"row {n}") for n in range(count)]


def test_two_models_with_room_for_one_are_loaded_as_few_times_as_possible(vllm_engine, toy_models, monkeypatch):
    monkeypatch.setenv("CHAINETTE_DEVICES", "1")
    vllm_engine("one", model=toy_models.one)
    vllm_engine("other", model=toy_models.other)
    steps = [step("a", Row, Label, "one"), step("b", Label, Other, "other"), step("c", Other, Again, "one")]
    said: list[Any] = []
    result = run(chainette.Chain(name="turns", steps=steps), rows(60), listener=said.append)
    assert len(result.outputs) == 60
    assert words(said) == ["started one", "stopped one", "started other", "stopped other", "started one", "stopped one"]
    plan = json.loads((result.folder / "graph.json").read_text())["plan"]
    assert plan["total_loads"] == 3
    assert live_servers() == []


def command(*said: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chainette.cli", *said],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_warm_engine_serves_runs_and_is_replaced_when_it_is_killed(toy_model, tmp_path):
    block = {**CPU, "name": "toy", "model": toy_model}
    (tmp_path / "engines.yml").write_text(json.dumps({"engines": [block]}))
    try:
        command("warmup", "-e", "toy", folder=tmp_path)
        [warm] = live_servers()
        tree = session(warm.pid)
        assert "toy" in command("engines", folder=tmp_path).stdout
        chain = chainette.Chain(name="labels", steps=[step("a", Row, Label, "toy")])
        said: list[Any] = []
        first = run(chain, rows(40), listener=said.append)
        assert len(first.outputs) == 40
        assert words(said) == ["started toy"]
        assert live_servers() == [warm]

        said.clear()
        second = run(chain, rows(600), listener=_killer(said, tree))
        assert len(second.outputs) == 600
        assert words(said)[:3] == ["started toy", "died toy", "started toy"]
        calls = [
            json.loads(line)["_id"] for line in (second.folder / "calls" / "a" / "000.jsonl").read_text().splitlines()
        ]
        assert sorted(calls, key=int) == [str(n) for n in range(600)]
        assert not [process for process in tree if process.is_running() and process.status() != "zombie"]
    finally:
        command("kill", "--all", folder=tmp_path)
    assert live_servers() == []


def _killer(said: list[Any], tree: list[psutil.Process]) -> Callable[[Any], None]:
    """kill -9 of the process with the most memory, as the kernel would, once some calls are answered."""

    def listen(event: Any) -> None:
        said.append(event)
        if isinstance(event, Progressed) and event.nodes["a"].calls > 50 and not killed:
            killed.append(max(tree, key=lambda process: process.memory_info().rss))
            killed[0].kill()

    killed: list[psutil.Process] = []
    return listen


@pytest.fixture(autouse=True)
def _no_engines_left():
    yield
    assert not [engine for engine in live_servers() if psutil.pid_exists(engine.pid)]
    default_registry.replace(type(default_registry)())
