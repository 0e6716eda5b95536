"""What a run says, and to whom: `events.jsonl`, where each thing stands once, and the listener. Decides nothing else.

A process that died may have said less of its chunks than it did, and, after a power cut, more than the disk has. The
next one sets that right before it says anything of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic_core import from_json

from chainette.events import (
    ChunkCommitted,
    ChunkRead,
    ChunksCutBack,
    Event,
    LineListener,
    Listener,
    Progressed,
)
from chainette.files.ledger import NAME, Ledger
from chainette.files.run_folder import RunFolder
from chainette.files.tailing import Tail
from chainette.observe import SaidChunks, event_fields, record_line

SNAPSHOT_S = 1.0
SNAPSHOT_SHARE = 1 / 1000
"""Between two snapshots in the file there are at least so many seconds, and later this share of the time gone: 6,000
lines in 40 hours."""


class Telling:
    """One process's words. Any thread may call `say`."""

    def __init__(self, folder: RunFolder, listener: Listener | None) -> None:
        self._folder = folder
        self._listener = listener
        self._takes_line = listener.take_line if isinstance(listener, LineListener) else None
        self._said = SaidChunks()
        self._due_s = 0.0
        self._kept: Progressed | None = None
        """The last snapshot in the file."""

    def say(self, event: Event) -> None:
        if isinstance(event, ChunkRead):
            known = self._said.rows_of(event.chunk)
            if known == (event.first, event.rows):
                return  # a process before this one has said it
            if known is not None:
                self.say(ChunksCutBack(event.chunk, "the rows are in other chunks now"))
                self._said.cut(event.chunk)
        line = self._write(event)
        if self._takes_line is not None:
            self._takes_line(event, line or record_line(event_fields(event)))
        elif self._listener is not None:
            self._listener(event)

    def _write(self, event: Event) -> bytes | None:
        """The line that stands for it in the file; None where none does."""
        if isinstance(event, Progressed) and not self._is_due(event):
            return None
        line = record_line(event_fields(event))
        self._folder.log_event(line)
        return line

    def say_last(self, progress: Progressed) -> None:
        """The last snapshot, which always stands in the file."""
        if self._kept is None or replace(self._kept, elapsed_s=progress.elapsed_s) != progress:
            self._due_s = 0.0
            self.say(progress)

    def _is_due(self, progress: Progressed) -> bool:
        if progress.elapsed_s < self._due_s:
            return False
        self._kept = progress
        self._due_s = progress.elapsed_s + max(SNAPSHOT_S, SNAPSHOT_SHARE * progress.elapsed_s)
        return True

    def missing(self, rows_stored: int, *, in_one: bool) -> list[Event]:
        """What is to be said before anything else, in a folder that was opened again; `inputs/` has that many rows.
        `in_one`: no chunk is whole before all are.

        Raises:
            RunFolderError: the events, or the commit records, cannot be read.
        """
        tail = Tail(self._folder.path / "events.jsonl")
        while lines := tail.lines():
            for line in lines:
                if line.startswith(_ABOUT_CHUNKS):
                    self._take(line)
        return [*self._cut_back(rows_stored, in_one), *self._recovered()]

    def _take(self, line: bytes) -> None:
        try:
            record = from_json(line)
        except ValueError:  # damaged: what it said will be said again
            return
        if isinstance(record, dict):
            self._said.take(record)

    def _cut_back(self, rows_stored: int, in_one: bool) -> Iterator[Event]:
        whole = self._folder.before.chunk
        if self._said.committed > whole:
            chunk, reason = whole + 1, _ALL_OR_NONE if in_one else _NOT_HELD
        else:
            found = self._said.first_beyond(rows_stored)
            if found is None:
                return
            chunk, reason = found, "inputs/ does not hold its rows any more"
        self._said.cut(chunk)
        yield ChunksCutBack(chunk, reason)

    def _recovered(self) -> Iterator[Event]:
        """What the commit records know and the events do not."""
        whole, said = self._folder.before.chunk, self._said
        if said.committed >= whole:
            return
        rows = 0
        for chunk in Ledger(self._folder.path / NAME).chunks():
            if chunk.index > whole:
                return
            first, rows = rows, rows + chunk.count.rows
            if chunk.index > said.committed:
                if said.rows_of(chunk.index) is None:
                    yield ChunkRead(chunk.index, first, rows - first, recovered=True)
                yield ChunkCommitted(chunk.index, rows, recovered=True)


_NOT_HELD = "the files do not hold it whole any more, or everything is made again"
_ALL_OR_NONE = "a function works on all rows of the run, so no chunk is whole before all are"
_ABOUT_CHUNKS = b'{"event":"chunk'
