"""Files that leave the run folder for a place of the user's: whole or not at all. Knows no rows and no formats."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from chainette.errors import RunFolderError
from chainette.files.disk import file_error, sync_folder
from chainette.files.opening import COMPRESSED
from chainette.files.remote_names import as_path, is_remote, shown_url

if TYPE_CHECKING:
    from chainette.files.remote_store import RemoteStore


def refuse_existing(target: str, *, force: bool = False) -> None:
    """
    Raises:
        RunFolderError: there is something already, or no folder to put it in.
    """
    if is_remote(target):
        store, name = _below(target)
        if not force and store.exists(name):
            raise _exists(shown_url(target))
        return
    path = as_path(target)
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder (name the file in it)")
    if not path.parent.is_dir():
        raise RunFolderError(f"there is no folder {path.parent} (make it first: mkdir -p {path.parent})")
    if not force and os.path.lexists(path):
        raise _exists(str(path))


def _exists(place: str) -> RunFolderError:
    return RunFolderError(f"{place} exists (--force replaces it)")


@contextlib.contextmanager
def delivered(target: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A stream whose bytes stand under `target` once the block has ended well; compressed where the name ends so.

    Raises:
        RunFolderError: it exists (without `force`), or cannot be written. Nothing is left behind.
    """
    refuse_existing(target, force=force)
    if is_remote(target):
        with _sent(target) as stream:
            yield stream
    else:
        path = as_path(target)
        # A link stays one: the file that it leads to is replaced.
        path = path.resolve() if path.is_symlink() else path
        with _placed(path, force) as stream:
            yield stream


@contextlib.contextmanager
def _placed(path: Path, force: bool) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _written(temporary, path.name) as stream:
            yield stream
        if force:
            os.replace(temporary, path)
        else:
            _rename_onto_nothing(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise file_error(str(path), error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _rename_onto_nothing(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(str(path)) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise _exists(str(path)) from None
        os.replace(temporary, path)


@contextlib.contextmanager
def _sent(url: str) -> Iterator[BinaryIO]:
    store, name = _below(url)
    with tempfile.TemporaryDirectory(prefix="chainette-") as folder:
        temporary = Path(folder) / "file"
        try:
            with _written(temporary, name) as stream:
                yield stream
        except OSError as error:
            raise file_error(str(temporary), error) from error
        store.upload(temporary, name)


def _below(url: str) -> tuple[RemoteStore, str]:
    """The store that a file lies in, and the file's name there."""
    from chainette.files.remote_store import RemoteStore

    below, _, name = url.rstrip("/").rpartition("/")
    if not below.partition("://")[2]:
        raise RunFolderError(f"{shown_url(url)} names no file (e.g. s3://bucket/rows.parquet)")
    return RemoteStore(below), name


@contextlib.contextmanager
def _written(temporary: Path, name: str) -> Iterator[BinaryIO]:
    """A stream into a file that is on disk when the block ends."""
    with open(temporary, "wb", buffering=1 << 20) as stored:
        stream = _compressor(stored, name)
        try:
            yield stream
        finally:
            if stream is not stored:
                stream.close()
        stored.flush()
        os.fsync(stored.fileno())


def _compressor(stored: BinaryIO, name: str) -> BinaryIO:
    """Closing it ends the compressed stream and leaves `stored` open."""
    if not name.lower().endswith(COMPRESSED):
        return stored
    if name.lower().endswith(".gz"):
        import gzip

        # Without a name and a time in it: the same rows are the same bytes.
        return cast("BinaryIO", gzip.GzipFile(filename="", mode="wb", fileobj=stored, mtime=0, compresslevel=6))
    import zstandard

    writer: Any = zstandard.ZstdCompressor(level=6).stream_writer(stored, closefd=False)
    return cast("BinaryIO", writer)
