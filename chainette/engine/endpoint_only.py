"""What a backend answers whose servers are never ours to start."""

from __future__ import annotations

from chainette.engine.backends import Launch
from chainette.errors import EngineStartError
from chainette.specs import EngineSpec, SamplingParams


def launch(spec: EngineSpec, devices: int = 0) -> Launch:
    raise EngineStartError(f'engine "{spec.name}" is an endpoint; there is nothing to start')


def settled(spec: EngineSpec) -> EngineSpec:
    return spec


def left_out(spec: EngineSpec) -> list[str]:
    return []


def unfit_sampling(spec: EngineSpec, sampling: SamplingParams) -> list[str]:
    return []


def with_sleep(spec: EngineSpec) -> EngineSpec | None:
    return None
