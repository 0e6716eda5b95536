"""Remote run folders as they are read: brought to this machine file by file, when somebody looks at them.

Knows where copies are kept and how old they are; reads no rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from chainette.errors import RunFolderError
from chainette.files.remote_copy import Notes, bring, check_room_for
from chainette.files.remote_lock import remote_owner
from chainette.files.remote_names import as_url, is_remote, local_place_of, shown_url
from chainette.files.remote_state import CANCEL, OWNER, RemoteState, read_state
from chainette.files.remote_store import RemoteStore, patiently
from chainette.files.run_lock import is_held

DOCUMENTS = ("graph.json", "status.json")
_PATIENCE_S = 5.0
_QUIET_S = 300.0
"""A writer of another machine that was not heard of for so long is taken for dead. Clocks may differ a little."""


class RemoteReader:
    """One remote run folder, and the part of it that is here."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """Raises: RunFolderError: it cannot be reached, or its package is missing."""
        self.url = shown_url(as_url(url))
        self._url = as_url(url)
        self.path = local_place_of(self._url, "reading")
        """Where what was asked for lies."""
        self._store: RemoteStore | None = None
        self._state: RemoteState | None = None
        spool = local_place_of(self._url, "spool")
        self._is_spool = is_held(spool)
        if self._is_spool:
            self.path = spool  # a run of this machine is at work in it

    @property
    def _remote(self) -> RemoteStore:
        if self._store is None:
            self._store = RemoteStore(self._url)
        return self._store

    def exists(self) -> bool:
        """Whether there is a run."""
        return self._is_spool or any(name in self._known().files for name in DOCUMENTS)

    def names(self) -> list[str]:
        """The files there are."""
        return [] if self._is_spool else list(self._known().files)

    def fetch_documents(self) -> Path:
        """`fetch` of what says what ran and how far it is."""
        return self.fetch(*DOCUMENTS)

    def fetch(self, *below: str) -> Path:
        """Bring the files whose names begin with one of `below` (all without any) and say where they are.

        Raises:
            RunFolderError: they cannot be read, or there is no room for them here.
        """
        if self._is_spool:
            return self.path
        check_room_for(self.path.parent)

        def ask() -> None:
            state, self._state = self._known(), None
            # Two looks at one run share a copy.
            with FileLock(f"{self.path}.lock"):
                notes = Notes.beside(self.path)
                notes.url, notes.held = self._url if self._url == self.url else "", self._is_held(state)
                bring(self._remote, state, self.path, notes, below or None)
            self._state = state

        patiently(self._remote, ask, _PATIENCE_S)
        return self.path

    def _known(self) -> RemoteState:
        if self._state is None:
            self._state = patiently(self._remote, lambda: read_state(self._remote), _PATIENCE_S)
        return self._state

    def _is_held(self, state: RemoteState) -> bool:
        return state.snapshot is not None and has_writer(self._remote)


def has_writer(store: RemoteStore, below: str = "") -> bool:
    """Whether a process is at work in the folder, as far as can be told without writing."""
    owner = remote_owner(store, below)
    changed = store.changed_at(f"{below}{OWNER}") if owner is not None else None
    return owner is not None and (changed is None or time.time() - changed < _QUIET_S)


def reader_of(path: str | os.PathLike[str]) -> RemoteReader | None:
    """What brings more of a folder: for a URL, or for a copy that `local_copy` has made of one."""
    if is_remote(path):
        return RemoteReader(path)
    notes = Notes.beside(Path(path))
    return RemoteReader(notes.url) if notes.url else None


def local_copy(url: str | os.PathLike[str], *below: str) -> Path:
    """Where a remote run can be read here: its documents and what is `below` now, the rest when it is asked for.

    Raises:
        RunFolderError: there is no run, or it cannot be reached.
    """
    reader = RemoteReader(url)
    if not reader.exists():
        raise RunFolderError(f"there is no run at {reader.url} (`chainette runs --runs-dir {_parent(reader.url)}`)")
    # The password that would be needed to bring more later is kept nowhere.
    return reader.fetch() if shown_url(as_url(url)) != as_url(url) else reader.fetch(*DOCUMENTS, *below)


def _parent(url: str) -> str:
    return url.rpartition("/")[0]


def ask_remote_to_stop(url: str | os.PathLike[str], *, now: bool = False) -> None:
    """As `ask_to_stop`, for a run whose folder is remote: its heartbeat finds it within ten seconds.

    Raises:
        RunFolderError: it cannot be written.
    """
    store = RemoteStore(as_url(url))
    patiently(store, lambda: store.write({CANCEL: b"now" if now else b""}), _PATIENCE_S)


def is_held_elsewhere(path: Path) -> bool:
    """Of a copy: whether a process was at work in the remote folder when it was brought."""
    return Notes.beside(path).held


def remote_runs(runs_dir: str | os.PathLike[str]) -> Iterator[tuple[str, bytes | None, bool]]:
    """The runs in a remote folder: URL, `status.json` (None without one), whether a process is at work in it.

    Raises:
        RunFolderError: the folder cannot be listed.
    """
    store = RemoteStore(as_url(runs_dir))
    for name in patiently(store, store.folders, _PATIENCE_S):
        status = store.read(f"{name}/status.json")
        if status is None and store.read(f"{name}/graph.json") is None:
            continue
        running = False
        with contextlib.suppress(ValueError, AttributeError):
            running = json.loads(status or b"{}").get("state") == "running"
        yield f"{as_url(runs_dir)}/{name}", status, running and has_writer(store, f"{name}/")
