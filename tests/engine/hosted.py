"""Engines of ours that are stand-ins: real processes on fake devices, up in a fraction of a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil

from chainette.devices import Device
from chainette.engine.broker import Broker
from chainette.engine.live import live_servers
from chainette.events import Event
from chainette.specs import EngineRegistry, EngineSpec


def hosted(name: str, *, share: float = 0.9, script: dict[str, Any] | None = None, **fields: Any) -> EngineSpec:
    return EngineSpec.parse(
        {
            "name": name,
            "backend": "scripted",
            "model": f"model-{name}",
            "gpu_memory_utilization": share,
            "retry_wait_s": 0,
            "script": {"hosted": True, **(script or {})},
            **fields,
        }
    )


def devices(count: int) -> list[Device]:
    return [Device(index, f"fake {index}", 80 << 30, 80 << 30, str(index), True) for index in range(count)]


def broker_of(*specs: EngineSpec, count: int = 1, said: list[Event] | None = None, **options: Any) -> Broker:
    registry = EngineRegistry({spec.name: spec for spec in specs})
    listener = said.append if said is not None else None
    return Broker(registry, listener, devices=lambda: devices(count), **options)


def words(said: Sequence[Event]) -> list[str]:
    """`started a`, `stopped b`: what was said of engines, in order."""
    return [
        f"{type(event).__name__.removeprefix('Engine').lower()} {event.engine}"
        for event in said
        if type(event).__name__.startswith("Engine") and type(event).__name__ != "EngineStarting"
    ]


def processes() -> list[psutil.Process]:
    """Of the engines that the state folder knows."""
    return [psutil.Process(engine.pid) for engine in live_servers()]
