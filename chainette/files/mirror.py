"""Carries a run from its spool folder on this machine to the URL that is its run folder.

Knows how local files change (logs grow, documents are replaced, parts become full) and that an object store can do
none of it; knows nothing of what the files mean.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.remote_copy import Notes, Stat, bring, check_room_for, local_files, local_stat, remove_folder
from chainette.files.remote_lock import RemoteLock
from chainette.files.remote_names import is_remote, local_place_of
from chainette.files.remote_plan import Push, Sizes, is_whole, joined_since, last_parts, spans
from chainette.files.remote_state import (
    CANCEL,
    JOURNAL,
    FileState,
    Piece,
    RemoteState,
    Writing,
    is_part_of_run,
    read_state,
    snapshot_name,
)
from chainette.files.remote_store import RemoteStore, batches, patiently
from chainette.files.remote_uploads import Uploads

__all__ = ["Mirror", "Sizes", "is_remote"]

_COPIES = ("status.json", "graph.json")
_COPY_EVERY_S = 5.0
_TAIL_BYTES = 256
PATIENCE_S = 60.0


class _Moved(Exception):
    """A local file is not what it was a moment ago."""


class Mirror:
    """One remote run folder, while this process writes it.

    A push writes one object, the snapshot: a list of all files and where their bytes lie, and what is new of them. So
    a push is there whole or not at all, and the newest snapshot is the run as it stood at one moment.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        spool: Path | None = None,
        *,
        patience_s: float = PATIENCE_S,
        sizes: Sizes | None = None,
    ) -> None:
        """Nothing is asked of the store yet but to be there.

        Raises:
            RunFolderError: the protocol is unknown, its package is missing, or nobody answers there.
        """
        self._store = RemoteStore(os.fspath(url))
        self.url = self._store.url
        """Without a password."""
        self.spool = spool or local_place_of(os.fspath(url), "spool")
        self.patience_s = patience_s
        self._sizes = sizes or Sizes()
        self._lock = RemoteLock(self._store)
        self._uploads = Uploads(self._store, self.spool)
        self._notes = Notes.beside(self.spool)
        self._files: dict[str, FileState] = {}
        self._local: dict[str, Stat] = {}
        self._tails: dict[str, bytes] = {}
        self._objects: set[str] = set()
        self._generation = 1
        self._pushes = 0
        self._begun = False
        """Whether a snapshot says what counts, and not the listing."""
        self._copied: dict[str, tuple[str, float]] = {}
        self._doubtful: dict[str, str] = {}
        """Files that went up whole, and their epochs, in pushes of which nobody knows whether they were the last."""

    def take(self) -> None:
        """Become the one who writes the remote folder.

        Raises:
            RunFolderError: another process writes it; it may not be written; there is no such bucket.
        """
        check_room_for(self.spool)
        self._lock.take(given_back=self._notes.given_back)

    def pull(self) -> None:
        """Make the spool what the remote folder holds, or keep it where it is the source of that and further on.

        Raises:
            RunFolderError: it cannot be read, or there is no room.
        """
        patiently(self._store, self._pull, self.patience_s)

    def _pull(self) -> None:
        state = read_state(self._store)
        ahead = not self._notes.closed and self.spool.is_dir() and self._is_source_of(state)
        wanted = state
        if ahead:
            # The spool lacks nothing, but for a part that somebody deleted here.
            lost = {n: f for n, f in state.files.items() if f.base == f.size and not (self.spool / n).exists()}
            wanted = replace(state, files=lost)
        bring(self._store, wanted, self.spool, self._notes, below=list(lost) if ahead else None)
        self._begin(state, ahead)

    def _is_source_of(self, state: RemoteState) -> bool:
        """Whether nobody but writers of this spool has written the folder since it was last brought here."""
        return (state.snapshot is not None and state.writer in self._notes.tokens) or state.identity == self._notes.base

    def _begin(self, state: RemoteState, ahead: bool) -> None:
        self._files, self._objects = dict(state.files), set(state.objects)
        self._generation = state.generation + 1
        self._begun = state.snapshot is not None
        self._local = {}
        for name, file in state.files.items():
            stat = local_stat(self.spool / name)
            # Of a spool that is ahead only what was noted is certain; the rest goes up again.
            if stat is not None and self._notes.size_held(self.spool, name, file) == file.size:
                self._local[name] = stat
        self._notes.tokens = [*(self._notes.tokens if ahead else ()), self._lock.token]
        self._notes.base, self._notes.closed = state.identity, False
        self._notes.save()

    def names(self) -> list[str]:
        """What the remote folder holds.

        Raises:
            RunFolderError: it cannot be listed.
        """
        state = patiently(self._store, lambda: read_state(self._store), self.patience_s)
        return sorted(state.files.keys() | state.others)

    def begin_empty(self) -> None:
        """Instead of `pull`, where there is nothing. What an earlier run left in the spool is set aside.

        Raises:
            RunFolderError: it cannot be.
        """
        try:
            if not self._notes.closed and any(local_files(self.spool)):
                aside = f"{self.spool.name}.left-{time.strftime('%Y%m%d-%H%M%S')}"
                os.replace(self.spool, self.spool.with_name(aside))
            remove_folder(self.spool)
            check_room_for(self.spool)
        except OSError as error:
            raise folder_error(self.spool, error) from error
        self._notes = Notes(self._notes.path)
        self._begin(read_state(self._store), ahead=False)

    def beat(self) -> None:
        """Say that this process lives, when it is time to, and look whether it is asked to stop.

        Raises:
            RunFolderError: as `push`.
        """
        if self._lock.renew():
            asked = self._store.read(CANCEL)
            if asked is not None:
                (self.spool / CANCEL).write_bytes(asked)
                self._store.delete([CANCEL])

    def push_patiently(self) -> None:
        """`push`, again after errors that may pass."""
        patiently(self._store, self.push, self.patience_s)

    def push(self) -> None:
        """Bring the remote folder up to the spool. Costs a look at the local files when nothing changed.

        From the first push of an opening on, `.jsonl` files grow, and everything else is replaced by renaming. What was
        cut or removed does not grow again before the next push. One push at a time, and none while files are exchanged.

        Raises:
            StoreError: the store failed (`passing`: it may go well the next time; nothing is half done).
            RunFolderError: another process took the folder over, or the spool cannot be read.
        """
        self._retry_moved(final=False)

    def _retry_moved(self, final: bool) -> None:
        for _ in range(10):
            try:
                self._push(final)
                return
            except _Moved:
                continue
            except OSError as error:
                raise folder_error(self.spool, error, "cannot read") from error
        raise RunFolderError(f"{self.spool}: its files do not stand still")

    def _push(self, final: bool) -> None:
        self.beat()
        # A name is never used twice: of a push that failed nobody knows how far it got.
        self._pushes += 1
        push = self._plan(final)
        if push.files == self._files and self._pushes > 1 and not push.whole:
            self._pushes -= 1
            self._copy_documents()
            return
        self._write_ahead(push)
        self._lock.renew()
        self._doubtful |= {path: push.files[path].epoch for path in push.whole}
        data, files = push.writing.encode(push.files)
        self._objects.add(push.writing.name)
        self._store.write({push.writing.name: data})
        removed = [name for name, file in self._files.items() if file.base and name not in files]
        self._files, self._local, self._tails, self._begun = files, push.stats, push.tails, True
        self._doubtful.clear()
        self._note(push)
        self._store.delete(removed)
        self._copy_documents()
        self._delete_garbage(self._sizes.garbage)

    def _plan(self, final: bool) -> Push:
        found = {name: Stat.of(entry.stat(follow_symlinks=False)) for name, entry in local_files(self.spool)}
        name = snapshot_name(self._generation, self._lock.token, self._pushes)
        push = Push({}, found, Writing(name), joined_since(self._pushes, self._sizes.join))
        last = last_parts(found)
        for path, stat in found.items():
            before, known = self._files.get(path), self._local.get(path)
            state = self._continued(path, before, known, stat)
            if path.endswith(".jsonl"):
                same = known == stat and path in self._tails
                push.tails[path] = self._tails[path] if same else self._tail(path, stat.size)
            goes_whole = state.base != stat.size and (final or is_whole(path, last))
            goes_whole = (goes_whole or (final and not stat.size)) and self._may_go_whole(path, before, state)
            aside = goes_whole and state.size == stat.size >= self._sizes.aside_bytes and self._store.takes_several
            if aside and self._uploads.is_done(path, state.epoch, begin=not final):
                push.arrived.append(path)
            elif goes_whole and (final or not aside):
                push.whole.append(path)
            else:
                push.files[path] = self._pieced(path, state, stat, push)
                continue
            push.files[path] = FileState(state.epoch, stat.size)
        return push

    def _may_go_whole(self, path: str, before: FileState | None, state: FileState) -> bool:
        """Not where a listing is what counts, nor over bytes that the last snapshot counts on."""
        known = before is None or before.base == 0 or before.epoch == state.epoch
        return self._begun and known and self._doubtful.get(path, state.epoch) == state.epoch

    def _continued(self, path: str, before: FileState | None, known: Stat | None, stat: Stat) -> FileState:
        """The part of a file's state that still holds."""
        if before is not None and known == stat:
            return before
        grew = known is not None and known.inode == stat.inode and known.size < stat.size
        # Of a file that is gone the inode may be used again.
        if before is not None and grew and path in self._tails and self._tail(path, before.size) == self._tails[path]:
            return before
        return FileState(f"{self._generation}.{self._lock.token}.{self._pushes}")

    def _tail(self, path: str, size: int) -> bytes:
        """The last bytes of the first `size`."""
        start = max(size - _TAIL_BYTES, 0)
        try:
            with open(self.spool / path, "rb") as file:
                file.seek(start)
                return file.read(size - start)
        except FileNotFoundError:
            raise _Moved(path) from None

    def _pieced(self, path: str, state: FileState, stat: Stat, push: Push) -> FileState:
        """The file with what is new of it, and what lay in small pieces, in larger ones."""
        pieces: list[Piece] = []
        for item in spans(state, stat.size, push.since, self._sizes.big_bytes):
            if isinstance(item, Piece):
                pieces.append(item)
                continue
            start, stop = item
            if stop - start < self._sizes.big_bytes:
                pieces.append(push.writing.add(self._read(path, start, stop, stat), self._pushes))
                continue
            for at in range(start, stop, self._sizes.split_bytes):
                end = min(at + self._sizes.split_bytes, stop)
                name = f"{push.writing.name}-{len(push.objects)}"
                push.objects.append((name, path, at, end))
                pieces.append(Piece(name, 0, end - at, self._pushes))
        return FileState(state.epoch, state.base, tuple(pieces))

    def _read(self, path: str, start: int, stop: int, stat: Stat) -> bytes:
        try:
            with open(self.spool / path, "rb") as file:
                now = Stat.of(os.fstat(file.fileno()))
                if now.inode != stat.inode or (now != stat and not path.endswith(".jsonl")):
                    raise _Moved(path)
                file.seek(start)
                data = file.read(stop - start)
        except FileNotFoundError:
            raise _Moved(path) from None
        if len(data) != stop - start:
            raise _Moved(path)
        return data

    def _write_ahead(self, push: Push) -> None:
        """All that the snapshot will speak of."""
        self._objects.update(name for name, *_ in push.objects)
        pieces = ((name, self._read(path, start, stop, push.stats[path])) for name, path, start, stop in push.objects)
        small = [path for path in push.whole if push.stats[path].size <= self._sizes.together_bytes]
        whole = ((path, self._read(path, 0, push.stats[path].size, push.stats[path])) for path in small)
        for batch in chain(batches(pieces), batches(whole)):
            self._store.write(batch)
        for path in push.whole:
            if push.stats[path].size > self._sizes.together_bytes:
                self._lock.renew()
                self._store.upload(self.spool / path, path)

    def _note(self, push: Push) -> None:
        """Which local files are the same as remote ones under their own names."""
        for path in push.arrived:
            self._uploads.forget(path)
        known = {path: (self._files[path].epoch, push.stats[path]) for path in (*push.whole, *push.arrived)}
        if not known.items() <= self._notes.known.items():
            self._notes.known |= known
            self._notes.save()

    def _copy_documents(self) -> None:
        """Under their own names too, for whoever looks at the folder; less often, for nothing depends on it."""
        now = time.monotonic()
        copies: dict[str, bytes] = {}
        for name in _COPIES:
            state = self._files.get(name)
            epoch, copied_at = self._copied.get(name, ("", -_COPY_EVERY_S))
            if state is None or state.base or state.epoch == epoch or now - copied_at < _COPY_EVERY_S:
                continue
            self._copied[name] = (state.epoch, now)
            copies[name] = self._read(name, 0, state.size, self._local[name])
        if copies:
            self._store.write(copies)

    def _delete_garbage(self, at_least: int) -> None:
        needed = {piece.object for file in self._files.values() for piece in file.pieces}
        needed.add(snapshot_name(self._generation, self._lock.token, self._pushes))
        garbage = self._objects - needed
        if len(garbage) >= at_least:
            self._store.delete(garbage)
            self._objects -= garbage

    def close(self) -> None:
        """Put everything under its own name, so that the folder is an ordinary one, and give it back.

        Raises:
            RunFolderError: it cannot be done; the next opening does the rest, and the spool holds everything.
        """
        try:
            patiently(self._store, self._settle, self.patience_s)
        except BaseException:
            with contextlib.suppress(RunFolderError):
                self.release()
            raise
        self.release()

    def reconnect(self) -> None:
        """After a failed push: some protocols hold one connection for ever."""
        self._store.reconnect()

    def release(self) -> None:
        """Give the folder back as it is.

        Raises:
            RunFolderError: the store was not told; the next process of this machine knows all the same.
        """
        if self._lock.is_held:
            self._notes.given_back = self._lock.token
            self._notes.save()
        self._lock.release()

    def _settle(self) -> None:
        self._retry_moved(final=False)
        self._uploads.wait()
        while True:
            self._retry_moved(final=True)
            if not any(file.pieces for file in self._files.values()):
                break
        self._lock.renew()
        entries = self._store.entries()
        snapshot = snapshot_name(self._generation, self._lock.token, self._pushes)
        journal = {name for name in entries if name.startswith(f"{JOURNAL}/")}
        strays = {name for name in entries if is_part_of_run(name)} - self._files.keys()
        self._store.delete((journal - {snapshot}) | strays)
        # From here on the listing is what counts.
        self._store.delete([snapshot])
        self._store.delete_folder(JOURNAL)
        self._notes.known = {n: (f"={entries[n].identity}", stat) for n, stat in self._local.items() if n in entries}
        self._notes.closed = True
        self._notes.save()
