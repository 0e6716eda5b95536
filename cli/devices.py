"""`chainette devices`: what this machine has. Reads, never reserves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chainette.devices import GpusHere
    from chainette.specs import DeclaredDevice


def devices(
    engines: Annotated[
        str | None,
        typer.Option("--engines", "-f", metavar="FILE", show_default=False, help="Default: the engines.yml here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what is here: cores, memory, GPUs, which of them we may see, and those that are declared."""
    import sys

    from chainette.cli.screen import NAME, QUIET, console, line
    from chainette.cli.target import refuse_empty
    from chainette.errors import ChainError
    from chainette.specs import engines_here

    refuse_empty("devices", engines=engines)
    registry, problems = engines_here(engines)
    if problems:
        raise ChainError(problems)
    found = what_is_here(registry.declared_devices)
    if as_json:
        from chainette.cli.output import write_json

        write_json(found)
        return
    shown = console(sys.stdout)
    for name, words in device_words(found):
        shown.print(line((f"{name:<8}", NAME), words), soft_wrap=True)
    if found["gpus_said"]:
        shown.print(line(" " * 8, (found["gpus_said"], QUIET)), soft_wrap=True)


def device_words(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, in words), one pair a line."""
    from chainette.cli.wording import counted, one_line, size

    cpu, memory = found["cpu"], found["memory"]
    rows = [
        ("cpu", f"{counted(cpu['usable'], 'core')} for us of {cpu['cores']}"),
        ("memory", f"{size(memory['available_bytes'])} free of {size(memory['total_bytes'])}"),
    ]
    for gpu in found["gpus"]:
        seen = "" if gpu["visible"] else ", not in CUDA_VISIBLE_DEVICES"
        rows.append((f"gpu {gpu['index']}", f"{one_line(gpu['name'])}{_memory(gpu)}{seen}"))
    if not found["gpus"] and not found["devices"]:
        rows.append(("gpu", "none"))
    if found["cuda_visible_devices"] is not None:
        rows.append(("visible", f"CUDA_VISIBLE_DEVICES={one_line(found['cuda_visible_devices']) or '(empty: none)'}"))
    for device in found["devices"]:
        if device["declared"]:
            about = [one_line(device["name"])] if device["name"] else []
            about += [size(device["memory_bytes"])] if device["memory_bytes"] else []
            rows.append((f"gpu {device['index']}", ", ".join([*about, "declared"])))
    return rows


def _memory(gpu: dict[str, Any]) -> str:
    from chainette.cli.wording import size

    free, total = gpu["memory_free_bytes"], gpu["memory_total_bytes"]
    return f", {size(free)} free of {size(total)}" if total else ""


def what_is_here(declared: Sequence[DeclaredDevice] | None = None) -> dict[str, Any]:
    """Cores, memory in bytes, GPUs as the driver tells them, and under `devices` what engines can be placed on."""
    import psutil

    from chainette.devices import devices_here, read_gpus

    memory = psutil.virtual_memory()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = read_gpus()
    placeable = devices_here(declared, read=lambda: here).devices
    return {
        "cpu": {"cores": os.cpu_count() or 1, "usable": usable},
        "memory": {"total_bytes": memory.total, "available_bytes": memory.available},
        "cuda_visible_devices": visible,
        "gpus": gpu_records(here, visible),
        "gpus_said": here.said,
        "devices": [
            {
                "index": device.index,
                "name": device.name,
                "memory_bytes": device.memory_bytes,
                "visible": device.visible,
                "declared": device.declared,
            }
            for device in placeable
        ],
    }


def gpu_records(here: GpusHere, visible: str | None) -> list[dict[str, Any]]:
    """The GPUs for JSON; `visible` is what CUDA_VISIBLE_DEVICES says, None without it."""
    from chainette.devices import visible_gpus

    ours = {gpu.uuid for gpu, _ in visible_gpus(here.gpus, visible)}
    return [
        {
            "index": gpu.index,
            "name": gpu.name,
            "uuid": gpu.uuid,
            "memory_total_bytes": gpu.memory_bytes or 0,
            "memory_free_bytes": gpu.free_bytes or 0,
            "utilization_percent": gpu.busy_percent,
            "driver": here.driver,
            "visible": gpu.uuid in ours,
        }
        for gpu in here.gpus
    ]
