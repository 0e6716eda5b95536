"""The times of a run's calls, from its folder: of all, or of so many that it stays quick. Knows no figure."""

from __future__ import annotations

from collections.abc import Iterable

from chainette.files.call_blocks import CallBlocks
from chainette.files.reading import RunReader
from chainette.observe.latency import LIMIT, CallReader, Calls, Sample

_FIRST_SHARE = 0.001
_FEW_BYTES = 64 << 20
"""Under so much, all is read without asking how many there are."""
_SLACK = 1.1
"""By which the number is guessed wrong."""


def read_calls(reader: RunReader, steps: Iterable[str], limit: int = LIMIT) -> Calls:
    """Above about `limit` calls an even sample, by blocks of the files; `Calls.sample` says so.

    Raises:
        RunFolderError: a file cannot be read.
    """
    blocks = {step: CallBlocks(reader.call_files(step)) for step in steps}
    if sum(of_step.bytes for of_step in blocks.values()) > _FEW_BYTES or limit < LIMIT:
        about = _about(blocks)
        if about > limit * _SLACK:
            calls = _read(blocks, limit / about)
            return calls.calls(Sample(calls.lines, max(about, calls.lines)))
    return _read(blocks, 1.0).calls()


def _about(blocks: dict[str, CallBlocks]) -> int:
    """How many calls there are, reckoned from how long their lines are here and there."""
    about = 0.0
    for of_step in blocks.values():
        lines = size = 0
        for block in of_step.lines(_FIRST_SHARE):
            lines += len(block)
            size += sum(map(len, block)) + len(block)
        about += of_step.bytes * lines / size if size else 0.0
    return round(about)


def _read(blocks: dict[str, CallBlocks], share: float) -> CallReader:
    calls = CallReader(tuple(blocks))
    for step, of_step in blocks.items():
        for lines in of_step.lines(share):
            calls.add(step, lines)
    return calls
