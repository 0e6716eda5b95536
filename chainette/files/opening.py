"""The one place where files are opened for reading: local or by URL, compressed or not. Knows no formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from chainette.errors import InputError

COMPRESSED = (".gz", ".zst")
_SAMPLE_BYTES = 64 * 1024
_PIPE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Place:
    """A file somewhere, before it is opened."""

    path: str
    """A local path, or a URL that fsspec knows."""
    size: int
    mtime: float | None = None
    remote: bool = False

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, without that of a compression."""
        name = self.path.lower()
        for ending in COMPRESSED:
            name = name.removesuffix(ending)
        return os.path.splitext(name)[1]

    @property
    def compressed(self) -> bool:
        return self.path.lower().endswith(COMPRESSED)

    def open_stored(self) -> BinaryIO:
        """The bytes as stored."""
        try:
            if self.remote:
                import fsspec

                return cast("BinaryIO", fsspec.open(self.path, "rb").open())
            return open(self.path, "rb")
        except (OSError, ImportError, ValueError) as error:
            raise InputError(f"cannot open {self.path}: {_reason(error)}") from error

    def open(self) -> BinaryIO:
        """The bytes without their compression."""
        if self.compressed and self.size == 0 and not self.remote:
            # No compressor writes nothing, but gzip and zstd read it as no rows.
            raise InputError(f"{self.path}: cannot be read: it has no bytes (the file is damaged or cut off)")
        stored = self.open_stored()
        name = self.path.lower()
        if name.endswith(".gz"):
            return cast("BinaryIO", _GzipStream(stored))
        if name.endswith(".zst"):
            return cast("BinaryIO", io.BufferedReader(_ZstdStream(stored), 1 << 18))
        if self.remote:
            return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stored), 1 << 20))
        return stored

    def fingerprint(self, whole: bool) -> dict[str, Any]:
        """What tells this file from another: size, time and a hash of all of it, or of its two ends."""
        digest = hashlib.blake2b(digest_size=16)
        with self.open_stored() as file:
            if whole or self.size <= 2 * _SAMPLE_BYTES:
                while block := file.read(1 << 20):
                    digest.update(block)
            else:
                digest.update(file.read(_SAMPLE_BYTES))
                file.seek(-_SAMPLE_BYTES, os.SEEK_END)
                digest.update(file.read(_SAMPLE_BYTES))
                digest.update(str(self.size).encode())
        of = "content" if whole or self.size <= 2 * _SAMPLE_BYTES else "ends"
        return {"path": self.path, "size": self.size, "mtime": self.mtime, "blake2b": digest.hexdigest(), "of": of}


def local_place(path: str | Path) -> Place:
    """Raises: InputError: it is not a file that can be read."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    return Place(str(path), stat.st_size, stat.st_mtime)


def remote_places(url: str) -> list[Place]:
    """The file at `url`, the files of a remote folder, or those that a remote glob matches.

    Raises:
        InputError: no such file, no such protocol, or its package is missing.
    """
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
        paths = [path]
        if any(c in path for c in "*?["):
            paths = filesystem.glob(path)
        elif filesystem.isdir(path):
            paths = filesystem.ls(path, detail=False)
        places = []
        for one in paths:
            info = filesystem.info(one)
            if info.get("type") == "file":
                size = info.get("size") or 0
                places.append(Place(filesystem.unstrip_protocol(one), int(size), remote=True))
        return places
    except FileNotFoundError as error:
        raise InputError(f"there is nothing at {url}") from error
    except ImportError as error:
        raise InputError(f"cannot open {url}: {error} (install what it names)") from error
    except Exception as error:  # every protocol raises its own
        raise InputError(f"cannot open {url}: {type(error).__name__}: {error}") from error


def arriving_lines(fd: int, size: int) -> Iterator[list[bytes]]:
    """The lines of a pipe as they come: `size` at a time, or fewer when no more are there to be read now."""
    lines: list[bytes] = []
    begun: list[bytes] = []
    while block := os.read(fd, _PIPE_BYTES):
        *ended, rest = block.split(b"\n")
        if ended:
            ended[0] = b"".join(begun) + ended[0]
            begun.clear()
            lines += ended
        begun.append(rest)
        while len(lines) >= size:
            yield lines[:size]
            del lines[:size]
        if lines and not _is_readable(fd):
            yield lines
            lines = []
    if last := b"".join(begun):
        lines.append(last)
    for at in range(0, len(lines), size):
        yield lines[at : at + size]


def _is_readable(fd: int) -> bool:
    try:
        return bool(select.select([fd], [], [], 0)[0])
    except (OSError, ValueError):  # it cannot be asked on this system
        return False


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


class _GzipStream(gzip.GzipFile):
    """Closes the file below it too, which gzip leaves open."""

    def __init__(self, stored: BinaryIO) -> None:
        super().__init__(fileobj=stored)
        self._stored = stored

    def close(self) -> None:
        try:
            super().close()
        finally:
            if hasattr(self, "_stored"):
                self._stored.close()


class _ZstdStream(io.RawIOBase):
    """A zstd file of one or more frames. zstandard's own reader ends silently where a file is cut off."""

    def __init__(self, stored: BinaryIO) -> None:
        import zstandard

        self._stored = stored
        self._context = zstandard.ZstdDecompressor()
        self._error = zstandard.ZstdError
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            block = self._stored.read(1 << 17)
            if not block:
                if self._frame is not None:
                    raise EOFError("the zstd file ends in the middle of a frame")
                return 0
            self._ready = self._decompress(block)
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def _decompress(self, block: bytes) -> bytes:
        out = []
        while block:
            if self._frame is None:
                self._frame = self._context.decompressobj()
            try:
                out.append(self._frame.decompress(block))
            except self._error as error:
                raise OSError(str(error)) from error
            block = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        return b"".join(out)

    def close(self) -> None:
        self._stored.close()
        super().close()
