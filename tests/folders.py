"""Run folders as tests compare them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

DERIVED = ("inputs", "steps", "flattened", "failed")
COSTS = ("seconds",)
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where a sync costs nothing, for tests that run many times; None: there is no such place."""


def derived(run: Path) -> dict[str, bytes]:
    """What a run makes of its rows, by path; what is still open too."""
    found = {}
    for top in (*DERIVED, ".open", ".healing"):
        for path in sorted((run / top).rglob("*")):
            if path.is_file():
                found[path.relative_to(run).as_posix()] = path.read_bytes()
    return found


def everything(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def calls(run: Path) -> list[tuple[str, str, int]]:
    """(step, row, attempt) of every call that was made for this run, in no order."""
    records = ((path.parent.name, record) for path in sorted(run.glob("calls/*/*.jsonl")) for record in lines(path))
    return [(step, record["_id"], record["attempt"]) for step, record in records if _is_own_call(record)]


def reused(run: Path) -> list[tuple[str, str]]:
    """(step, row) of every call that was taken from elsewhere."""
    records = ((path.parent.name, record) for path in sorted(run.glob("calls/*/*.jsonl")) for record in lines(path))
    return [(step, record["_id"]) for step, record in records if "reused" in record]


def made_once(run: Path) -> bool:
    made = calls(run)
    turns = [
        record.get("turn")
        for path in sorted(run.glob("calls/*/*.jsonl"))
        for record in lines(path)
        if _is_own_call(record)
    ]
    told = [(*call, str(turn)) for call, turn in zip(made, turns, strict=True)]
    return len(told) == len(set(told))


def _is_own_call(record: dict[str, Any]) -> bool:
    """Neither taken from elsewhere nor what a scan carries over the end of a chunk."""
    return "reused" not in record and "chunk" not in record


def status(run: Path) -> dict[str, Any]:
    found = json.loads((run / "status.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def counts(run: Path) -> dict[str, Any]:
    """Rows and costs as `status.json` has them, but for times."""
    said = status(run)
    rows = {name: said[name] for name in ("state", "rows_in", "rows_out", "rows_failed", "rows_dropped")}
    nodes = {id: {k: v for k, v in node.items() if k not in COSTS} for id, node in said["nodes"].items()}
    return {**rows, "nodes": nodes}


def as_killed(run: Path) -> Path:
    """The folder of a run that is done, as if it had been killed before it could say so."""
    said = status(run)
    (run / "status.json").write_text(json.dumps({**said, "state": "running"}), encoding="utf-8")
    return run
