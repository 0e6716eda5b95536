"""Who may write to a remote run folder: an object with a heartbeat, because no system frees the lock of who died.

Never compares clocks of two machines: ages are differences of times that the store itself gave, or a heartbeat is
watched.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from typing import Any

from chainette.errors import RunFolderError
from chainette.files.remote_state import CLAIM, OWNER
from chainette.files.remote_store import RemoteStore

BEAT_S = 10.0
STALE_S = 60.0
_WATCH_EVERY_S = 5.0


class RemoteLock:
    """Held by the process that writes a remote run folder. It renews it, and notices when it has lost it."""

    def __init__(self, store: RemoteStore, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        self._store = store
        self._beat_s = beat_s
        self._stale_s = stale_s
        self._beats = 0
        self._renewed = 0.0
        self.is_held = False
        self._lost: str | None = None
        self._asking = threading.Lock()
        self.token = secrets.token_hex(4)

    def take(self, *, given_back: str = "") -> None:
        """`given_back` is the token of a writer that is known to have ended.

        Raises:
            RunFolderError: another process holds it (named), or nothing can be written there.
        """
        if not self._claim():
            raise self._just_taken()
        try:
            owner = self._owner()
            if owner is not None and owner.get("token") != given_back and not _is_dead(owner):
                self._refuse_fresh(owner)
            self._write()
            if not self._claim_is_mine():
                raise self._just_taken()
            self.is_held = True
        finally:
            if self._claim_is_mine():
                self._store.delete([CLAIM])

    def _just_taken(self) -> RunFolderError:
        url = self._store.url
        return RunFolderError(f"{url} is just being taken by another process (wait for it; a minute if that died)")

    def _claim_is_mine(self) -> bool:
        """Two that both found an old claim may both have replaced it."""
        claim = _read(self._store, CLAIM)
        return claim is not None and claim.get("token") == self.token

    def _claim(self) -> bool:
        """For the moment of taking. One that was left by a crash gives way."""
        claim = json.dumps({**_this_process(), "token": self.token}).encode()
        if self._store.create(CLAIM, claim):
            return True
        other = _read(self._store, CLAIM)
        if other is not None and not _is_dead(other) and not self._is_old_claim():
            return False
        self._store.delete([CLAIM])
        return self._store.create(CLAIM, claim)

    def _is_old_claim(self) -> bool:
        probe = f"{CLAIM}-{self.token}"
        self._store.write({probe: b"-"})
        now, then = self._store.changed_at(probe), self._store.changed_at(CLAIM)
        self._store.delete([probe])
        return now is not None and then is not None and now - then >= self._stale_s

    def _refuse_fresh(self, owner: dict[str, Any]) -> None:
        age = self._age_s()
        if age is None:
            age = self._watched_age_s(owner)
        if age < self._stale_s:
            left = max(round(self._stale_s - age), 1)
            raise RunFolderError(
                f"{self._store.url} is being written by {_named(owner)}, last heard of {max(round(age), 0)} s ago "
                f"(wait for it, or name another --output-dir; if it is dead, try again in {left} s)"
            )

    def _age_s(self) -> float | None:
        """How long ago the owner wrote, by the store's clock: that of the claim we have just made."""
        now, then = self._store.changed_at(CLAIM), self._store.changed_at(OWNER)
        return None if now is None or then is None else now - then

    def _watched_age_s(self, owner: dict[str, Any]) -> float:
        """For stores that know no times: 0 as soon as the heartbeat changes."""
        end = time.monotonic() + self._stale_s
        while time.monotonic() < end:
            time.sleep(min(_WATCH_EVERY_S, self._stale_s))
            if self._owner() != owner:
                return 0.0
        return self._stale_s

    def _owner(self) -> dict[str, Any] | None:
        return _read(self._store, OWNER)

    def _write(self) -> None:
        # From before the request: it may be long under way, and the lock lasts from when it was asked for.
        asked = time.monotonic()
        self._beats += 1
        owner = {**_this_process(), "token": self.token, "beat": self._beats}
        self._store.write({OWNER: json.dumps(owner).encode()})
        self._renewed = asked

    def renew(self) -> bool:
        """Say that we live, when it is time to. Asked before whatever changes the folder. From any thread.

        Returns whether it was time.

        Raises:
            RunFolderError: another process has taken the folder, or somebody has deleted it.
        """
        with self._asking:
            if self._lost is None and self.is_held and time.monotonic() - self._renewed >= self._beat_s:
                self._lost = self._loss()
                if self._lost is None:
                    self._write()
                    return True
            if self._lost is not None:
                raise RunFolderError(self._lost)
            return False

    def _loss(self) -> str | None:
        owner = self._owner()
        if owner is None:
            return f"{self._store.url} was deleted, or given to another process, while the run was going"
        if owner.get("token") != self.token:
            return f"{self._store.url} was taken over by {_named(owner)}, which had not heard of this run"
        return None

    def release(self) -> None:
        """Give it back; nothing happens when it was never held or is another's by now."""
        with self._asking:
            if self.is_held:
                self.is_held = False
                owner = self._owner()
                if owner is not None and owner.get("token") == self.token:
                    self._store.delete([OWNER])


def remote_owner(store: RemoteStore, below: str = "") -> str | None:
    """Who writes the folder, by what it says of itself; None when nobody does or it died on this machine."""
    owner = _read(store, f"{below}{OWNER}")
    return None if owner is None or _is_dead(owner) else _named(owner)


def _read(store: RemoteStore, name: str) -> dict[str, Any] | None:
    text = store.read(name)
    if text is None:
        return None
    try:
        owner = json.loads(text)
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {}


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "place": _place(), "started": _started(pid)}


def _started(pid: int) -> str | None:
    """What tells a process from another that gets the same id later; None when there is no such process.

    Where the system counts from its boot, as Linux does, a clock that is set changes nothing.
    """
    import psutil

    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        try:
            return str(round(psutil.Process(pid).create_time()))
        except psutil.NoSuchProcess:
            return None


def _place() -> str:
    """Where a process id means one process: this boot of this machine, this container."""
    import psutil

    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        boot += str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        boot = str(psutil.boot_time())
    return hashlib.blake2b(f"{socket.gethostname()} {boot}".encode(), digest_size=8).hexdigest()


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether it was a process of this machine and is no more. Of other machines nobody can tell."""
    if owner.get("place") != _place() or not isinstance(owner.get("pid"), int):
        return False
    return _started(owner["pid"]) != owner.get("started")


def _named(owner: dict[str, Any]) -> str:
    if "pid" not in owner:
        return "another process"
    host = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
    return f"process {owner['pid']}{host}"
