"""The state folder: a file per live server of ours, so that other processes see it, use it and end it. Starts nothing.

A file counts only while the process it names lives: what a killed process left behind is removed by whoever looks next.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter

from chainette.errors import EngineStartError
from chainette.specs import EngineSpec

if TYPE_CHECKING:
    from filelock import FileLock

_CLIENT_FIELDS = frozenset(
    """lazy idle_timeout_s start_timeout_s unresponsive_timeout_s request_timeout_s
    max_concurrency max_retries retry_wait_s headers api_key
    api_key_env requests_per_minute tokens_per_minute prices grammar chat_template_kwargs""".split()
)
"""What a spec says to the client and not to the server; and the grammar, which is chosen for a chain and no reason to
start another server."""


@dataclass(frozen=True, slots=True)
class LiveServer:
    """One server process: one replica of an engine."""

    name: str
    replica: int
    replicas: int
    """Of the whole engine."""
    fingerprint: str
    grammar: str
    backend: str
    model: str
    devices: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES calls them; empty for a server that takes none."""
    device_ids: tuple[str, ...]
    """The same by their own names: an index may mean another device elsewhere."""
    share: float
    """Of each of its devices."""
    place: str
    """The machine, its start and its table of processes: elsewhere the same number is another process."""
    pid: int
    born: float
    """When the process began, as its system counts, to tell it from a later one of the same number."""
    owner_pid: int
    owner_born: float
    """Who started it."""
    seated: bool
    """Whether its owner has counted its devices as taken."""
    started_s: float
    warm: bool
    """Whether it outlives its owner, until `chainette kill`."""
    url: str
    """Empty until it is healthy."""
    api_key: str = field(repr=False)
    log: str

    @property
    def file(self) -> Path:
        return state_folder() / "engines" / f"{_safe(self.name)}-{self.replica}-{self.pid}.json"

    @property
    def alive(self) -> bool:
        return is_process(self.pid, self.born)

    @property
    def orphaned(self) -> bool:
        """Whether it should have ended with its owner: one that is to stay does once it is up."""
        return not (self.warm and self.url) and not is_process(self.owner_pid, self.owner_born)

    def write(self) -> None:
        """
        Raises:
            OSError: it could not be made known.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:  # made with mode 0600: it holds the key
                file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
            os.replace(name, self.file)
        except OSError:
            os.unlink(name)
            raise

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)


def live_servers(names: Iterable[str] | None = None) -> list[LiveServer]:
    """The servers that live here, by name and replica; all, or those of these names. Files of dead ones are removed,
    those of other machines that share the folder left alone."""
    wanted = set(names) if names is not None else None
    found = []
    for file in sorted((state_folder() / "engines").glob("*.json")):
        engine = _read(file)
        if engine is None or engine.place != here():
            continue
        if not engine.alive:
            engine.forget()
        elif wanted is None or engine.name in wanted:
            found.append(engine)
    return sorted(found, key=lambda e: (e.name, e.replica, e.pid))


def warm_servers(spec: EngineSpec) -> list[LiveServer]:
    """All replicas of the warm engine that was started from the same spec, in order; empty when there is none whole.
    Any grammar will do where the spec leaves it open."""
    like = fingerprint(spec)
    same = [e for e in live_servers([spec.name]) if e.warm and e.fingerprint == like]
    same = [e for e in same if spec.grammar in ("auto", e.grammar)]
    whole = bool(same) and [e.replica for e in same if e.url] == list(range(same[0].replicas))
    return same if whole else []


def start_lock(name: str) -> FileLock:
    """Held by the one process that is starting the warm engine of that name."""
    return _lock(f"engine-{_safe(name)}")


def seat_lock() -> FileLock:
    """Held while room on the devices is looked for, until what takes it is known to all."""
    return _lock("seats")


def _lock(name: str) -> FileLock:
    from filelock import FileLock

    folder = state_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not of one thread: replicas are started by several, and the last of them lets go.
    return FileLock(folder / f"{name}.lock", thread_local=False)


def fingerprint(spec: EngineSpec) -> str:
    """Equal for specs that make the same server. How a client asks does not count; of what is a file or folder, which
    one it is."""
    said = _located(spec.model_dump(mode="json", exclude=set(_CLIENT_FIELDS)))
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def state_folder() -> Path:
    """`$XDG_STATE_HOME/chainette`, or a folder among the temporary ones where that cannot be written.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    for folder in (Path(home, "chainette"), Path(tempfile.gettempdir(), f"chainette-{_user()}")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK) and _is_ours(folder):
            return folder
    raise EngineStartError(
        f"neither {home} nor the temporary folder can be written: set XDG_STATE_HOME to a folder that can"
    )


def is_process(pid: int, born: float) -> bool:
    """Whether that very process lives, and not a later one of the same number, nor a zombie."""
    import psutil

    try:
        return born_of(pid) == born and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def born_of(pid: int) -> float:
    """When a process began; 0 when it is gone. In ticks since the machine's start where the system tells them: the wall
    clock may be set."""
    import psutil

    try:
        return float(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, ValueError, OverflowError):
        return 0.0


@functools.cache
def here() -> str:
    """Where the numbers of processes mean what they mean to us."""
    parts = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text().strip())
    return " ".join(parts)


def _read(file: Path) -> LiveServer | None:
    """None for what cannot be read, and for what is no such record or one of another version."""
    try:
        return _RECORD.validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None


_RECORD = TypeAdapter(LiveServer)


def _located(value: Any) -> Any:
    """With the whole path of every file or folder that is named from here."""
    if isinstance(value, dict):
        return {key: _located(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_located(item) for item in value]
    if isinstance(value, str) and value:
        path = os.path.expanduser(value)
        return os.path.realpath(path) if os.path.exists(path) else value
    return value


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have laid something there."""
    if not hasattr(os, "getuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _safe(name: str) -> str:
    """A name for files; different for names that differ."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"
