"""The runs in a folder: which there are, how far they got, and which one a name means."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from chainette.errors import RunFolderError, nearest
from chainette.files.remote_names import as_path, as_url, is_copy, is_remote, shown_url
from chainette.files.run_lock import is_held

RESUMABLE = ("died", "stopped", "interrupted")
"""States of runs that `resume` goes on with."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line in the list of runs."""

    name: str
    path: Path | str
    """The folder; a URL where it is remote."""
    state: str
    """As `status.json` says; `died` when it says `running` and no process holds the folder, `broken` without it."""
    chain: str = ""
    rows_in: int = 0
    rows_done: int = 0
    rows_failed: int = 0
    started: datetime | None = None
    seconds: float = 0.0
    message: str = ""
    rows_total: int | None = None
    """Of the input, where the run could tell."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """None where no engine has prices."""
    tags: tuple[str, ...] = ()


def is_run_folder(path: Path) -> bool:
    try:
        return (path / "graph.json").is_file() or (path / "status.json").is_file()
    except (OSError, ValueError):  # no name for a file: too long, or with a NUL in it
        return False


def list_runs(runs_dir: str | os.PathLike[str] = "runs") -> list[RunSummary]:
    """The runs in a folder or at a URL, the newest first. One that cannot be read is in the list and says why."""
    if is_remote(runs_dir):
        from chainette.files.remote_reading import remote_runs

        summaries = [_summary(url, status, partial(bool, held)) for url, status, held in remote_runs(runs_dir)]
    else:
        summaries = [summarise(path) for path in run_folders(as_path(runs_dir))]
    return sorted(summaries, key=lambda run: (run.started or _made(run.path), run.name), reverse=True)


def summarise(path: Path) -> RunSummary:
    """What `status.json` says of one run, and whether it still lives."""
    found = _summarised(path)
    # One that ended between the two looks, at its status and at its lock, has said so by now.
    return _summarised(path) if found.state == "died" else found


def _summarised(path: Path) -> RunSummary:
    try:
        if (path / "status.json").is_fifo():  # would be waited for without end
            return RunSummary(path.name, path, "broken", message="status.json is not a file")
        status = (path / "status.json").read_bytes()
    except FileNotFoundError:
        return _summary(path, None, lambda: False)
    except OSError as error:
        return RunSummary(path.name, path, "broken", message=f"status.json cannot be read: {error}")
    return _summary(path, status, lambda: is_held(path) or _is_held_elsewhere(path))


def _is_held_elsewhere(path: Path) -> bool:
    if not is_copy(path):
        return False
    from chainette.files.remote_reading import is_held_elsewhere

    return is_held_elsewhere(path)


def _summary(path: Path | str, text: bytes | None, held: Callable[[], bool]) -> RunSummary:
    """`held` is only asked of a run that says it is running: to ask takes longer than all the rest."""
    name = path.name if isinstance(path, Path) else path.rpartition("/")[2]
    if text is None:
        return RunSummary(name, path, "broken", message="there is no status.json")
    try:
        status = json.loads(text)
        if not isinstance(status, dict):
            raise ValueError("status.json is not an object")
        state = str(status.get("state", "broken"))
        return RunSummary(
            name=name,
            path=path,
            state="died" if state == "running" and not held() else state,
            chain=str(status.get("chain", "")),
            rows_in=int(status.get("rows_in", 0)),
            rows_done=int(status.get("rows_done", 0)),
            rows_failed=int(status.get("rows_failed", 0)),
            started=_moment(status.get("started")),
            seconds=float(status.get("seconds", 0.0)),
            message=str(status.get("message", "")),
            rows_total=int(status["rows_total"]) if status.get("rows_total") is not None else None,
            prompt_tokens=int(status.get("prompt_tokens", 0)),
            completion_tokens=int(status.get("completion_tokens", 0)),
            cost=float(status["cost"]) if status.get("cost") is not None else None,
            tags=tuple(str(tag) for tag in status.get("tags") or ()),
        )
    except (ValueError, TypeError, OverflowError) as error:  # JSON from elsewhere may hold NaN and 1e999
        return RunSummary(name, path, "broken", message=f"status.json cannot be read: {error}")


def find_run(name: str | os.PathLike[str], runs_dir: str | os.PathLike[str] = "runs") -> Path:
    """The folder of a run: by path or URL, by name, by the beginning of a name that no other run has, or `last`.

    Of a remote run, where it can be read on this machine; what of it is not there yet is brought by `RunReader`.

    Raises:
        RunFolderError: no run or several are meant.
    """
    found = meant_run(name, runs_dir)
    if isinstance(found, Path):
        return found
    from chainette.files.remote_reading import local_copy

    return local_copy(found)


def meant_run(name: str | os.PathLike[str], runs_dir: str | os.PathLike[str] = "runs") -> Path | str:
    """As `find_run`, but of a remote run its URL, and nothing is brought.

    Raises:
        RunFolderError: no run or several are meant.
    """
    text = os.fspath(name)
    if is_remote(name):
        return as_url(name)
    if not text.strip():
        raise RunFolderError("no run is named (a folder, a name, the beginning of one, or last)")
    path = as_path(text)
    if is_run_folder(path):
        return path
    runs = as_url(runs_dir) if is_remote(runs_dir) else as_path(runs_dir)
    if text == "last":
        listed = list_runs(runs)
        if not listed:
            raise RunFolderError(f"there are no runs in {_shown(runs)} (`chainette run` makes one)")
        return listed[0].path
    if isinstance(runs, Path) and text and is_run_folder(runs / text):
        return runs / text
    known = [run.name for run in list_runs(runs)] if isinstance(runs, str) else [f.name for f in run_folders(runs)]
    begun = [one for one in known if text and one.startswith(text)]
    if text in begun or len(begun) == 1:
        only = text if text in begun else begun[0]
        return f"{runs}/{only}" if isinstance(runs, str) else runs / only
    if begun:
        raise RunFolderError(f'"{text}" is the beginning of {len(begun)} runs: {", ".join(sorted(begun)[:5])}')
    if path.is_dir():
        raise RunFolderError(f"{path} is not a run folder: it has neither graph.json nor status.json")
    hint = nearest(path.name, known) or f"there are no runs in {_shown(runs)}"
    raise RunFolderError(f'there is no run "{text}" ({hint})')


def _shown(runs: Path | str) -> str:
    return shown_url(runs) if isinstance(runs, str) else str(runs)


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


def _made(path: Path | str) -> datetime:
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)
