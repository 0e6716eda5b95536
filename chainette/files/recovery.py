"""A run folder as a crash left it, brought back to its last whole chunk. Knows files and commit records, no rows.

Commit records are not a promise about the disk: a power cut or a full disk may leave any file shorter than they say. So
the last whole chunk is the last one that every file holds.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import orjson

from chainette.events import RunCount
from chainette.files.disk import folder_error, replace_file
from chainette.files.json_text import encode_rows
from chainette.files.ledger import INPUTS, NAME, ClosedChunk, Ledger, Mark, end_record, size_of
from chainette.files.names import OPEN
from chainette.files.new_folder import remove_empty
from chainette.files.schema import Column
from chainette.files.sealing import unseal
from chainette.files.tails import cut, full_parts

_SEALED = (".parquet", ".csv")


@dataclass(slots=True)
class Recovered:
    """How far a run had come."""

    chunk: int = -1
    """The last whole chunk."""
    count: RunCount = field(default_factory=RunCount)
    marks: dict[str, Mark] = field(default_factory=dict)
    """Where each file ends now."""
    floor: dict[str, int] = field(default_factory=dict)
    """Per node how many calls, from the first on, are of whole chunks."""
    inputs: tuple[int, int, int] = (0, 0, 0)
    """(number, bytes, lines) of the last part of `inputs/`."""
    ended: bool = False
    """Every input row was read, and `inputs/` has them all."""

    def rows_read(self, max_lines: int) -> int:
        """How many rows `inputs/` has."""
        return self.inputs[0] * max_lines + self.inputs[2]


def survey(root: Path, max_lines: int) -> tuple[Recovered, int]:
    """How far the run had come, and where in `commits.jsonl` that is said. `inputs/` is cut where it is not whole."""
    ledger = Ledger(root / NAME)
    found = Recovered(inputs=full_parts(root / INPUTS, max_lines))
    end = 0
    sizes: dict[str, int] = {}
    is_held = True
    for chunk in ledger.chunks():
        is_held = is_held and _is_held(root, chunk, sizes)
        if not is_held:  # what is said of the input further on holds all the same
            continue
        found.chunk, found.marks, end = chunk.index, chunk.marks, chunk.end
        found.count.add(chunk.count)
    found.floor = ledger.floor(found.chunk + 1)
    found.ended = ledger.ended is not None and ledger.ended == found.rows_read(max_lines)
    return found, end


def recover(root: Path, max_lines: int, in_csv: Mapping[str, list[Column]], *, in_one: bool = False) -> Recovered:
    """Cuts every derived file of the run back to the last chunk that all of them hold.

    `in_csv` says per stream which columns a CSV part holds as text. A sealed part that must grow again is opened. With
    `in_one` chunks have rows of one another, so none is whole before all are.

    Raises:
        RunFolderError: a file cannot be read, cut or removed.
    """
    found, end = survey(root, max_lines)
    if in_one and not (found.ended and found.count.rows == found.rows_read(max_lines)):
        found, end = Recovered(inputs=found.inputs, ended=found.ended), 0
    _cut_ledger(root / NAME, end, found.rows_read(max_lines) if found.ended else None)
    try:
        opened = _cut_streams(root, found, max_lines, in_csv)
        if opened:
            _say_anew(root / NAME, found.marks, {one.part.relative_to(root).as_posix(): one.ends for one in opened})
        for one in opened:
            one.sealed.unlink()
        _cut_failed(root, found.marks)
    except OSError as error:
        raise folder_error(root, error) from error
    return found


def forget(root: Path, *, inputs: bool = True) -> None:
    """Takes away all that is derived, with `inputs` also the input as it was read; the calls stay.

    Raises:
        RunFolderError: something cannot be removed.
    """
    try:
        for name in ("steps", "flattened", "failed", OPEN, *([INPUTS] if inputs else [])):
            if (root / name).exists():
                shutil.rmtree(root / name)
        (root / NAME).unlink(missing_ok=True)
    except OSError as error:
        raise folder_error(root, error, "cannot remove") from error


def _is_held(root: Path, chunk: ClosedChunk, sizes: dict[str, int]) -> bool:
    return all(not mark.bytes or mark.bytes <= _size(root, mark, sizes) for mark in chunk.seen)


def _size(root: Path, mark: Mark, sizes: dict[str, int]) -> int:
    """Of a part that was sealed since, more than any record says."""
    if mark.file not in sizes:
        sizes[mark.file] = size_of(root / mark.file) if _sealed_form(root, mark) is None else 1 << 62
    return sizes[mark.file]


def _cut_ledger(path: Path, end: int, ended: int | None) -> None:
    if ended is not None:
        with open(path, "rb") as file:
            kept = file.read(end)
        replace_file(path, kept + encode_rows([end_record(ended)]))
    elif path.exists():
        cut(path, end)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A sealed part that grows again, and is still there."""

    sealed: Path
    part: Path
    ends: array[int]
    """Where its rows end. The text of a row may be another than it was before it was sealed."""


def _say_anew(ledger: Path, marks: dict[str, Mark], ends: Mapping[str, array[int]]) -> None:
    """Brings the records of parts that were opened to where their rows end now."""
    records = []
    for line in ledger.read_bytes().splitlines():
        record = orjson.loads(line)
        if record.get("file") in ends and record["rows"]:
            record["bytes"] = ends[record["file"]][record["rows"] - 1]
        records.append(record)
    for stream, mark in marks.items():
        if mark.file in ends:
            marks[stream] = Mark(mark.file, ends[mark.file][mark.rows - 1], mark.rows)
    replace_file(ledger, encode_rows(records))


def _cut_streams(root: Path, found: Recovered, max_lines: int, in_csv: Mapping[str, list[Column]]) -> list[_Opened]:
    """The parts of steps and of the flattened rows. Returns those that were sealed and grow again."""
    opened = []
    streams = {"flattened"}
    for steps in (root / "steps", root / OPEN / "steps"):
        streams.update(f"steps/{path.name}" for path in (steps.iterdir() if steps.is_dir() else ()) if path.is_dir())
    for stream in sorted(streams):
        mark = found.marks.get(stream) or Mark(f"{stream}/000.jsonl", 0, 0)
        growing = int(Path(mark.file).stem)
        for folder in (root / stream, root / OPEN / stream):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                number = int(path.stem) if path.stem.isdecimal() else growing + 1
                if number > growing or (number == growing and not mark.rows):
                    path.unlink()
                elif path.suffix in _SEALED and number < growing:
                    (root / OPEN / stream / f"{path.stem}.jsonl").unlink(missing_ok=True)
        if mark.rows:
            opened += _cut_last(root, mark, max_lines, in_csv.get(stream, []))
    for name in ("steps", "flattened", OPEN):
        remove_empty(root / name)
    return opened


def _cut_last(root: Path, mark: Mark, max_lines: int, in_csv: list[Column]) -> list[_Opened]:
    """The part in which the last whole chunk ends."""
    part = root / mark.file
    sealed = _sealed_form(root, mark)
    if sealed is None:
        cut(part, mark.bytes)
    elif mark.rows >= max_lines:
        part.unlink(missing_ok=True)
    else:
        # Also where the open part is there: it may be from an opening that did not come to its end.
        unseal(sealed, part, mark.rows, in_csv)
        with open(part, "rb") as file:
            return [_Opened(sealed, part, array("Q", accumulate(map(len, file))))]
    return []


def _sealed_form(root: Path, mark: Mark) -> Path | None:
    if not mark.file.startswith(f"{OPEN}/"):
        return None
    stem = root / mark.file.removeprefix(f"{OPEN}/")
    return next((path for path in map(stem.with_suffix, _SEALED) if path.exists()), None)


def _cut_failed(root: Path, marks: dict[str, Mark]) -> None:
    folder = root / "failed"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        mark = marks.get(f"failed/{path.stem}")
        if mark is None or not mark.rows:
            path.unlink()
        else:
            cut(path, mark.bytes)
    remove_empty(folder)
