"""What a remote run folder holds: per file which objects its bytes are in, as the newest snapshot says.

Knows the form of snapshots and where they lie; neither what the files mean nor how they got there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import orjson

from chainette.errors import RunFolderError
from chainette.files.remote_store import Entry, Gone, RemoteStore

JOURNAL = ".journal"
OWNER = ".owner.json"
CLAIM = f"{JOURNAL}/claim"
CANCEL = ".cancel"
_BESIDES = {OWNER, ".lock", CANCEL}
_SNAPSHOT = re.compile(rf"{re.escape(JOURNAL)}/(\d+)-(\w+)/(\d+)")
_OPENING = re.compile(rf"{re.escape(JOURNAL)}/(\d+)-\w+/")
_MAGIC = b"chainette snapshot 1"
_HEAD_BYTES = len(_MAGIC) + 2 * 17 + 1
_FIRST_READ = 64 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a file, and where they lie."""

    object: str
    offset: int
    size: int
    push: int = 0
    """The push of this opening that wrote it; 0 when it was there before."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One file: the first `base` bytes are those of the object with its own name, the rest are in pieces, in order."""

    epoch: str
    """Changes whenever bytes that were there are replaced or cut: within an epoch a file only grows."""
    base: int = 0
    pieces: tuple[Piece, ...] = ()

    @property
    def size(self) -> int:
        return self.base + sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class RemoteState:
    """The files of a run folder at one moment."""

    files: dict[str, FileState]
    snapshot: str | None = None
    """The object that says so; None when nobody writes the folder and it is a plain copy."""
    objects: frozenset[str] = frozenset()
    """What lies in the journal, needed or not."""
    others: frozenset[str] = frozenset()
    """Objects under names of their own, of the run or left over."""
    generation: int = 0

    @property
    def identity(self) -> str:
        """Of two looks at a folder the same only when nothing was written in between."""
        if self.snapshot is not None:
            return self.snapshot
        listed = sorted((name, file.epoch, file.size) for name, file in self.files.items())
        return hashlib.blake2b(repr(listed).encode(), digest_size=16).hexdigest()

    @property
    def writer(self) -> str:
        """The token of who wrote the snapshot."""
        found = _SNAPSHOT.fullmatch(self.snapshot or "")
        return found[2] if found else ""


def is_part_of_run(name: str) -> bool:
    """Whether an object is a file of the run, by its name."""
    last = name.rpartition("/")[2]
    return name not in _BESIDES and not name.startswith(f"{JOURNAL}/") and not is_unfinished(last)


def is_unfinished(file_name: str) -> bool:
    """Whether it is a file that is being written and will be renamed."""
    return file_name.startswith(".") and file_name.endswith(".tmp")


def snapshot_name(generation: int, token: str, push: int) -> str:
    return f"{JOURNAL}/{generation:06d}-{token}/{push:09d}"


@dataclass(slots=True)
class Writing:
    """A snapshot as it is put together: pieces in the object `name` lie in it, in the order they are added."""

    name: str
    payload: list[bytes] = field(default_factory=list)
    length: int = 0

    def add(self, data: bytes, push: int) -> Piece:
        """The piece for `data`, at a place within the payload until `encode` says where that begins."""
        piece = Piece(self.name, self.length, len(data), push)
        self.payload.append(data)
        self.length += len(data)
        return piece

    def encode(self, files: Mapping[str, FileState]) -> tuple[bytes, dict[str, FileState]]:
        """The object, and the files with the places of their pieces in it."""
        listed = {path: self._listed(state) for path, state in files.items()}
        text = orjson.dumps({"files": listed})
        start = _HEAD_BYTES + len(text)
        placed = {path: self._placed(state, start) for path, state in files.items()}
        head = _MAGIC + b" %016d %016d\n" % (len(text), self.length)
        return b"".join([head, text, *self.payload]), placed

    def _listed(self, state: FileState) -> list[object]:
        mine = self.name
        pieces = [[None if p.object == mine else p.object, p.offset, p.size] for p in state.pieces]
        return [state.epoch, state.base, pieces] if pieces else [state.epoch, state.base]

    def _placed(self, state: FileState, start: int) -> FileState:
        if all(piece.object != self.name for piece in state.pieces):
            return state
        pieces = [replace(p, offset=p.offset + start) if p.object == self.name else p for p in state.pieces]
        return replace(state, pieces=tuple(pieces))


def read_state(store: RemoteStore) -> RemoteState:
    """What the folder holds now.

    Raises:
        Gone: it changed while it was read; ask again.
        RunFolderError: it cannot be read.
    """
    entries = store.entries()
    journal = frozenset(name for name in entries if name.startswith(f"{JOURNAL}/"))
    others = frozenset(name for name in entries if is_part_of_run(name))
    generation = max((int(found[1]) for name in journal if (found := _OPENING.match(name))), default=0)
    for name in sorted(filter(_SNAPSHOT.fullmatch, journal), reverse=True):
        files = _read_snapshot(store, name, entries[name].size)
        if files is not None:
            return RemoteState(files, name, journal, others, generation)
    return RemoteState(_at_rest(entries, others), None, journal, others, generation)


def _at_rest(entries: Mapping[str, Entry], names: Iterable[str]) -> dict[str, FileState]:
    return {name: FileState(f"={entries[name].identity}", entries[name].size) for name in names}


def _read_snapshot(store: RemoteStore, name: str, size: int) -> dict[str, FileState] | None:
    """None for one that was not written to its end, as some protocols leave it."""
    if size < _HEAD_BYTES:
        return None
    [head] = store.read_ranges([(name, 0, min(size, _FIRST_READ))])
    numbers = head[len(_MAGIC) : _HEAD_BYTES].split()
    if not head.startswith(_MAGIC) or len(numbers) != 2:
        raise RunFolderError(f"{store.url}/{name}: written by another version of Chainette, or damaged")
    length, payload = map(int, numbers)
    if size != _HEAD_BYTES + length + payload:
        return None
    if len(head) < _HEAD_BYTES + length:
        head += store.read_ranges([(name, len(head), _HEAD_BYTES + length)])[0]
    content = orjson.loads(head[_HEAD_BYTES : _HEAD_BYTES + length])
    start = _HEAD_BYTES + length
    return {path: _file(listed, name, start) for path, listed in content["files"].items()}


def _file(listed: list[list[list[str | int | None]]], snapshot: str, start: int) -> FileState:
    epoch, base, *rest = listed
    pieces = []
    for name, offset, size in rest[0] if rest else ():
        at = int(offset or 0)
        pieces.append(
            Piece(snapshot, at + start, int(size or 0)) if name is None else Piece(str(name), at, int(size or 0))
        )
    return FileState(str(epoch), int(base), tuple(pieces))  # type: ignore[call-overload]


__all__ = ["FileState", "Gone", "Piece", "RemoteState", "Writing", "read_state", "snapshot_name"]
