"""The lines of a step's calls in blocks of bytes: all, or evenly spread blocks. Knows nothing of what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from chainette.files.disk import folder_error

BLOCK_BYTES = 1 << 20


class CallBlocks:
    """Some files of lines in a row, as long as they are now. Half a line at an end is left out."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """
        Raises:
            RunFolderError: a file cannot be read.
        """
        self._files = [(path, _size(path)) for path in paths]
        self.bytes = sum(size for _, size in self._files)

    def lines(self, share: float = 1.0) -> Iterator[list[bytes]]:
        """Block after block. With a `share` below 1 so much of the bytes, evenly spread over all files.

        Raises:
            RunFolderError: a file cannot be read.
        """
        return self._all() if share >= 1 else self._spread(share)

    def _all(self) -> Iterator[list[bytes]]:
        for path, size in self._files:
            rest = b""
            for block in _blocks(path, 0, size):
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                yield lines

    def _spread(self, share: float) -> Iterator[list[bytes]]:
        every = BLOCK_BYTES / share
        wanted, before = 0.0, 0
        for path, size in self._files:
            while wanted < before + size:
                start = int(wanted) - before
                wanted += every
                lines = b"".join(_blocks(path, start, min(size, start + BLOCK_BYTES))).split(b"\n")
                # Where the block begins within a line, the line belongs to nobody.
                yield lines[bool(start) : -1]
            before += size


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(BLOCK_BYTES, stop - start))):
                start += len(block)
                yield block
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error
