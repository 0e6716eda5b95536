"""Which run folders are remote, what they are called, and where on this machine they are kept. Asks no store."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from chainette.files.names import folder_name

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_MENDED = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/(?!/)")
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]+@")
_SECRET_PARAMETER = re.compile(
    r"([?&][^=&\s]*(?:token|key|secret|signature|sig|password|credential|auth)[^=&\s]*=)[^&#\s]+", re.IGNORECASE
)
_LOCAL = ("file", "local")
_OF_THIS_MACHINE = re.compile(r"(?:file|local):(?://|(?=/))", re.IGNORECASE)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a run folder's name is a URL that is not of this machine's files."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):  # what is no name at all is refused where folders are made
        return False
    found = _URL.match(text) or (None if isinstance(path, str) else _MENDED.match(text))
    return found is not None and found[1].lower() not in _LOCAL


def as_path(path: str | os.PathLike[str]) -> Path:
    """The place on this machine, also where it is written as a URL (`file:///tmp/run`).

    Raises:
        TypeError, ValueError, RuntimeError: it is no name of a file.
    """
    return Path(_OF_THIS_MACHINE.sub("", os.fspath(path), count=1)).expanduser()


def as_url(path: str | os.PathLike[str]) -> str:
    """The URL as it was meant: `Path("s3://bucket/run")` loses a slash."""
    return _MENDED.sub(r"\1://", os.fspath(path), count=1).rstrip("/")


def shown_url(url: str) -> str:
    """The URL without the password in it, for messages and files."""
    return without_passwords(url).partition("?")[0]


def without_passwords(text: str) -> str:
    """What was typed, without the passwords of the URLs in it, also those behind the `?`."""
    return _SECRET_PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def local_place_of(url: str, purpose: str) -> Path:
    """Where on this machine a remote folder is kept: `purpose` is `spool` or `reading`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    url = shown_url(as_url(url))
    digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    return Path(cache) / "chainette" / purpose / digest / folder_name(url.rpartition("/")[2])


def is_copy(path: Path) -> bool:
    """Whether a folder of this machine is where a remote one is read."""
    return path.parts[-4:-2] == ("chainette", "reading")
