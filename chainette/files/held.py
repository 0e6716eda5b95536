"""Whole chunks that wait on disk for one before them instead of in memory. Knows nothing of what they hold.

The file has no name: a process that dies leaves nothing behind, and what was in it follows from the calls.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

from chainette.files.disk import folder_error


class HeldChunks:
    """Chunks by their index. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, index: int, content: Any) -> None:
        """
        Raises:
            RunFolderError: the disk is full or the like.
        """
        data = pickle.dumps(content)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".held-")  # noqa: SIM115
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise folder_error(self._folder, error) from error
        self._places[index] = (self._end, len(data))
        self._end += len(data)

    def take(self, index: int) -> Any:
        """What was put under the index, once."""
        at, size = self._places.pop(index)
        self._file.seek(at)
        content = pickle.loads(self._file.read(size))
        if not self._places:
            self._file.truncate(0)
            self._end = 0
        return content

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
