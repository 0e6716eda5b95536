"""The derived files of a run once more, with some rows made again in their places. Knows lines and ids, not values.

All is written to `.healing/` beside the files that stand, and takes their place at the end under a marker, so that a
crash leaves the old files or the new ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from chainette.errors import RunFolderError
from chainette.events import RunCount
from chainette.files.disk import Position, RollingFile, folder_error, replace_file, sync_folder
from chainette.files.json_text import encode_rows
from chainette.files.ledger import NAME, ClosedChunk, Ledger, begin_record, closing_record, commit_record, end_record
from chainette.files.names import HEALING, OPEN
from chainette.files.outputs import Lines, Outputs
from chainette.files.parts import JsonlPart, Part, find_parts
from chainette.files.recovery import Recovered
from chainette.files.schema import Column
from chainette.rows import InputChunk, source_of

_ENDLESS = 1 << 62
_READY = "ready.json"
_BEGUN = "begun.json"
_SWAPPED = ("steps", "flattened", "failed", OPEN, NAME)


class Healing:
    """One retry's files."""

    def __init__(self, root: Path, outputs: Outputs, before: Recovered, max_lines: int) -> None:
        """`outputs` writes below `.healing/`."""
        self.folder = root / HEALING
        self._root = root
        self._outputs = outputs
        self._before = before
        self._max_lines = max_lines
        self._ledger = Ledger(root / NAME)
        self._chunks = self._ledger.chunks()
        self._next: ClosedChunk | None = next(self._chunks, None)
        self._commits = RollingFile(root, self.folder, _ENDLESS, name=NAME)
        self._old: dict[str, _OldLines] = {}
        self._torn = False

    @property
    def torn(self) -> bool:
        """A chunk was begun and not ended, by an error: these files must not take the place of the old ones."""
        return self._torn

    def put(self, inputs: InputChunk, lines: Iterable[Lines], count: RunCount, failing: RunCount | None) -> RunCount:
        """A chunk with rows that were made again, in order. Returns what that adds to the run's counts.

        Raises:
            RunFolderError: something cannot be read or written.
        """
        made = {one.stream: one for one in lines}
        while self._next is not None and self._next.index < inputs.index:
            self._copy(self._next)
            self._advance()
        chunk = self._next
        if chunk is None or chunk.index != inputs.index:
            raise RunFolderError(f"{self._root / NAME} has no chunk {inputs.index} (was the folder changed meanwhile?)")
        total = RunCount()
        total.add(chunk.count)
        total.add(chunk.failing, -1)
        total.add(count)
        self._torn = True
        self._merge(chunk, inputs, made)
        self._close(chunk.index, total, failing)
        self._torn = False
        self._advance()
        change = RunCount()
        change.add(count)
        change.add(chunk.failing, -1)
        return change

    def _advance(self) -> None:
        last = self._next is not None and self._next.index == self._before.chunk
        self._next = None if last else next(self._chunks, None)

    def _copy(self, chunk: ClosedChunk) -> None:
        self._torn = True
        for stream, (step, file) in self._streams(chunk):
            self._append(chunk.index, step, file, self._lines_of(stream, chunk))
        self._close(chunk.index, chunk.count, chunk.failing if chunk.failing.rows else None)
        self._torn = False

    def _merge(self, chunk: ClosedChunk, inputs: InputChunk, made: Mapping[str, Lines]) -> None:
        streams = dict(self._streams(chunk))
        streams |= {stream: (lines.step, lines.file) for stream, lines in made.items()}
        positions = _Positions(inputs)
        for stream, (step, file) in streams.items():
            kept = [(positions.of_line(line), line) for line in self._lines_of(stream, chunk)]
            kept = [(position, line) for position, line in kept if not positions.is_healed(position)]
            new = made.get(stream)
            if new is not None:
                found = zip(map(positions.of, new.ids), new.block.split(b"\n"), strict=False)
                kept += [(position, line + b"\n") for position, line in found if positions.is_healed(position)]
            kept.sort(key=lambda pair: pair[0])
            self._append(chunk.index, step, file, [line for _, line in kept])

    def _streams(self, chunk: ClosedChunk) -> Iterator[tuple[str, tuple[str | None, RollingFile]]]:
        for stream in chunk.marks:
            found = self._outputs.file_of(stream)
            if found is not None:
                yield stream, found

    def _lines_of(self, stream: str, chunk: ClosedChunk) -> list[bytes]:
        mark = chunk.marks.get(stream)
        if mark is None:
            return []
        if stream not in self._old:
            self._old[stream] = _OldLines(self._root, stream, self._outputs.in_csv().get(stream, []))
        number = 0 if stream.startswith("failed/") else int(Path(mark.file).stem)
        return self._old[stream].up_to(number * self._max_lines + mark.rows)

    def _append(self, chunk: int, step: str | None, file: RollingFile, lines: list[bytes]) -> None:
        if lines or file.parts:
            ends = self._outputs.append(step, file, b"".join(lines), len(lines))
            self._write([commit_record(step, chunk, self.folder, end) for end in ends])

    def _close(self, chunk: int, count: RunCount, failing: RunCount | None) -> None:
        rows = self._before.rows_read(self._max_lines)
        calls = self._before.floor if chunk == self._before.chunk else {}
        inputs = Position(self.folder / "inputs" / f"{max(rows - 1, 0) // self._max_lines:03d}.jsonl")
        begun = begin_record(chunk, self.folder, inputs, calls)
        self._write([begun, closing_record(chunk, count, failing)])

    def _write(self, records: list[dict[str, Any]]) -> None:
        self._commits.append(encode_rows(records), len(records))

    def copy_rest(self) -> None:
        """The chunks behind the last that was put."""
        while self._next is not None:
            self._copy(self._next)
            self._advance()
        if self._before.ended:
            self._write([end_record(self._before.rows_read(self._max_lines))])
        for file in (*self._outputs.files(), self._commits):
            file.make_durable()

    def swap(self) -> None:
        """The new files take the place of the old ones; all of them are whole and on disk.

        Raises:
            RunFolderError: they cannot; the next opening of the folder tries again.
        """
        for file in (*self._outputs.files(), self._commits):
            file.close()
        there = [name for name in _SWAPPED if (self.folder / name).exists()]
        replace_file(self.folder / _READY, json.dumps(there).encode())
        complete_swap(self._root)


def complete_swap(root: Path) -> None:
    """Ends a swap that has begun. Does nothing where none has.

    Raises:
        RunFolderError: a file cannot be moved.
    """
    try:
        there = json.loads((root / HEALING / _READY).read_bytes())
        if not isinstance(there, list):
            raise ValueError("it is no list")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise RunFolderError(f"cannot read {root / HEALING / _READY}: {error}") from error
    try:
        for name in _SWAPPED:
            new, old = root / HEALING / name, root / name
            if name not in there or new.exists():
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            if new.exists():
                os.replace(new, old)
        # First, for what is not there any more cannot be taken for a retry that was cut off.
        (root / HEALING / _BEGUN).unlink(missing_ok=True)
        sync_folder(root)
        shutil.rmtree(root / HEALING)
    except OSError as error:
        raise folder_error(root, error) from error


def begin(root: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a retry that was cut off had begun with, else `said`; its half-made files are gone.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    folder = root / HEALING
    begun = dict(said)
    try:
        found = json.loads((folder / _BEGUN).read_bytes())
        if isinstance(found, dict) and isinstance(found.get("calls"), dict):
            begun["calls"] = found["calls"]
    except (OSError, ValueError):
        pass
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise folder_error(folder, error) from error
    replace_file(folder / _BEGUN, json.dumps(begun).encode())
    return begun


class _OldLines:
    """The lines of a file of parts, each once, in order."""

    def __init__(self, root: Path, stream: str, in_csv: list[Column]) -> None:
        if stream.startswith("failed/"):
            parts: Sequence[Part] = [JsonlPart(root / f"{stream}.jsonl")]
        else:
            parts = find_parts(root, stream, in_csv)
        self._lines = _lines(parts)
        self._read = 0

    def up_to(self, total: int) -> list[bytes]:
        """Those that were not given yet, up to and with the `total`-th."""
        lines = list(islice(self._lines, total - self._read))
        self._read = total
        return lines


def _lines(parts: Sequence[Part]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, JsonlPart):
            yield from part.lines(0, len(part))
        else:
            for row in part.rows(0, len(part)):
                yield encode_rows([row])


class _Positions:
    """Which input row of the chunk an id comes from."""

    def __init__(self, inputs: InputChunk) -> None:
        assert inputs.again is not None
        self._by_id = {id: position for position, id in enumerate(inputs.ids)}
        self._healed = inputs.again.rows

    def of(self, id: str) -> int:
        return source_of(id, self._by_id)

    def of_line(self, line: bytes) -> int:
        return self.of(json.loads(line)["_id"])

    def is_healed(self, position: int) -> bool:
        return position in self._healed
