"""Bytes on their way to disk: whole-line appends, rolling parts, atomic replacement. Knows nothing of rows' types.

One thread appends to a file; another makes it durable. Only the latter closes descriptors, so it may sync without
holding the appender up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chainette.errors import RunFolderError
from chainette.files.names import part_name


def folder_error(path: Path | str, error: OSError, what: str = "cannot write") -> RunFolderError:
    """What a failed write means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full (what was written before stands; make room, then `chainette resume`)"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"{error.strerror} (choose another --output-dir, or change its permissions)"
    elif error.errno == errno.ENOENT:
        reason = "the folder is gone (was it deleted or moved while the run was going?)"
    else:
        reason = error.strerror or str(error)
    return RunFolderError(f"{what} {path}: {reason}")


def file_error(path: Path | str, error: OSError, again: str = "type it again") -> RunFolderError:
    """As `folder_error`, of a file that is made out of a run and is made whole or not at all."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"the disk is full (nothing was left there; make room, then {again}, or name another place with -o)"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"{error.strerror} (name another place with -o, or change its permissions)"
    elif error.errno == errno.ENAMETOOLONG:
        reason = "the name is too long"
    else:
        reason = error.strerror or str(error)
    return RunFolderError(f"cannot write {path}: {reason}")


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def make_below(root: Path, folder: Path) -> None:
    """The folder and those between it and `root`, which is not made: a deleted run folder stays deleted."""
    for name in folder.relative_to(root).parts:
        root = root / name
        with contextlib.suppress(FileExistsError):
            os.mkdir(root)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, told: Callable[[Path, OSError], RunFolderError] = folder_error) -> None:
    """The file is there whole, or as it was before. `told` says what a failed write means to the user.

    Raises:
        RunFolderError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise told(path, error) from error


@dataclass(frozen=True, slots=True)
class Position:
    """How far a rolling file is: the part that holds its last row, and where that row ends."""

    path: Path
    size: int = 0
    rows: int = 0


class RollingFile:
    """Lines over parts `000.jsonl`, `001.jsonl` …, each full but for the last. A part appears with its first line."""

    def __init__(self, root: Path, folder: Path, max_lines: int, *, name: str | None = None) -> None:
        """`folder` is made below `root` when it is needed; `root` never, so that a deleted one is noticed."""
        self._root = root
        self._folder = folder
        self._max_lines = max_lines
        self._name = name
        self._fd: int | None = None
        self._number = 0
        self._size = 0
        self._lines = 0
        self._lock = threading.Lock()
        self._dirty = False
        self._new_names = False
        self._full: list[tuple[Path, int]] = []
        self.rolled: list[Position] = []
        """Parts that became full; taken by whoever seals them."""
        self.position = Position(self._path())

    @property
    def number(self) -> int:
        """Of the part that grows."""
        return self._number

    @property
    def parts(self) -> bool:
        """Whether it rolls at all."""
        return self._name is None

    def parts_before(self) -> list[Path]:
        """The full parts that are there."""
        paths = [self._folder / part_name(number) for number in range(self._number)]
        return [path for path in paths if path.exists()]

    @property
    def total(self) -> int:
        """Lines in all parts."""
        return self._number * self._max_lines + self._lines

    def restore(self, number: int, size: int, lines: int) -> None:
        """Goes on behind that line of that part, which is the file's last. Before the first append."""
        if lines >= self._max_lines:
            number, size, lines = number + 1, 0, 0
        self._number, self._size, self._lines = number, size, lines
        self.position = Position(self._path(), size, lines)

    def append(self, block: bytes, lines: int) -> None:
        """Write whole lines.

        Raises:
            RunFolderError: nothing of the lines that did not fit is left in the file.
        """
        while lines:
            room = self._max_lines - self._lines
            if lines <= room:
                self._write(block, lines)
                return
            cut = _end_of_line(block, room)
            self._write(block[:cut], room)
            block = block[cut:]
            lines -= room

    def _write(self, block: bytes, lines: int) -> None:
        path = self._path()
        with self._lock:
            try:
                if self._fd is None:
                    self._fd = self._open(path)
                write_all(self._fd, block)
            except OSError as error:
                self._take_back(path)
                raise folder_error(path, error) from error
            self._dirty = True
            self._size += len(block)
            self._lines += lines
            self.position = Position(path, self._size, self._lines)
            if self._lines == self._max_lines:
                self._full.append((path, self._fd))
                self.rolled.append(self.position)
                self._fd, self._size, self._lines = None, 0, 0
                self._number += 1

    def _take_back(self, path: Path) -> None:
        """Only whole lines stay: what follows must not be glued to half a line. No empty file is left."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
        if not self._size:
            os.close(self._fd)
            self._fd = None
            with contextlib.suppress(OSError):
                path.unlink()

    def _open(self, path: Path) -> int:
        """The part, new or as `restore` found it."""
        if self._size:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.lseek(fd, self._size, os.SEEK_SET)
            return fd
        self._make_folder()
        self._new_names = True
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def _make_folder(self) -> None:
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._root))
        make_below(self._root, self._folder)

    def _path(self) -> Path:
        return self._folder / (self._name or part_name(self._number))

    def make_durable(self) -> None:
        """Everything appended before this call survives a power cut. One thread at a time.

        Raises:
            RunFolderError: it cannot be, or the file was deleted.
        """
        with self._lock:
            fd, full, dirty, new_names = self._fd, self._full, self._dirty, self._new_names
            self._full, self._dirty, self._new_names = [], False, False
        try:
            while full:
                self._sync_one(*full[0])
                os.close(full.pop(0)[1])
            if dirty and fd is not None:
                self._sync_one(self._folder, fd)
            folder = self._folder
            while new_names:
                sync_folder(folder)
                if folder == self._root:
                    break
                folder = folder.parent
        except OSError as error:
            with self._lock:
                self._full, self._dirty, self._new_names = full + self._full, True, True
            raise folder_error(self._folder, error) from error

    def _sync_one(self, path: Path, fd: int) -> None:
        if os.fstat(fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "deleted", str(path))
        os.fsync(fd)

    def close(self) -> Path | None:
        """Close what is open, without making it durable. Returns the part that is not full, if there is one."""
        with self._lock:
            for _, fd in self._full:
                os.close(fd)
            self._full = []
            path = self._path() if self._lines else None
            if self._fd is None:
                return path
            os.close(self._fd)
            self._fd = None
            return path


def _end_of_line(block: bytes, lines: int) -> int:
    at = 0
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return at
