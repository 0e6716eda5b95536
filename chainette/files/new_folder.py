"""The folder of a run before anything is in it, and what is swept out at the end. Knows nothing of rows."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.names import new_run_id
from chainette.files.remote_names import as_path
from chainette.files.run_lock import LOCK_NAMES

_BEFORE_THE_FIRST_EVENT = {"graph.json", "status.json", "events.jsonl", ".graph.json.tmp", ".status.json.tmp"}


def new_folder(chain_name: str, runs_dir: str | os.PathLike[str]) -> Path:
    """A folder that was not there, under `runs_dir` with the chain's name and the time.

    Raises:
        RunFolderError: there cannot be a folder there.
    """
    runs = make_folder(runs_dir)
    while True:
        folder = runs / new_run_id(chain_name)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise folder_error(folder, error, "cannot make") from error
        return folder


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made where it was not there.

    Raises:
        RunFolderError: there cannot be a folder there.
    """
    try:
        folder = as_path(path)
        folder.mkdir(parents=True, exist_ok=True)
    except (TypeError, ValueError, RuntimeError) as error:
        # In this order: an int or bytes; a NUL or half a surrogate pair; `~nobody`.
        raise RunFolderError(f"{path!r} cannot be a folder: {error}") from error
    except FileExistsError:
        raise RunFolderError(f"{folder} is a file (name a new or empty folder)") from None
    except OSError as error:
        if error.errno == errno.ENOENT:  # `mkdir` made all parents that it could: this is /proc or the like
            raise RunFolderError(f"{folder} cannot be created (choose another --output-dir)") from error
        raise folder_error(folder, error, "cannot make") from error
    return folder


def check_empty(folder: Path) -> None:
    """Takes away what a run left that ended before its first event, as on a full disk.

    Raises:
        RunFolderError: something else is in there, or it cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name not in LOCK_NAMES)
    except OSError as error:
        raise folder_error(folder, error, "cannot read") from error
    if names and _never_began(folder, names):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        return
    if "status.json" in names or "graph.json" in names:
        raise RunFolderError(f"{folder} holds a run already (name another --output-dir, or delete it)")
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise RunFolderError(f"{folder} is not empty: {shown} (name a new or empty folder)")


def may_be_cleared(names: Iterable[str]) -> bool:
    """Whether a folder that holds no more than these may be that of a run that ended before it began."""
    found = set(names)
    return bool(found & {"graph.json", "status.json"}) and found <= _BEFORE_THE_FIRST_EVENT


def _never_began(folder: Path, names: Sequence[str]) -> bool:
    if not may_be_cleared(names):
        return False
    documents = set(names) & {"graph.json", "status.json"}
    try:
        if "events.jsonl" in names and (folder / "events.jsonl").stat().st_size:
            return False
        found = [json.loads((folder / name).read_bytes()) for name in documents]
    except (OSError, ValueError):
        return False
    return all(isinstance(one, dict) and "run_id" in one and one.get("state") != "done" for one in found)


def remove_empty(folder: Path) -> None:
    """Takes away the folders of parts that were all sealed."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
