"""Chains whose engines do not fit together: loaded as few times as possible, the rows waiting on disk in between.

The engines are stand-ins, their processes and sockets are real.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

import chainette
from chainette.engine.live import live_servers
from chainette.errors import PlanError
from chainette.run import RunOptions
from chainette.run.running import run
from chainette.specs import default_registry
from tests.engine.hosted import hosted, words


class Row(BaseModel):
    text: str


class Label(BaseModel):
    label: int


@pytest.fixture
def engines(monkeypatch):
    """`engines(2, a=0.9, b=0.9)`: so many devices, and these engines with their shares."""

    def make(devices: int, script: dict[str, Any] | None = None, **shares: float) -> None:
        monkeypatch.setenv("CHAINETTE_DEVICES", str(devices))
        for name, share in shares.items():
            default_registry.add(hosted(name, share=share, script=script))

    return make


def line_of(*engines: str) -> chainette.Chain:
    """One step after the other, each on the engine named."""
    takes: type[BaseModel] = Row
    steps = []
    for position, engine in enumerate(engines):
        prompt = "{{ chain_input.text }} " + str(position)
        steps.append(
            chainette.Step(
                id=f"s{position}", input_model=takes, output_model=Label, engine_name=engine, user_prompt=prompt
            )
        )
        takes = Label
    return chainette.Chain(name="line", steps=steps)


def rows(count: int) -> list[Row]:
    return [Row(text=f"row {n}") for n in range(count)]


def starts(chain: chainette.Chain, count: int = 300, **options: Any) -> list[str]:
    said: list[Any] = []
    result = run(chain, rows(count), RunOptions(**options), said.append)
    assert result.rows_out == count
    assert live_servers() == []
    return [word.removeprefix("started ") for word in words(said) if word.startswith("started")]


@pytest.mark.parametrize(
    ("devices", "shares", "line", "expected"),
    [
        (1, {"a": 0.9, "b": 0.9}, "ab", "ab"),
        (1, {"a": 0.9, "b": 0.9}, "aba", "aba"),
        (1, {"a": 0.9, "b": 0.9}, "aabbaa", "aba"),
        (1, {"a": 0.5, "b": 0.5}, "aba", "ab"),
        (2, {"a": 0.9, "b": 0.9}, "abab", "ab"),
        (1, {"a": 0.5, "b": 0.5, "c": 0.9}, "abcab", "abcab"),
        (2, {"a": 0.9, "b": 0.9, "c": 0.9}, "abaca", "abc"),
    ],
)
def test_engines_are_started_as_few_times_as_possible(engines, devices, shares, line, expected):
    engines(devices, **shares)
    assert sorted(starts(line_of(*line), 200)) == sorted(expected)


def test_the_files_are_those_of_a_run_in_one_stage(engines, tmp_path):
    engines(1, a=0.9, b=0.9)
    chain = line_of("a", "b", "a")
    starts(chain, 500, output_dir=tmp_path / "turns", chunk_size=7)
    for name in ("a", "b"):
        default_registry.add(hosted(name, share=0.4))
    starts(chain, 500, output_dir=tmp_path / "together", chunk_size=7)
    for file in ("steps/s0/000.jsonl", "steps/s2/000.jsonl", "flattened/000.jsonl"):
        assert (tmp_path / "turns" / file).read_bytes() == (tmp_path / "together" / file).read_bytes()


def test_an_engine_that_is_needed_again_sleeps_in_between(engines):
    engines(1, {"sleeps": True}, a=0.9, b=0.9)
    said: list[Any] = []
    run(line_of("a", "b", "a"), rows(50), listener=said.append)
    assert words(said)[:5] == ["started a", "asleep a", "started b", "stopped b", "awake a"]


def test_the_plan_stands_in_the_run_folder(engines):
    engines(1, a=0.9, b=0.9)
    result = run(line_of("a", "b"), rows(3))
    plan = json.loads((result.folder / "graph.json").read_text())["plan"]
    assert [stage["engines"] for stage in plan["stages"]] == [["a"], ["b"]]
    assert plan["total_loads"] == 2


def test_what_does_not_fit_is_refused_before_anything_starts(engines):
    engines(1)
    default_registry.add(hosted("a", devices=[0, 1]))
    with pytest.raises(PlanError, match="gpu 1"):
        run(line_of("a"), rows(3))


def test_replicas_of_one_step_share_its_rows(engines):
    engines(4)
    default_registry.add(hosted("a", replicas="auto", script={"slots": 2, "service_mean_s": 0.002}))
    result = run(line_of("a"), rows(200))
    calls = (result.folder / "calls" / "s0" / "000.jsonl").read_text().splitlines()
    assert {json.loads(call)["replica"] for call in calls} == {0, 1, 2, 3}


def backwards(rows: list[Label]) -> list[Label]:
    return rows[::-1]


@pytest.mark.parametrize(("line", "expected"), [("ab", "ab"), ("aa", "a")])
def test_a_function_over_the_run_stands_between_two_engines(engines, line, expected):
    engines(1, a=0.9, b=0.9)
    first, second = line_of(*line).steps
    chain = chainette.Chain(name="c", steps=[first, chainette.apply(backwards, scope="run"), second], chunk_size=16)
    assert starts(chain, 100) == list(expected)
