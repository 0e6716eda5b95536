"""What an engine asks of the devices, from its spec alone. Knows no device that exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from chainette.errors import PlanError
from chainette.specs import EngineSpec

DEFAULT_SHARE = 0.9
"""vLLM's own default of `gpu_memory_utilization`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Devices for all replicas of an engine."""

    engine: str
    per_replica: int
    """tensor_parallel_size * pipeline_parallel_size * data_parallel_size."""
    replicas: int | Literal["auto"]
    """`auto`: at least one, and as many more as there is room for; never with `pinned`."""
    share: float
    """Of each of its devices."""
    pinned: tuple[int, ...] | None
    """Indexes of devices, in the order the replicas take them."""

    @property
    def least_replicas(self) -> int:
        return 1 if self.replicas == "auto" else self.replicas


def demand_of(spec: EngineSpec) -> Demand:
    """
    Raises:
        PlanError: `devices`, `replicas` and the sizes in the spec contradict each other, with the arithmetic.
    """
    share = DEFAULT_SHARE if spec.gpu_memory_utilization is None else spec.gpu_memory_utilization
    tensor = _size(spec, "tensor_parallel_size")
    others = (_size(spec, "pipeline_parallel_size") or 1) * (_size(spec, "data_parallel_size") or 1)
    if spec.devices is None:
        return Demand(spec.name, (tensor or 1) * others, spec.replicas or 1, share, None)
    per_replica, replicas = _split(spec, spec.devices, tensor, others)
    return Demand(spec.name, per_replica, replicas, share, spec.devices)


def _split(spec: EngineSpec, devices: tuple[int, ...], tensor: int | None, others: int) -> tuple[int, int]:
    """(devices per replica, replicas) of an engine that is pinned."""
    count, where = len(devices), f'engine "{spec.name}": devices {list(devices)}'
    if not count or len(set(devices)) < count or min(devices) < 0:
        raise PlanError(f"{where} must be different indexes from 0 on, at least one")
    if tensor is None and spec.replicas != "auto" and (spec.replicas or 1) <= count:
        replicas = spec.replicas or 1
        if count % (replicas * others):
            times = f" x {others} (pipeline and data parallel)" if others > 1 else ""
            raise PlanError(f"{where}: {count} devices cannot be split evenly over {_replicas(replicas)}{times}")
        return count // replicas, replicas
    per_replica = (tensor or 1) * others
    if per_replica > count:
        raise PlanError(f"{where}: a replica takes {per_replica} devices, and these are {count}")
    if not isinstance(spec.replicas, int):
        replicas, left = divmod(count, per_replica)
        if left:
            raise PlanError(f"{where}: {count} = {_replicas(replicas)} x {per_replica} + {left} that would be left")
        return per_replica, replicas
    needed = spec.replicas * per_replica
    # Several servers on each device, with a share each, are as good as several devices for each server.
    if needed % count:
        sum_ = f"{_replicas(spec.replicas)} x {per_replica} = {needed} devices"
        raise PlanError(f"{where}: {sum_}, and these are {count}")
    return per_replica, spec.replicas


def _replicas(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"


def _size(spec: EngineSpec, name: str) -> int | None:
    value: Any = spec.vllm_args.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f'engine "{spec.name}": {name} must be a whole number from 1 on, not {value!r}')
    return value
