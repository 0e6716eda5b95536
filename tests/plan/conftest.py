"""Chains of steps on engines that take devices, and plans of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chainette import Chain
from chainette.devices import Device, DevicesHere
from chainette.errors import Problem
from chainette.graph import build
from chainette.plan import Plan, make_plan
from chainette.specs import Capabilities, EngineRegistry, EngineSpec
from tests.models import Question, step


def on_gpus(spec: EngineSpec) -> Capabilities:
    """vLLM servers take devices, whatever is installed here; engines of other backends take none."""
    return Capabilities(frozenset(), images=False, on_devices=spec.backend == "vllm" and spec.endpoint is None)


def ask(id: str, engine: str) -> Any:
    """A step that can stand anywhere: a question to a question."""
    return step(id, Question, Question, engine_name=engine)


class Planner:
    """`planner(steps, devices=1, big={"gpu_memory_utilization": 0.9})`."""

    problems: list[Problem]

    def __call__(
        self, steps: Sequence[Any], devices: int | Sequence[Device] = 1, capabilities: Any = on_gpus, **engines: Any
    ) -> Plan:
        registry = EngineRegistry()
        for name, fields in engines.items():
            registry.add(EngineSpec.parse({"name": name, "backend": "vllm", "model": "some/model", **fields}))
        graph, wrong = build(Chain(name="c", steps=list(steps)))
        assert not [p for p in wrong if p.severity == "error"]
        found = tuple(Device(index) for index in range(devices)) if isinstance(devices, int) else tuple(devices)
        here = DevicesHere(found, "" if found else "no NVIDIA driver here")
        plan, self.problems = make_plan(graph, registry, {}, capabilities, devices=here)
        return plan

    @property
    def said(self) -> list[str]:
        return [str(problem) for problem in self.problems]


@pytest.fixture
def planner() -> Planner:
    return Planner()
