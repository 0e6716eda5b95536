"""Who may write to a run folder. The system frees the lock of a process that died."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error, replace_file

OWNER = ".owner.json"
LOCK_NAMES = (".lock", OWNER)
_ASKING_S = 0.5
"""Longer than `is_held` holds the lock in passing."""


class RunLock:
    """Held by the process that writes a run folder, from the moment it is made."""

    def __init__(self, folder: Path) -> None:
        """Raises: RunFolderError: another process holds it; named."""
        self._folder = folder
        # Taken by the thread that makes the folder, given back by the one that closes it.
        self._lock = FileLock(folder / LOCK_NAMES[0], timeout=_ASKING_S, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{folder} is being written by {describe_owner(folder)} (wait for it, `chainette cancel` it, or take "
                "another folder)"
            ) from None
        except OSError as error:
            raise folder_error(folder, error) from error
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        try:
            replace_file(folder / OWNER, json.dumps(owner).encode())
        except RunFolderError:
            self._lock.release()
            raise

    def release(self) -> None:
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # a folder that may not be written any more
                (self._folder / OWNER).unlink(missing_ok=True)
            self._lock.release()


def describe_owner(folder: Path) -> str:
    owner = read_owner(folder)
    if owner is None:
        return "another process"
    host = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
    return f"process {owner.get('pid')}{host}"


def read_owner(folder: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads((folder / OWNER).read_bytes())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def is_held(folder: Path) -> bool:
    """Whether a live process writes this folder now."""
    if not (folder / LOCK_NAMES[0]).exists():
        return False
    lock = FileLock(folder / LOCK_NAMES[0], timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a folder that is only to be read cannot be tested; its owner would have left its name
        return read_owner(folder) is not None
    lock.release()
    return False
