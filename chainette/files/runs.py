"""The runs in a folder: which there are, how far they got, and which one a name means."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chainette.errors import RunFolderError, nearest
from chainette.files.run_lock import is_held


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line in the list of runs."""

    name: str
    path: Path
    state: str
    """As `status.json` says; `died` when it says `running` and no process holds the folder, `broken` without it."""
    chain: str = ""
    rows_in: int = 0
    rows_done: int = 0
    rows_failed: int = 0
    started: datetime | None = None
    seconds: float = 0.0
    message: str = ""


def is_run_folder(path: Path) -> bool:
    return (path / "graph.json").is_file() or (path / "status.json").is_file()


def list_runs(runs_dir: str | Path = "runs") -> list[RunSummary]:
    """The runs in a folder, the newest first. One that cannot be read is in the list and says why."""
    summaries = [summarise(path) for path in run_folders(Path(runs_dir))]
    return sorted(summaries, key=lambda run: (run.started or _made(run.path), run.name), reverse=True)


def summarise(path: Path) -> RunSummary:
    """What `status.json` says of one run, and whether it still lives."""
    try:
        status = json.loads((path / "status.json").read_bytes())
        if not isinstance(status, dict):
            raise ValueError("status.json is not an object")
        state = str(status.get("state", "broken"))
        if state == "running" and not is_held(path):
            state = "died"
        return RunSummary(
            name=path.name,
            path=path,
            state=state,
            chain=str(status.get("chain", "")),
            rows_in=int(status.get("rows_in", 0)),
            rows_done=int(status.get("rows_done", 0)),
            rows_failed=int(status.get("rows_failed", 0)),
            started=_moment(status.get("started")),
            seconds=float(status.get("seconds", 0.0)),
            message=str(status.get("message", "")),
        )
    except FileNotFoundError:
        return RunSummary(path.name, path, "broken", message="there is no status.json")
    except (OSError, ValueError, TypeError) as error:
        return RunSummary(path.name, path, "broken", message=f"status.json cannot be read: {error}")


def find_run(name: str | Path, runs_dir: str | Path = "runs") -> Path:
    """The folder of a run: by path, by name, by the beginning of a name that no other run has, or `last`.

    Raises:
        RunFolderError: no run or several are meant.
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    if is_run_folder(path):
        return path
    runs = Path(runs_dir)
    if text == "last":
        listed = list_runs(runs)
        if not listed:
            raise RunFolderError(f"there are no runs in {runs} (`chainette run` makes one)")
        return listed[0].path
    if text and is_run_folder(runs / text):
        return runs / text
    known = [folder.name for folder in run_folders(runs)]
    begun = [known_name for known_name in known if text and known_name.startswith(text)]
    if len(begun) == 1:
        return runs / begun[0]
    if begun:
        raise RunFolderError(f'"{text}" is the beginning of {len(begun)} runs: {", ".join(sorted(begun)[:5])}')
    if path.is_dir():
        raise RunFolderError(f"{path} is not a run folder: it has neither graph.json nor status.json")
    hint = nearest(path.name, known) or f"there are no runs in {runs}"
    raise RunFolderError(f'there is no run "{text}" ({hint})')


def run_folders(runs_dir: Path) -> Iterator[Path]:
    """The run folders in a folder, also those that broke before they were written to."""
    try:
        entries = list(runs_dir.iterdir())
    except OSError:
        return
    for path in entries:
        if path.is_dir() and (is_run_folder(path) or (path / ".lock").exists()):
            yield path


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _made(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)
