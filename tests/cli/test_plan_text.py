"""What `inspect` and `run --dry-run` say of the plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chainette.cli.plan_text import plan_lines
from chainette.cli.wording import ICONS
from tests.cli.conftest import Project

TWO = """
engines:
  - {name: stand_in, backend: scripted, script: {hosted: true}}
  - {name: big, backend: scripted, script: {hosted: true}}
"""


@pytest.fixture
def on_devices(project: Project) -> Project:
    """The project with two engines that take devices, one of which fits on the one there is."""
    (project.folder / "engines.yml").write_text(TWO + "devices: 1\n", encoding="utf-8")
    return project


def test_the_plan_says_what_is_loaded_when_and_why_another_rests(on_devices: Project) -> None:
    out = on_devices.call("inspect", "small.py:chain", "--engine", "last=big")
    assert "plan  2 stages, 2 loads\n" in out
    assert "  stage 1  facts, french  load stand_in on gpu 0 (0.9)\n" in out
    assert (
        "  stage 2  last           load big on gpu 0 (0.9); stand_in rests: 0.9 (stand_in) + 0.9 (big) = 1.8 of gpu 0\n"
    ) in out
    assert (
        on_devices.call("run", "small.py:chain", "-i", "in.jsonl", "--engine", "last=big", "--dry-run").count("stage ")
        == 2
    )


def test_the_plan_is_in_the_json_too(on_devices: Project) -> None:
    report = json.loads(on_devices.call("inspect", "small.py:chain", "--engine", "last=big", "--json"))
    plan = report["plan"]
    assert [stage["loads"] for stage in plan["stages"]] == [["stand_in"], ["big"]]
    assert plan["stages"][1]["rests"] == ["stand_in"]
    assert (plan["total_loads"], plan["devices"]) == (2, [{"index": 0, "name": "", "memory_bytes": None}])


def test_a_plan_without_devices_takes_no_line(project: Project) -> None:
    assert "stage" not in project.call("inspect", "small.py:chain")


def test_what_does_not_fit_is_exit_code_2_with_the_arithmetic(
    on_devices: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINETTE_STAND_IN_REPLICAS", "2")
    said = 'engine "stand_in": does not fit: 0.9 (stand_in) + 0.9 (stand_in) = 1.8 of gpu 0'
    assert said in on_devices.call("inspect", "small.py:chain")
    assert on_devices.exit_code == 2
    on_devices.call("run", "small.py:chain", "-i", "in.jsonl")
    assert on_devices.exit_code == 2
    assert on_devices.err.startswith(f"error: {said}")


def stage(nodes: list[str], placements: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"nodes": nodes, "placements": placements, "loads": [], "rests": [], "why": "", **fields}


def said(*stages: dict[str, Any]) -> list[str]:
    shares = {name: 0.9 for stage in stages for name in stage["placements"]}
    plan = {"stages": list(stages), "shares": shares, "total_loads": sum(len(s["loads"]) for s in stages)}
    nodes = [{"id": id, "kind": "step"} for stage in stages for id in stage["nodes"]]
    return [line.plain for line in plan_lines(plan, nodes, ICONS)]


def test_replicas_and_their_devices_are_told_apart() -> None:
    lines = said(stage(["a"], {"big": [[0, 1], [2, 3]], "x": [[4]]}, loads=["big", "x"]))
    assert lines == ["plan  1 stage, 2 loads", "  stage 1  a  load big x2 on gpu 0+1, 2+3 (0.9), x on gpu 4 (0.9)"]


def test_what_stays_is_told_and_of_many_nodes_the_first() -> None:
    nodes = [f"n{number}" for number in range(9)]
    lines = said(
        stage(["a"], {"x": [[0]], "y": [[1]]}, loads=["x", "y"]),
        stage(nodes, {"x": [[0]], "z": [[1]]}, loads=["z"], rests=["y"], why="no room"),
    )
    assert lines[2].endswith(
        "n0, n1, n2, n3, n4, n5, … 3 more  load z on gpu 1 (0.9); x on gpu 0 (0.9) stays; y rests: no room"
    )
