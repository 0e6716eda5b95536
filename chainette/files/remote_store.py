"""The one door to fsspec for writing: objects below a URL, by relative name. Knows no runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from chainette.errors import RunFolderError
from chainette.files.remote_names import as_url, shown_url

T = TypeVar("T")

_AT_ONCE_BYTES = 32 << 20

_WHOLE_PUTS = frozenset("s3 s3a gs gcs az abfs abfss oss oci tos obs memory".split())
"""Stores where an object is there whole or not at all, and folders are only names."""
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "oss": "ossfs",
}
_UPLOADING: Mapping[str, Mapping[str, Any]] = {
    # In parts of this size, ten at a time; by default they are five times as large.
    **{protocol: {"chunksize": 8 << 20} for protocol in ("s3", "s3a", "gs", "gcs")},
    **{protocol: {"overwrite": True} for protocol in ("az", "abfs", "abfss")},
}
_FOR_EVER = frozenset(
    (
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "ParamValidationError",
        "InvalidEndpointURLError",
        "DefaultCredentialsError",
        "RefreshError",
        "ClientAuthenticationError",
        "AuthenticationException",
        "error_perm",
    )
)
"""Names of errors, each of a package that may not be here, which no waiting mends."""


class StoreError(RunFolderError):
    """A request to a store failed. `passing` when trying again may help."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing says it is."""

    size: int
    identity: str
    """Changes when the content does: an etag, else the time of the last change."""


class RemoteStore:
    """Objects below a URL. Names are relative, with `/`."""

    def __init__(self, url: str) -> None:
        """Raises: RunFolderError: no such protocol, or its package is missing, or nobody answers there."""
        self._url = as_url(url)
        self.url = shown_url(self._url)
        self._protocol = self._url.partition("://")[0].lower()
        self._whole_puts = self._protocol in _WHOLE_PUTS
        self.takes_several = self._whole_puts
        """Whether requests of several threads go side by side."""
        self._made: set[str] = set()
        # Where there is one connection, there is one request at a time.
        self._one_at_a_time = contextlib.nullcontext() if self._whole_puts else threading.RLock()
        if "::" in self._url:
            raise RunFolderError(f"{self.url}: a run folder cannot be a chain of protocols (name the store itself)")
        with self._asking("open"):
            self._fs, self._root = self._connect()

    def _connect(self) -> tuple[Any, str]:
        import fsspec

        # Listings have to be those of this moment, and connections are not shared with the user's own code.
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        filesystem, root = fsspec.core.url_to_fs(self._url, **options)
        return filesystem, str(root).rstrip("/")

    def reconnect(self) -> None:
        """After an error: some protocols hold one connection for ever."""
        if not self._whole_puts:
            with contextlib.suppress(Exception):  # it failed before and may fail again; the next request will say so
                self._fs, self._root = self._connect()

    @contextlib.contextmanager
    def _asking(self, what: str, name: str = "") -> Iterator[None]:
        try:
            with self._one_at_a_time:
                yield
        except RunFolderError:
            raise
        except Exception as error:  # every protocol raises its own
            raise self._error(error, what, name) from None

    def _error(self, error: Exception, what: str, name: str) -> StoreError:
        place = f"{self.url}/{name}" if name and not name.startswith(".") else self.url
        kind = type(error).__name__
        text = self._scrubbed(str(error)) or kind
        passing = False
        if isinstance(error, ImportError):
            package = _PACKAGES.get(self._protocol) or getattr(error, "name", None) or "the package it names"
            return StoreError(f"cannot {what} {place}: {text} (pip install {package})", passing=False)
        if isinstance(error, PermissionError):
            why = f"no permission: {text} (check the credentials, and what they may do there)"
        elif isinstance(error, FileNotFoundError):
            why = f"there is no such place: {text} (make the bucket or folder first)"
        elif kind in _FOR_EVER:
            why = f"{kind}: {text} (check the credentials for {self._protocol}://)"
        elif isinstance(error, NotImplementedError):
            why = f"{self._protocol}:// cannot do this (choose another --output-dir)"
        elif isinstance(error, (ValueError, TypeError)):
            why = f"{text} (known protocols: python -c 'import fsspec; print(fsspec.available_protocols())')"
        else:
            why, passing = f"{kind}: {text}", True
        return StoreError(f"cannot {what} {place}: {why}", passing=passing)

    def _scrubbed(self, text: str) -> str:
        text = text.replace(self._url, self.url)
        password = urlsplit(self._url).password
        for secret in (password, unquote(password)) if password else ():
            text = text.replace(secret, "***")
        return text

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def entries(self) -> dict[str, Entry]:
        """All objects, by name. Folders are none."""
        with self._asking("list"):
            found = self._fs.find(self._root, detail=True) if self._whole_puts else self._walk()
        start = len(self._root) + 1
        return {path[start:]: Entry(int(info.get("size") or 0), _identity(info)) for path, info in found.items()}

    def folders(self) -> list[str]:
        """The folders right below."""
        with self._asking("list"):
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def _walk(self) -> dict[str, dict[str, Any]]:
        # `find` would take a broken connection for an empty folder.
        found: dict[str, dict[str, Any]] = {}
        if not self._fs.exists(self._root):
            return found
        for _, _, files in self._fs.walk(self._root, detail=True, on_error="raise"):
            found |= {info["name"]: info for info in files.values()}
        return found

    def read(self, name: str) -> bytes | None:
        """The whole object; None when there is none."""
        with self._asking("read", name):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """`(name, start, stop)` each, in order, side by side where the protocol can.

        Raises:
            FileNotFoundError: one of the objects is gone.
        """
        with self._asking("read"):
            paths = [self._path(name) for name, _, _ in ranges]
            starts, stops = [start for _, start, _ in ranges], [stop for _, _, stop in ranges]
            found = self._fs.cat_ranges(paths, starts, stops, on_error="return")
            for (name, start, stop), one in zip(ranges, found, strict=True):
                if isinstance(one, FileNotFoundError):
                    raise Gone(name)
                if isinstance(one, Exception):
                    raise one
                if len(one) != stop - start:
                    raise Gone(name)
        return [bytes(one) for one in found]

    def download(self, name: str, target: Path) -> None:
        """Raises: Gone: there is no such object."""
        with self._asking("read", name):
            try:
                self._fs.get_file(self._path(name), str(target))
            except FileNotFoundError:
                raise Gone(name) from None

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Each whole or not at all, in no order, side by side where the protocol can."""
        with self._asking("write", next(iter(objects), "")):
            if self._whole_puts:
                self._fs.pipe({self._path(name): data for name, data in objects.items()})
                return
            for name, data in objects.items():
                self._put(name, lambda path, data=data: self._fs.pipe_file(path, data))  # type: ignore[misc]

    def upload(self, source: Path, name: str) -> None:
        """A file of any size."""
        with self._asking("write", name):
            if self._whole_puts:
                self._fs.put_file(str(source), self._path(name), **_UPLOADING.get(self._protocol, {}))
            else:
                self._put(name, lambda path: self._fs.put_file(str(source), path))

    def _put(self, name: str, put: Callable[[str], Any]) -> None:
        """Where half a file can be seen, it is written beside and renamed."""
        path = self._path(name)
        parent, _, last = path.rpartition("/")
        beside = f"{parent}/.{last}.tmp"
        if parent not in self._made:
            self._fs.makedirs(parent, exist_ok=True)
            self._made.add(parent)
        put(beside)
        try:
            self._fs.mv(beside, path)
        except Exception:  # some servers rename onto nothing that is there
            if not self._fs.exists(path):
                raise
            self._fs.rm_file(path)
            self._fs.mv(beside, path)

    def create(self, name: str, data: bytes) -> bool:
        """Make an object that must not be there yet; False when it is. Exclusive where the protocol knows how."""
        with self._asking("write", name):
            try:
                if self._whole_puts:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                    return True
            except FileExistsError:
                return False
            except (
                NotImplementedError,
                TypeError,
            ):  # no exclusive create here: looked at first, then read back
                pass
            if self._fs.exists(self._path(name)):
                return False
        self.write({name: data})
        return self.read(name) == data

    def delete(self, names: Iterable[str]) -> None:
        """Those that are gone already are no error."""
        paths = [self._path(name) for name in names]
        with self._asking("delete in"):
            if not paths:
                return
            if self._protocol != "memory" and self._whole_puts:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(paths)
                return
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    if self._fs.exists(path):
                        self._fs.rm_file(path)

    def delete_folder(self, name: str) -> None:
        """Takes away the empty folders that are left, where folders are more than names."""
        if not self._whole_puts:
            with contextlib.suppress(Exception):  # an empty folder harms nobody
                self._fs.rm(self._path(name), recursive=True)
                self._made.clear()

    def exists(self, name: str) -> bool:
        with self._asking("read", name):
            return bool(self._fs.exists(self._path(name)))

    def changed_at(self, name: str) -> float | None:
        """When the object was last written, in seconds by the store's own clock; None when it does not say."""
        with self._asking("read", name):
            try:
                return _moment(self._fs.info(self._path(name)))
            except FileNotFoundError:
                return None


class Gone(StoreError):
    """An object that was there a moment ago is not, or not all of it: the writer has moved on."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is gone", passing=True)


def batches(objects: Iterable[tuple[str, bytes]], max_bytes: int = _AT_ONCE_BYTES) -> Iterator[dict[str, bytes]]:
    """Objects to be written side by side, no more bytes at once than fit in memory."""
    batch: dict[str, bytes] = {}
    size = 0
    for name, data in objects:
        if batch and size + len(data) > max_bytes:
            yield batch
            batch, size = {}, 0
        batch[name] = data
        size += len(data)
    if batch:
        yield batch


def patiently(store: RemoteStore, ask: Callable[[], T], patience_s: float) -> T:
    """`ask`, again after errors that may pass, until `patience_s` is over."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, StoreError) and error.passing),
        stop=stop_after_delay(patience_s),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        before_sleep=lambda _: store.reconnect(),
        reraise=True,
    )
    return retrying(ask)


_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modify", "created")


def _identity(info: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "content_md5", *_TIMES):
        if info.get(key):
            return str(info[key])
    return ""


def _moment(info: Mapping[str, Any]) -> float | None:
    value = next((info[key] for key in _TIMES if info.get(key)), None)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        text = value.partition(".")[0]
        with contextlib.suppress(ValueError):
            if text.isdecimal():
                return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
            return datetime.fromisoformat(value).timestamp()
    return None
