"""Names on disk: folders of steps, slugs of chains, the order of files. Knows nothing of what the files hold."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime

INPUT_NODE = "chain_input"
"""The id under which the chain's input stands beside the nodes."""

OPEN = ".open"
"""The folder where the open parts of Parquet and CSV files grow, as JSONL."""

HEALING = ".healing"
"""The folder where a retry writes the run's files once more."""

_UNSAFE = re.compile(r"[^\w.\-=+@ ]")
_TAKEN = re.compile(r"(_source)*_id")
_TAKEN_IN_STEPS = re.compile(r"(_source)*_(id|turn)")
_DIGITS = re.compile(r"(\d+)")
_MAX_BYTES = 120


def stored_key(key: str) -> str:
    """A key of the data as it stands in a line: `_id` is ours, so the data's is `_source_id`, and so on."""
    return f"_source{key}" if _TAKEN.fullmatch(key) else key


def step_key(key: str) -> str:
    """As `stored_key`, for the files of steps, where `_turn` is ours too."""
    return f"_source{key}" if _TAKEN_IN_STEPS.fullmatch(key) else key


def source_key(key: str) -> str:
    """The key of the data that stands in a line under `key`."""
    return key.removeprefix("_source") if key != "_id" and _TAKEN.fullmatch(key) else key


def folder_name(node_id: str) -> str:
    """The name of a node's folder or file: `outer/inner` becomes `outer__inner`, never a path.

    What could be a separator, hidden or reserved is written as `%XX`; a very long name ends with a hash.
    """
    name = _UNSAFE.sub(_escape, node_id.replace("/", "__"))
    if not name or name[0] in ". ":
        name = f"%{ord(name[0]):02X}{name[1:]}" if name else "%"
    if name[-1] in ". ":
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if len(name.encode("utf-8", "replace")) > _MAX_BYTES:
        digest = hashlib.blake2b(node_id.encode("utf-8", "replace"), digest_size=6).hexdigest()
        name = f"{_cut(name, _MAX_BYTES - 13)}-{digest}"
    return name


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def _cut(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def slug(name: str) -> str:
    """A chain's name as part of a folder's name: lower-case letters and digits of any script, joined by `-`."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name).lower())
    return _cut("-".join(words), 60).strip("-") or "chain"


def new_run_id(chain_name: str) -> str:
    return f"{slug(chain_name)}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts `part-2` before `part-10`."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(text) if part]


def part_name(number: int, suffix: str = "jsonl") -> str:
    return f"{number:03d}.{suffix}"
