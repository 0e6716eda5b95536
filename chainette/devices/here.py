"""Which devices there are for us: those of the machine that CUDA_VISIBLE_DEVICES lets us see, or those declared."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from chainette.devices.device import Device, DevicesHere
from chainette.devices.nvml import Gpu, GpusHere, read_gpus
from chainette.specs import DeclaredDevice

VARIABLE = "CUDA_VISIBLE_DEVICES"


def devices_here(
    declared: Sequence[DeclaredDevice | Device] | None = None,
    environment: Mapping[str, str] = os.environ,
    read: Callable[[], GpusHere] = read_gpus,
) -> DevicesHere:
    """What engines can be placed on. `declared`, where given, comes before what is found: it may name fewer devices,
    or some that nobody can find."""
    here = read()
    outer = environment.get(VARIABLE)
    found = tuple(
        Device(index, gpu.name, gpu.memory_bytes, gpu.free_bytes, entry, uuid=gpu.uuid)
        for index, (gpu, entry) in enumerate(visible_gpus(here.gpus, outer))
    )
    if declared is not None:
        entries = None if outer is None else _entries(outer)
        named = [_declared(device, found, entries) for device in declared]
        seen = tuple(device for device in named if device.visible)
        hidden = f"{VARIABLE}={outer or '(empty)'} hides those that are declared"
        return DevicesHere(seen, "" if seen else hidden if named else "`devices:` declares none")
    if found or not here.gpus:
        return DevicesHere(found, here.said)
    return DevicesHere((), f"{VARIABLE}={outer or '(empty)'} shows none of the {len(here.gpus)} GPUs of this machine")


def visible_gpus(gpus: Sequence[Gpu], outer: str | None) -> list[tuple[Gpu, str]]:
    """The GPUs that a process sees whose CUDA_VISIBLE_DEVICES is `outer`, None where it has none, and what a child's
    must say for each. As with CUDA an entry that names none ends the list, and one that is named twice makes it empty.

    Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    """
    if outer is None:
        return [(gpu, gpu.uuid if gpu.instance else str(gpu.index)) for gpu in gpus if not gpu.divided]
    shown: list[tuple[Gpu, str]] = []
    for entry in _entries(outer):
        gpu = _named(gpus, entry)
        if gpu is None:
            break
        if any(gpu == other for other, _ in shown):
            return []
        shown.append((gpu, entry))
    return shown


def _entries(outer: str) -> list[str]:
    return [entry.strip() for entry in outer.split(",") if entry.strip()]


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """What an entry means: an index, a UUID, or the beginning of one that only one GPU has."""
    if entry.startswith("MIG-"):
        # An instance that the driver does not list (an older spelling, a container's own) is still CUDA's to judge.
        known = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
        return known[0] if len(known) == 1 else Gpu(-1, "MIG instance", entry)
    whole = [gpu for gpu in gpus if not gpu.instance]
    if entry.startswith("GPU-"):
        known = [gpu for gpu in whole if gpu.uuid.startswith(entry)]
        return known[0] if len(known) == 1 else None
    number = re.match(r"\+?\d+", entry)
    return next((gpu for gpu in whole if number and gpu.index == int(number[0])), None)


def _declared(device: DeclaredDevice | Device, found: Sequence[Device], entries: Sequence[str] | None) -> Device:
    """A declared device, with what is known of the one that is found under its index."""
    index = device.index
    real = found[index] if index < len(found) else None
    if real is not None:
        visible = real.visible
    elif entries is None:
        visible = str(index)
    else:
        visible = entries[index] if index < len(entries) and entries[index] != "-1" else ""
    name = device.name or (real.name if real else "")
    memory = device.memory_bytes or (real.memory_bytes if real else None)
    free, uuid = (real.free_bytes, real.uuid) if real else (None, "")
    return Device(index, name, memory, free, visible, declared=True, uuid=uuid)
