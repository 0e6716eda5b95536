"""`chainette devices`: what this machine has. Reads, never reserves."""

from __future__ import annotations

import os
import subprocess
from typing import Annotated, Any

import typer

_QUERY = "index,name,memory.total,memory.used,utilization.gpu,driver_version"
_ANSWER_WITHIN_S = 10.0


def devices(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what is here: cores, memory, GPUs, and which of them we may see."""
    import sys

    from chainette.cli.screen import NAME, QUIET, console, line

    found = what_is_here()
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
        free, total = size(gpu["memory_free_bytes"]), size(gpu["memory_total_bytes"])
        seen = "" if gpu["visible"] else ", not in CUDA_VISIBLE_DEVICES"
        rows.append((f"gpu {gpu['index']}", f"{one_line(gpu['name'])}, {free} free of {total}{seen}"))
    if not found["gpus"]:
        rows.append(("gpu", "none"))
    if found["cuda_visible_devices"] is not None:
        rows.append(("visible", f"CUDA_VISIBLE_DEVICES={one_line(found['cuda_visible_devices']) or '(empty: none)'}"))
    return rows


def what_is_here() -> dict[str, Any]:
    """Cores, memory in bytes, GPUs as `nvidia-smi` tells them."""
    import psutil

    memory = psutil.virtual_memory()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus, said = _gpus(visible)
    return {
        "cpu": {"cores": os.cpu_count() or 1, "usable": usable},
        "memory": {"total_bytes": memory.total, "available_bytes": memory.available},
        "cuda_visible_devices": visible,
        "gpus": gpus,
        "gpus_said": said,
    }


def _gpus(visible: str | None) -> tuple[list[dict[str, Any]], str]:
    """The GPUs, and why there are none where that is worth saying."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY},uuid", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False)
    except FileNotFoundError:
        return [], "no nvidia-smi here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer: {error}"
    if done.returncode:
        return [], f"nvidia-smi says: {(done.stdout or done.stderr).strip()}"
    return [read_gpu(row, visible) for row in done.stdout.splitlines() if row.strip()], ""


def read_gpu(row: str, visible: str | None) -> dict[str, Any]:
    """One line of `nvidia-smi`; `visible` is what CUDA_VISIBLE_DEVICES says, None without it."""
    index, name, total, used, busy, driver, uuid = (part.strip() for part in row.split(","))
    names = None if visible is None else [part.strip() for part in visible.split(",")]
    mib = 1024 * 1024
    total_bytes = int(total) * mib if total.isdigit() else 0
    used_bytes = int(used) * mib if used.isdigit() else 0
    return {
        "index": int(index),
        "name": name,
        "uuid": uuid,
        "memory_total_bytes": total_bytes,
        "memory_free_bytes": max(0, total_bytes - used_bytes),
        "utilization_percent": int(busy) if busy.isdigit() else None,
        "driver": driver,
        "visible": names is None or index in names or any(n and uuid.startswith(n) for n in names),
    }
