"""A remote run folder brought to this machine: only what is missing or changed since the last time.

Knows where bytes lie, not what they mean. One process at a time brings a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.remote_state import FileState, RemoteState, is_part_of_run, is_unfinished
from chainette.files.remote_store import Gone, RemoteStore

_RANGE_BYTES = 8 << 20
_AT_ONCE_BYTES = 32 << 20
_SAID = ("tokens", "base", "closed", "given_back", "url", "held")


@dataclass(frozen=True, slots=True)
class Stat:
    """What tells whether a local file is the one that was seen before."""

    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stat:
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


@dataclass(slots=True)
class Notes:
    """Beside a local copy: which of its files are the same as remote ones, and whose they are."""

    path: Path
    tokens: list[str] = field(default_factory=list)
    """Of the writers whose spool this folder was, since it was last the same as the remote folder."""
    closed: bool = False
    """Whether everything in it was carried over."""
    base: str = ""
    """Identity of the remote folder when the last writer here began."""
    given_back: str = ""
    """Token of the last writer here that has ended, whether or not the store heard of it."""
    url: str = ""
    """Of a copy to read from: where more of it is."""
    held: bool = False
    """Of a copy to read from: whether a process was at work in the remote folder."""
    known: dict[str, tuple[str, Stat]] = field(default_factory=dict)
    """Per file the epoch it is of, and how it was left."""
    _saved: str = ""

    @classmethod
    def beside(cls, folder: Path) -> Notes:
        path = folder.with_name(f"{folder.name}.json")
        try:
            content = json.loads(path.read_bytes())
            known = {name: (str(epoch), Stat(*numbers)) for name, (epoch, *numbers) in content["known"].items()}
            said = {key: content[key] for key in _SAID}
            return cls(path, **said, known=known)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)

    def save(self) -> None:
        """Raises: RunFolderError: it cannot be written."""
        known = {name: [epoch, s.inode, s.mtime_ns, s.size] for name, (epoch, s) in self.known.items()}
        text = json.dumps({**{key: getattr(self, key) for key in _SAID}, "known": known})
        if text == self._saved:
            return
        beside = self.path.with_name(f".{self.path.name}.tmp")
        try:
            beside.write_text(text)
            beside.replace(self.path)
        except OSError as error:
            raise folder_error(self.path, error) from error
        self._saved = text

    def size_held(self, folder: Path, name: str, state: FileState) -> int:
        """How many of the first bytes of `state` the local file is; 0 when nothing is known of it."""
        epoch, stat = self.known.get(name, ("", None))
        if epoch != state.epoch or stat is None or stat != local_stat(folder / name) or stat.size > state.size:
            return 0
        return stat.size


def local_stat(path: Path) -> Stat | None:
    try:
        return Stat.of(path.stat())
    except OSError:
        return None


def local_files(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files of a run, by name, those in hidden folders first: an open part is seen before what it becomes."""
    todo = [""]
    while todo:
        below = todo.pop()
        try:
            entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name, reverse=True)
        except FileNotFoundError:
            if not below:
                raise
            continue
        todo += [f"{below}{entry.name}/" for entry in entries if entry.is_dir(follow_symlinks=False)]
        for entry in entries:
            name = f"{below}{entry.name}"
            if is_part_of_run(name) and entry.is_file(follow_symlinks=False):
                yield name, entry


def bring(
    store: RemoteStore, state: RemoteState, folder: Path, notes: Notes, below: Iterable[str] | None = None
) -> None:
    """Make the files of `folder` what `state` says: all, or those whose names begin with one of `below`.

    Raises:
        Gone: what `state` speaks of was replaced meanwhile; read it again.
        RunFolderError: a file cannot be read there or written here.
    """
    chosen = None if below is None else tuple(below)
    wanted = {name: one for name, one in state.files.items() if chosen is None or name.startswith(chosen)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_others(folder, wanted, chosen)
        _fetch(store, wanted, folder, notes)
    except OSError as error:
        raise folder_error(folder, error) from error
    finally:
        notes.save()


def _remove_others(folder: Path, wanted: Mapping[str, FileState], chosen: tuple[str, ...] | None) -> None:
    for name, entry in list(local_files(folder)):
        if name not in wanted and (chosen is None or name.startswith(chosen)):
            os.unlink(entry.path)
    for path in sorted(folder.rglob(".*.tmp")) if chosen is None else ():
        if is_unfinished(path.name):
            path.unlink(missing_ok=True)


def _fetch(store: RemoteStore, wanted: Mapping[str, FileState], folder: Path, notes: Notes) -> None:
    held = {name: notes.size_held(folder, name, state) for name, state in wanted.items()}
    ranges: list[_Range] = []
    for name, state in wanted.items():
        have = held[name]
        if have == state.size and (have or (folder / name).exists()):
            continue
        notes.known.pop(name, None)
        if not have:
            _start(store, folder / name, state, name)
            have = (folder / name).stat().st_size
        if have == state.size:
            _note(notes, folder, name, state.epoch)
        ranges += _missing(name, state, have)
    for batch in _batches(ranges):
        found = store.read_ranges([(one.object, one.start, one.stop) for one in batch])
        for one, data in zip(batch, found, strict=True):
            with open(folder / one.name, "ab") as file:
                file.write(data)
    for name in {one.name: None for one in ranges}:
        _note(notes, folder, name, wanted[name].epoch)


def _note(notes: Notes, folder: Path, name: str, epoch: str) -> None:
    notes.known[name] = (epoch, Stat.of((folder / name).stat()))


def _start(store: RemoteStore, path: Path, state: FileState, name: str) -> None:
    """A new file, with its first bytes when they are many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    if state.base > _RANGE_BYTES:
        store.download(name, beside)
        if beside.stat().st_size < state.base:
            raise Gone(name)
        os.truncate(beside, state.base)
    else:
        beside.write_bytes(b"")
    beside.replace(path)


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes to be appended to the file `name`."""

    name: str
    object: str
    start: int
    stop: int


def _missing(name: str, state: FileState, have: int) -> Iterator[_Range]:
    at = 0
    for object, offset, size in [(name, 0, state.base), *((p.object, p.offset, p.size) for p in state.pieces)]:
        start = max(have - at, 0)
        while start < size:
            stop = min(size, start + _RANGE_BYTES)
            yield _Range(name, object, offset + start, offset + stop)
            start = stop
        at += size


def _batches(ranges: list[_Range]) -> Iterator[list[_Range]]:
    batch: list[_Range] = []
    size = 0
    for one in ranges:
        if batch and size + one.stop - one.start > _AT_ONCE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.stop - one.start
    if batch:
        yield batch


def remove_folder(folder: Path) -> None:
    """Takes a local copy away, with what is noted of it."""
    import shutil

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.json").unlink(missing_ok=True)


def check_room_for(folder: Path) -> None:
    """Raises: RunFolderError: there can be no folder here."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot keep {folder} here: {error.strerror} (set XDG_CACHE_HOME)") from error
