"""What a person thinks of a row: a label and a text, in `notes/` of the run folder. Knows ids, not rows.

An append-only log per step; of a row and turn the last record counts, and taking a note away is a record too. Nothing
else in the folder is touched, so a run may be going, resumed or retried meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chainette.errors import RunFolderError
from chainette.files.disk import make_below, write_all
from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE, folder_name
from chainette.files.views import turn_of, turns_of

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

NOTES = "notes"
GOOD, BAD = "good", "bad"
"""The labels with a key of their own; any short text is one."""
MAX_LABEL = 100
MAX_TEXT = 20_000
_MAX_LINE = 1 << 20
# No link is followed: the folder may be somebody else's, and what is written is only ever its own file.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Note:
    """One row's note. Without a label and a text there is none."""

    step: str
    row_id: str
    label: str = ""
    text: str = ""
    turns: tuple[int, ...] = ()
    """In a loop: of which turn; empty for the row as a whole."""
    by: str = ""
    time: str = ""
    """When it was written, in UTC."""

    @property
    def is_empty(self) -> bool:
        return not (self.label or self.text)

    def public(self) -> dict[str, Any]:
        """As JSON holds it, with the step."""
        return {"step": self.step, **_record(self)}


class Notes:
    """The notes of one run."""

    def __init__(self, run: Path, name_of: Callable[[str], str] = lambda stem: stem) -> None:
        """`name_of` gives the step of a file's name back."""
        self._run = run
        self._folder = run / NOTES
        self._name_of = name_of

    def all(self) -> Iterator[Note]:
        """Those that count, step by step, in the order of their first record.

        Raises:
            RunFolderError: a file cannot be read.
        """
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else ():
            yield from self._read(path, self._name_of(path.stem)).values()

    def of_step(self, step: str) -> dict[tuple[str, tuple[int, ...]], Note]:
        """By row and turn.

        Raises:
            RunFolderError: the file cannot be read.
        """
        return self._read(self._path(step), step)

    def of_row(self, step: str, row_id: str, turns: tuple[int, ...] = ()) -> Note | None:
        """Raises: RunFolderError: the file cannot be read."""
        return self.of_step(step).get((row_id, turns))

    def write(self, note: Note) -> Note:
        """Appends it and waits for the disk; an empty one takes away what is there. Returns it as it was written.

        Raises:
            RunFolderError: it is too long, or cannot be written.
        """
        for what, text, most in (("label", note.label, MAX_LABEL), ("note", note.text, MAX_TEXT)):
            if len(text) > most:
                raise RunFolderError(f"the {what} has {len(text):,} characters; at most {most:,} are kept")
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        written = Note(note.step, note.row_id, note.label, note.text, note.turns, note.by, now)
        path = self._path(note.step)
        try:
            _append(self._run, path, encode(_record(written)) + b"\n")
        except OSError as error:
            told = RunFolderError(f"cannot write {path}: {error.strerror or error}; the note is not kept")
            told.add_note("next: make the run folder writable, or copy it to where you may write")
            raise told from error
        return written

    def _path(self, step: str) -> Path:
        return self._folder / f"{folder_name(step)}.jsonl"

    def _read(self, path: Path, step: str) -> dict[tuple[str, tuple[int, ...]], Note]:
        found: dict[tuple[str, tuple[int, ...]], Note] = {}
        try:
            with open(path, "rb") as file:
                for line in iter(lambda: file.readline(_MAX_LINE), b""):
                    note = _note(line, step)
                    if note is None:
                        continue
                    if note.is_empty:
                        found.pop((note.row_id, note.turns), None)
                    else:
                        found[note.row_id, note.turns] = note
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
        return found


def check_row(reader: RunReader, step: str, row_id: str) -> None:
    """That the run has such a row at a step, be it that it failed there or only came into the chain.

    Raises:
        RunFolderError: the run has no such step, or the row was never there.
    """
    places = (reader.kin(step, row_id, 0), reader.kin_failures(step, row_id, 0), reader.kin(INPUT_NODE, row_id, 0))
    if any(row.get("_id") == row_id for rows in places for row in rows):
        return
    if step == INPUT_NODE or not any(call.get("_id") == row_id for call in reader.kin_calls(step, row_id, 0)):
        error = RunFolderError(f'no row "{row_id}" at {step} in {reader.path.name}')
        error.add_note(f"next: {shlex.join(['chainette', 'show', reader.path.name, step])}")
        raise error


def _append(run: Path, path: Path, line: bytes) -> None:
    if path.parent.is_symlink():
        raise OSError(errno.ELOOP, "it is a link to another folder")
    make_below(run, path.parent)
    fd = os.open(path, _FLAGS, 0o644)
    try:
        _lock(fd)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line
        write_all(fd, line)
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    """One writer at a time: two halves of a line would be two notes lost. The system gives it back with `fd`."""
    # Not on Windows, and not on every network disk: there a note is appended without.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX)


def _record(note: Note) -> dict[str, Any]:
    turn = {"_turn": turn_of(note.turns)} if note.turns else {}
    by = {"by": note.by} if note.by else {}
    said = {"label": note.label, "text": note.text} if not note.is_empty else {"deleted": True}
    return {"_id": note.row_id, **turn, **said, **by, "time": note.time}


def _note(line: bytes, step: str) -> Note | None:
    """None for what is no note: half a line, or a line of somebody else's."""
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("_id"), str):
        return None
    names = ("label", "text", "by", "time")
    texts = {name: record[name] if isinstance(record.get(name), str) else "" for name in names}
    if record.get("deleted") is True:
        texts["label"] = texts["text"] = ""
    return Note(step, record["_id"], turns=turns_of(record.get("_turn")), **texts)
