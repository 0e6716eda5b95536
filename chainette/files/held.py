"""Chunks, or pieces of them, that wait on disk for their turn instead of in memory. Knows nothing of what they hold.

The file has no name: a process that dies leaves nothing behind, and what was in it follows from the calls.
"""

from __future__ import annotations

import enum
import io
import pickle
import tempfile
import threading
import types
import typing
from array import array
from pathlib import Path
from typing import Any

from chainette.files.disk import folder_error

_OF_THIS_PROCESS = (type, types.FunctionType, types.ModuleType, enum.Enum, typing.TypeVar)
"""What stays an object of this process: a class made in a function has no name to find it by, and there is only one of
each member of an enum."""


class HeldChunks:
    """Chunks by their index. Any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._places: dict[int, tuple[int, int, list[Any]]] = {}
        self._end = 0
        self._known: set[type] = set()
        self._lock = threading.Lock()

    def put(self, index: int, content: Any) -> None:
        """
        Raises:
            RunFolderError: the disk is full or the like.
            Exception: something in the content cannot be pickled, or not be read back. Nothing was put.
        """
        data, kept, met = _dumped(content)
        if not met <= self._known:
            _loaded(data, kept)
            self._known |= met
        with self._lock:
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".held-")  # noqa: SIM115
                self._file.seek(self._end)
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                raise folder_error(self._folder, error) from error
            self._places[index] = (self._end, len(data), kept)
            self._end += len(data)

    def read(self, index: int) -> Any:
        """What was put under the index; it stays there."""
        with self._lock:
            at, size, kept = self._places[index]
            self._file.seek(at)
            data = self._file.read(size)
        return _loaded(data, kept)

    def forget(self, index: int) -> None:
        """What was put under the index will not be read again."""
        with self._lock:
            del self._places[index]
            if not self._places:
                self._file.truncate(0)
                self._end = 0

    def take(self, index: int) -> Any:
        """What was put under the index, once."""
        content = self.read(index)
        self.forget(index)
        return content

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class HeldPieces:
    """Many small things in the order they were put, at some 20 bytes of memory for each. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._ends = array("Q")
        self._kept_at = array("L")
        self._kept: list[list[Any]] = []
        self._numbers: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def put(self, content: Any) -> None:
        """
        Raises:
            RunFolderError: the disk is full or the like.
            Exception: something in the content cannot be pickled. Nothing was put.
        """
        data, kept, _ = _dumped(content)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".held-")  # noqa: SIM115
            self._file.seek(0, io.SEEK_END)
            self._file.write(data)
        except OSError as error:
            raise folder_error(self._folder, error) from error
        self._ends.append(self._end + len(data))
        self._kept_at.append(self._number(kept))

    def read(self, number: int) -> Any:
        """The thing that was put as the `number`-th."""
        start = self._ends[number - 1] if number else 0
        self._file.seek(start)
        return _loaded(self._file.read(self._ends[number] - start), self._kept[self._kept_at[number]])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _number(self, kept: list[Any]) -> int:
        """Most pieces mean the same classes: their list is kept once."""
        which = tuple(map(id, kept))
        if which not in self._numbers:
            self._numbers[which] = len(self._kept)
            self._kept.append(kept)
        return self._numbers[which]


def kept(number: int) -> Any:
    """Stands in a pickle for an object of this process; each reader puts its own list in its place."""
    raise pickle.UnpicklingError(f"object {number} belongs to another process")


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.kept: list[Any] = []
        self.met: set[type] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Source: https://docs.python.org/3/library/pickle.html#custom-reduction-for-types-functions-and-other-objects"""
        if isinstance(obj, _OF_THIS_PROCESS) and obj is not kept:
            self.kept.append(obj)
            return kept, (len(self.kept) - 1,)
        self.met.add(type(obj))
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, kept_objects: list[Any]) -> None:
        super().__init__(file)
        self._kept = kept_objects

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name == kept.__name__:
            return self._kept.__getitem__
        return super().find_class(module, name)


def _dumped(content: Any) -> tuple[bytes, list[Any], set[type]]:
    """The bytes, the objects of this process that they mean, the types of all others."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(content)
    return file.getvalue(), pickler.kept, pickler.met


def _loaded(data: bytes, kept_objects: list[Any]) -> Any:
    return _Unpickler(io.BytesIO(data), kept_objects).load()
