"""What servers of other processes hold of the devices: warm engines, and those of other runs. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chainette.devices import Device
from chainette.engine.live import LiveServer, live_servers


def beside_others(devices: Sequence[Device]) -> tuple[Device, ...]:
    """The devices with the shares of them that are taken now by others than engines of this process."""
    taken: dict[str, float] = {}
    for engine, id in _others(devices):
        taken[id] = taken.get(id, 0.0) + engine.share
    return tuple(replace(device, taken=taken.get(device.id, 0.0)) for device in devices)


def others_on(devices: Sequence[Device]) -> str:
    """Who that is, with what to do about it; empty when it is nobody."""
    said = {}
    for engine, _ in _others(devices):
        if engine.warm:
            said[engine.name] = f"warm engine {engine.name} holds some of it (chainette kill -e {engine.name})"
        else:
            said[engine.name] = f"engine {engine.name} of process {engine.owner_pid} holds some of it until that ends"
    return "; ".join(said.values())


def _others(devices: Sequence[Device]) -> Iterator[tuple[LiveServer, str]]:
    """Each server of others with the id of each of its devices that is among these."""
    ids = {device.id for device in devices}
    for engine in live_servers():
        counted = engine.seated and not engine.warm and engine.owner_pid == os.getpid()
        if not counted and not engine.orphaned:
            for id in engine.device_ids:
                if id in ids:
                    yield engine, id
