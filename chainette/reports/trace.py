"""`trace.json` of a run folder: reads events and calls, writes the file whole or not at all. The run may be at work."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

MAX_SPANS = 200_000
"""Calls in a trace: some 45 MB, which Perfetto opens in ten seconds."""
MAX_SPANS_OF_RUN = 10_000
"""Calls in the trace that a run writes at its end: all of them would cost 2.5% of the CPU of a run whose engine answers
at once (benchmarks/trace_cost.py)."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TraceWritten:
    path: Path
    bytes: int
    kept: int
    """Calls that are in it."""
    of: int
    """Calls that there are; where only a sample was read, about so many."""
    sampled: bool
    timeless: int
    """Calls that do not say when they were."""


def write_trace(reader: RunReader, path: Path | None = None, *, max_spans: int = MAX_SPANS) -> TraceWritten:
    """Into `path`, else into the run's folder.

    Raises:
        RunFolderError: the run has no events, it cannot be read, or the file cannot be written.
    """
    from chainette.errors import RunFolderError
    from chainette.observe.trace import Trace
    from chainette.reports.timelines import timeline_of

    path = path or reader.path / "trace.json"
    with _no_collector():
        timeline = timeline_of(reader)
        if not timeline.sessions:
            raise RunFolderError(f"{reader.path.name} has no events: it ended before it began, and left no trace")
        graph = reader.graph()
        spans, about, sampled = _spans(reader, graph, timeline.sessions[0].started_s, max_spans)
        of = about if sampled else spans.kept + spans.timeless
        other = {
            "run_id": str(graph.get("run_id", reader.path.name)),
            "chain": str(graph.get("chain", "")),
            "state": timeline.sessions[-1].state,
            "unix_start_s": spans.zero_s,
            "sampled": sampled,
            "kept": spans.kept,
            "of": of,
        }
        size = _write(path, Trace(timeline, spans, other))
    return TraceWritten(path, size, spans.kept, of, sampled, spans.timeless)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Many small things are made that hold no cycles and all live to the end."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _spans(reader: RunReader, graph: dict[str, Any], zero_s: float, max_spans: int) -> tuple[Any, int, bool]:
    from chainette.observe.call_spans import CallSpans

    engines = {
        str(node.get("id")): str(node.get("engine") or "?")
        for node in graph.get("nodes", [])
        if isinstance(node, dict) and node.get("type") == "step"
    }
    calls = reader.sampled_calls(list(engines), max_spans)
    spans = CallSpans(zero_s)
    for step, engine in engines.items():
        for block in calls.blocks(step):
            spans.add(step, engine, block)
    return spans, calls.about, calls.is_sampled


def _write(path: Path, trace: Any) -> int:
    """Returns how many bytes."""
    from chainette.files.disk import file_error

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    size = 0
    try:
        try:
            with open(temporary, "wb", buffering=_BLOCK_BYTES) as file:
                for block in trace.blocks():
                    size += file.write(block)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise file_error(path, error) from error
    return size
