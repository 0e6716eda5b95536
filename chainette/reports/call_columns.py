"""The times of a run's calls, from its folder: of all, or of so many that it stays quick. Knows no figure."""

from __future__ import annotations

from collections.abc import Sequence

from chainette.files.reading import RunReader
from chainette.observe.latency import LIMIT, CallReader, Calls, Sample


def read_calls(reader: RunReader, steps: Sequence[str], limit: int = LIMIT) -> Calls:
    """Above about `limit` calls an even sample; `Calls.sample` says so.

    Raises:
        RunFolderError: a file cannot be read.
    """
    sampled = reader.sampled_calls(steps, limit)
    calls = CallReader(steps)
    for step in steps:
        for block in sampled.blocks(step):
            calls.add(step, block.split(b"\n")[:-1])
    return calls.calls(Sample(calls.lines, max(sampled.about, calls.lines)) if sampled.is_sampled else None)
