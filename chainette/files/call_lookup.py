"""A row's calls among millions. Knows that a chunk's calls are logged between its reading and its closing, not what
calls say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from pydantic_core import from_json

from chainette.files.call_log import CALLS_PER_FILE
from chainette.files.disk import folder_error
from chainette.files.ledger import NAME
from chainette.files.names import INPUT_NODE, folder_name
from chainette.files.parts import JsonlPart, Part
from chainette.files.row_lookup import Kin, beginning, found_lines, is_child, place_of

_STARTED = b'{"event":"run_started",'
_BEGUN = re.compile(rb'\{"step":null,"chunk":(\d+),"file":"inputs/(\d+)\.[a-z]+","bytes":\d+,"rows":(\d+),"calls":')


def kin_calls(parts: list[Part], kin: Kin, bounds: range | None) -> Iterator[dict[str, Any]]:
    """The calls of the row and its kin in the order they finished, those of children at most `kin.most`.

    `bounds` are the places in the log that have all of them; None where that is not known.

    Raises:
        RunFolderError: a part cannot be read.
    """
    head = beginning(kin.row_id)
    children = 0
    for part in parts:
        if not isinstance(part, JsonlPart) or not _may_hold(part.path, bounds):
            continue
        for _, line in found_lines(part.path, head):
            try:
                call = from_json(line)
            except ValueError:
                continue
            if call.get("_id") not in kin:
                continue
            if is_child(call["_id"], kin.row_id):
                children += 1
                if children > kin.most:
                    continue
            yield call


def _may_hold(path: Path, bounds: range | None) -> bool:
    if bounds is None or not path.stem.isdecimal():
        return True
    first = int(path.stem) * CALLS_PER_FILE
    return first < bounds.stop and bounds.start < first + CALLS_PER_FILE


class Bounds:
    """Between which calls of each node those of an input row's chunk are. Looks once."""

    def __init__(self, run: Path, row_id: str, chunk_size: int, max_lines: int) -> None:
        """The run's ids are places. `max_lines` are those of a part of `inputs/`."""
        place = place_of(row_id)
        self._before: dict[str, int] | None = None
        self._after: dict[str, int] = {}
        if place is None or chunk_size < 1 or max_lines < 1 or not _as_read(run):
            return
        text = _read(run / NAME)
        chunk = place[0] // chunk_size
        begun = _begun(text, chunk)
        if begun is None or not _holds(text, chunk, place[0], max_lines):
            return
        closed = text.find(b'\n{"chunk":%d,' % chunk, begun)
        self._before = _calls(text, begun)
        following = text.find(b'\n{"step":null,"chunk":', closed) if closed >= 0 else -1
        while following >= 0 and not self._after:
            if _BEGUN.match(text, following + 1):
                self._after = _calls(text, following + 1) or {}
            following = text.find(b'\n{"step":null,"chunk":', following + 1)

    def of(self, node_id: str) -> range | None:
        """Places in the node's log."""
        if self._before is None:
            return None
        after = self._after.get(node_id)
        # The count may have been taken a moment before the chunk was closed: a part more costs little.
        return range(self._before.get(node_id, 0), 1 << 62 if after is None else after + CALLS_PER_FILE)


def _as_read(run: Path) -> bool:
    """In a run that was resumed or healed, calls of a chunk may lie anywhere; where input rows failed, ids are not the
    places of lines."""
    failed = run / "failed" / f"{folder_name(INPUT_NODE)}.jsonl"
    return not failed.exists() and _read(run / "events.jsonl").count(_STARTED) == 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error


def _begun(text: bytes, chunk: int) -> int | None:
    """Where the record lies that says that the chunk was read."""
    head = b'{"step":null,"chunk":%d,"file":"inputs/' % chunk
    if text.startswith(head):
        return 0
    at = text.find(b"\n" + head)
    return at + 1 if at >= 0 else None


def _holds(text: bytes, chunk: int, row: int, max_lines: int) -> bool:
    ends = []
    for number in (chunk - 1, chunk):
        at = _begun(text, number) if number >= 0 else None
        found = _BEGUN.match(text, at) if at is not None else None
        if number >= 0 and found is None:
            return False
        ends.append(int(found[2]) * max_lines + int(found[3]) if found is not None else 0)
    return ends[0] <= row < ends[1]


def _calls(text: bytes, at: int) -> dict[str, int] | None:
    end = text.find(b"\n", at)
    try:
        record = orjson.loads(text[at:end])
    except ValueError:
        return None
    calls = record.get("calls")
    return dict(calls) if isinstance(calls, dict) else None
