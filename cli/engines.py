"""`chainette engines`: the servers that live now, whoever started them. Looks, and changes nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.engine.live import LiveServer

_HEAD = ("ENGINE", "MODEL", "STATE", "DEVICES", "PID", "PORT", "MEMORY", "RUNNING", "WAITING", "AGE", "LOG")
_NUMBERS = (4, 5, 6, 7, 8, 9)


def engines(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the engines that are alive: warm ones, and those of runs."""
    from chainette.engine.live import live_servers

    found = [_facts(one) for one in live_servers()]
    if as_json:
        from chainette.cli.output import write_json

        write_json(found)
        return
    if not found:
        sys.stdout.write("no engine is running\nnext: chainette warmup -f engines.yml -e NAME\n")
        return
    from chainette.cli.screen import console

    terminal = console(sys.stdout)
    for text in _table(found):
        terminal.print(text, soft_wrap=True)


def _facts(one: LiveServer) -> dict[str, Any]:
    from urllib.parse import urlsplit

    from chainette.engine.looking import load_of, memory_of

    load = load_of(one) if one.url else None
    host_bytes, device_bytes = memory_of(one)
    return {
        "name": one.name,
        "replica": one.replica,
        "replicas": one.replicas,
        "backend": one.backend,
        "model": one.model,
        "state": _state(one),
        "owner_pid": None if one.warm else one.owner_pid,
        "devices": list(one.devices),
        "share": one.share,
        "pid": one.pid,
        "port": urlsplit(one.url).port if one.url else None,
        "memory_bytes": host_bytes,
        "device_memory_bytes": device_bytes,
        "running": load.running if load is not None else None,
        "waiting": load.waiting if load is not None else None,
        "age_s": round(time.time() - one.started_s, 1),
        "log": one.log,
    }


def _state(one: LiveServer) -> str:
    if not one.url:
        return "starting"
    if one.orphaned:
        return "left behind"
    return "warm" if one.warm else f"of {one.owner_pid}"


def _table(found: list[dict[str, Any]]) -> list[Text]:
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import one_line, seconds, size

    def words(value: Any) -> str:
        return "" if value is None else str(value)

    rows = []
    for one in found:
        name = one["name"] if one["replicas"] == 1 else f"{one['name']}.{one['replica']}"
        memory = size(one["device_memory_bytes"] or one["memory_bytes"])
        rows.append(
            (
                one_line(name),
                one_line(one["model"]),
                one["state"],
                ",".join(one["devices"]) or "cpu",
                words(one["pid"]),
                words(one["port"]),
                memory,
                words(one["running"]),
                words(one["waiting"]),
                seconds(one["age_s"]),
                one["log"],
            )
        )
    widths = [max(len(cells[i]) for cells in [_HEAD, *rows]) for i in range(len(_HEAD))]

    def padded(cells: tuple[str, ...]) -> list[str]:
        return [c.rjust(w) if i in _NUMBERS else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]

    lines = [line(("  ".join(padded(_HEAD)).rstrip(), QUIET))]
    for cells in rows:
        name, *rest = padded(cells)
        lines.append(line((name, NAME), f"  {'  '.join(rest).rstrip()}"))
    return lines
