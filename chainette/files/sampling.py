"""The calls of a run, all of them or an even sample that is read without the rest. Knows lines, not what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainette.files.disk import folder_error
from chainette.files.names import folder_name
from chainette.files.tails import part_numbers

BLOCK_BYTES = 1 << 17
"""Of neighbouring lines that are taken together: what happened beside each other stays beside each other."""
_READ_BYTES = 1 << 20
_LOOK_BYTES = 1 << 20
"""Of each node that are looked at to learn how long its lines are."""


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    bytes: int


class SampledCalls:
    """The calls of some nodes. What is appended later is not among them."""

    def __init__(self, run: Path, node_ids: Sequence[str], max_calls: int) -> None:
        """
        Raises:
            RunFolderError: a part cannot be read.
        """
        self.max_calls = max_calls
        self._parts = {node_id: _parts(run / "calls" / folder_name(node_id)) for node_id in node_ids}
        self.about = round(sum(map(_lines, self._parts.values())))
        """How many there are, by their bytes."""
        self.is_sampled = self.about > max_calls
        self._share = max_calls / self.about if self.is_sampled else 1.0

    def blocks(self, node_id: str) -> Iterator[bytes]:
        """Neighbouring records in the order of the log: whole lines, each with its line break.

        Raises:
            RunFolderError: a part cannot be read.
        """
        parts = self._parts[node_id]
        if not self.is_sampled:
            yield from _all(parts)
        elif self.max_calls:
            yield from _sample(parts, self._share * _size(parts))


def _parts(folder: Path) -> list[_Part]:
    found = sorted(part_numbers(folder, ".jsonl").items()) if folder.is_dir() else []
    try:
        return [_Part(path, path.stat().st_size) for _, path in found]
    except OSError as error:
        raise folder_error(folder, error, "cannot read") from error


def _size(parts: list[_Part]) -> int:
    return sum(part.bytes for part in parts)


def _lines(parts: list[_Part]) -> float:
    """About how many there are, from an even sample; of a few, exactly."""
    if _size(parts) <= _LOOK_BYTES:
        return sum(block.count(b"\n") for block in _all(parts))
    lines = size = 0
    for block in _sample(parts, _LOOK_BYTES):
        lines += block.count(b"\n")
        size += len(block)
    return _size(parts) * lines / size if size else 1.0


def _all(parts: list[_Part]) -> Iterator[bytes]:
    for part in parts:
        yield from _whole(part)


def _sample(parts: list[_Part], wanted_bytes: float) -> Iterator[bytes]:
    """About so many bytes, in blocks that lie evenly over all parts."""
    size = _size(parts)
    block = min(BLOCK_BYTES, max(1, int(wanted_bytes)))
    blocks = max(1, round(wanted_bytes / block))
    begins = 0
    number = 0
    for part in parts:
        while number < blocks and number * size // blocks < begins + part.bytes:
            found = _block(part, number * size // blocks - begins, block)
            if found:
                yield found
            number += 1
        begins += part.bytes


def _whole(part: _Part) -> Iterator[bytes]:
    left = part.bytes
    rest = b""
    try:
        with open(part.path, "rb") as file:
            while left > 0 and (text := file.read(min(_READ_BYTES, left))):
                left -= len(text)
                text = rest + text
                end = text.rfind(b"\n") + 1
                rest = text[end:]
                if end:
                    yield text[:end]
    except OSError as error:
        raise folder_error(part.path, error, "cannot read") from error


def _block(part: _Part, at: int, wanted_bytes: int) -> bytes:
    """The whole lines that begin within the block, one at least where the part goes on so long."""
    try:
        with open(part.path, "rb") as file:
            if at:
                file.seek(at - 1)
                file.readline()  # ends the line that lies across the beginning
            begin = file.tell()
            text = file.read(max(0, min(wanted_bytes - (begin - at), part.bytes - begin)))
            text += file.readline() if text and not text.endswith(b"\n") else b""
    except OSError as error:
        raise folder_error(part.path, error, "cannot read") from error
    return text[: text.rfind(b"\n") + 1]
