"""`commits.jsonl`: what of the run folder is whole. Knows the records, not the rows they speak of.

A chunk's records are one begin record (it was read), a commit record per file that it added to, and one closing record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from chainette.events import RunCount
from chainette.files.disk import Position, folder_error
from chainette.files.names import OPEN

NAME = "commits.jsonl"
INPUTS = "inputs"
FLATTENED = "flattened"


def stream_of(file: str) -> str:
    """What `steps/qa/000.jsonl` is a part of: `steps/qa`. `failed/qa.jsonl` has no parts: `failed/qa`."""
    file = file.removeprefix(f"{OPEN}/")
    if file.startswith("failed/"):
        return file.removesuffix(".jsonl")
    return file.rpartition("/")[0]


def commit_record(step: str | None, chunk: int, root: Path, position: Position) -> dict[str, Any]:
    """How far a file is."""
    file = position.path.relative_to(root).as_posix()
    return {"step": step, "chunk": chunk, "file": file, "bytes": position.size, "rows": position.rows}


def begin_record(chunk: int, root: Path, inputs: Position, calls: Mapping[str, int]) -> dict[str, Any]:
    """The chunk was read: how far `inputs/` is, and how many calls each node had logged by then."""
    return {**commit_record(None, chunk, root, inputs), "calls": dict(calls)}


def end_record(rows: int) -> dict[str, Any]:
    """The input has no more rows than these."""
    return {"end": rows}


def closing_record(chunk: int, count: RunCount, failing: RunCount | None) -> dict[str, Any]:
    """The chunk is whole. `failing` is what of `count` its failed rows added."""
    record = {"chunk": chunk, **count.public()}
    if failing is not None:
        record["failing"] = failing.public()
    return record


def is_closing(record: Mapping[str, Any]) -> bool:
    """Whether the record says that a chunk is whole."""
    return "chunk" in record and "file" not in record


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a file as a record says it."""

    file: str
    bytes: int
    rows: int


@dataclass(slots=True)
class ClosedChunk:
    """A whole chunk."""

    index: int
    count: RunCount
    failing: RunCount
    marks: dict[str, Mark]
    """By stream: where the chunk's last row ends; streams that it added nothing to stand as they were."""
    seen: list[Mark]
    """Everything its records say of files, full parts on the way included."""
    end: int
    """Where its closing record ends in `commits.jsonl`."""


@dataclass(slots=True)
class Ledger:
    """What `commits.jsonl` says, chunk by chunk, in order."""

    path: Path
    begun: dict[int, dict[str, int]] = field(default_factory=dict)
    """Chunk -> how many calls each node had logged when it was read; the last few only."""
    ended: int | None = None
    """How many rows the input had, once that is known."""

    def chunks(self) -> Iterator[ClosedChunk]:
        """Every whole chunk. A record that is cut or damaged ends the reading; what was read stands."""
        try:
            yield from self._closed_chunks()
        except (KeyError, TypeError, ValueError, AttributeError):  # a record of another form than ours
            return

    def _closed_chunks(self) -> Iterator[ClosedChunk]:
        marks: dict[str, Mark] = {}
        seen: list[Mark] = []
        inputs: dict[int, Mark] = {}
        for record, end in self._records():
            if "file" in record:
                mark = Mark(record["file"], record["bytes"], record["rows"])
                if "calls" in record:
                    self._note_begun(record["chunk"], record["calls"])
                    inputs[record["chunk"]] = mark
                else:
                    marks[stream_of(mark.file)] = mark
                    seen.append(mark)
            elif "end" in record:
                self.ended = record["end"]
            elif "rows" in record:
                index = record["chunk"]
                begun = inputs.pop(index, None)
                if begun is not None:
                    marks[INPUTS] = begun
                    seen.append(begun)
                count, failing = RunCount.of(record), RunCount.of(record.get("failing", {}))
                yield ClosedChunk(index, count, failing, dict(marks), seen, end)
                seen = []

    def _note_begun(self, chunk: int, calls: Mapping[str, int]) -> None:
        self.begun[chunk] = dict(calls)
        if len(self.begun) > _KEPT:
            for old in sorted(self.begun)[: _KEPT // 2]:
                del self.begun[old]

    def _records(self) -> Iterator[tuple[dict[str, Any], int]]:
        at = 0
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    at += len(line)
                    record = _read(line)
                    if record is None:
                        return
                    yield record, at
        except FileNotFoundError:
            return
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error

    def floor(self, chunk: int) -> dict[str, int]:
        """Per node how many calls, from the first on, are of chunks before `chunk`."""
        before = [begun for begun in self.begun if begun <= chunk]
        return self.begun[max(before)] if before else {}


_KEPT = 40_000
"""More than the chunks that can be under way, were each of them a single row."""


def _read(line: bytes) -> dict[str, Any] | None:
    """None for a line that is cut or damaged."""
    try:
        record = orjson.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def size_of(path: Path) -> int:
    """In bytes; -1 where there is no file."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
