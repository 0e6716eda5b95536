"""`chainette show RUN --follow`: another process's run as it goes on, from its `events.jsonl`. Starts nothing and
writes nothing; what is drawn is what the run's own terminal draws."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainette.cli.watching import Screen
    from chainette.files.reading import RunReader

LOOK_S = 0.25
_OF_CHUNKS = (b'{"event":"chunk_read"', b'{"event":"chunk_committed"')
_SNAPSHOT = b'{"event":"progressed"'
_BEGIN = b'{"event":"run_started"'
_END = b'{"event":"run_finished"'


def follow(reader: RunReader, screen: Screen, look_s: float = LOOK_S) -> int:
    """Until the run ends, dies, or nobody watches any more; returns the exit code.

    Raises:
        RunFolderError: the run is at a URL, or died; with what goes on with it.
    """
    from chainette.cli.trouble import INTERRUPTED, STOPPED
    from chainette.cli.wording import run_word
    from chainette.errors import RunFolderError
    from chainette.observe import event_of

    if str(reader.place) != str(reader.path):
        told = RunFolderError(f"{reader.place} can be followed on the machine that runs it")
        told.add_note(f"next: chainette show {run_word(reader.place)}")
        raise told
    out, err = sys.stdout, sys.stderr
    watcher = screen.watcher(out, err)
    try:
        with watcher:
            for line in _lines(reader.path, look_s):
                record = _record(line, reader.path)
                try:
                    event = event_of(record)
                except (AttributeError, KeyError, TypeError, ValueError):  # another version's, or nobody's
                    continue
                if event is not None:
                    watcher(event)
    except KeyboardInterrupt:
        err.write(f"no longer watching {reader.path.name}; it goes on\n")
        return INTERRUPTED
    finished = watcher.state.finished
    if finished is None:
        _refuse_dead(reader)
        return STOPPED
    screen.say_end(watcher.state, out, err, allowed=True, kept=True)
    return {"done": 0, "interrupted": INTERRUPTED}.get(finished.state, STOPPED)


def _refuse_dead(reader: RunReader) -> None:
    from chainette.cli.wording import run_word
    from chainette.errors import RunFolderError
    from chainette.files.runs import summarise

    run = summarise(reader.path)
    why = run.message or "nothing works on it, and its record has no end"
    told = RunFolderError(f"{run.name} is {run.state}: {why}")
    told.add_note(f"next: chainette {'show' if run.state == 'done' else 'resume'} {run_word(str(reader.path))}")
    raise told


def _lines(path: Path, look_s: float) -> Iterator[bytes]:
    """The events of the latest process that works or worked on the run, until its last.

    Of what was said before now, the latest snapshot stands for all earlier ones.
    """
    from chainette.files.run_lock import is_held
    from chainette.files.tailing import Tail

    tail = Tail(path / "events.jsonl")
    yield from _caught_up(tail)
    ended = False
    while not ended:
        held = is_held(path)
        found = tail.lines()
        for line in found:
            ended = line.startswith(_END)
            yield line
        if not found and not held:
            return
        if not found and not ended:
            time.sleep(look_s)


def _caught_up(tail: Any) -> list[bytes]:
    kept: list[bytes] = []
    snapshot: bytes | None = None
    while lines := tail.lines():
        for line in lines:
            if line.startswith(_BEGIN):
                kept, snapshot = [], None
            if line.startswith(_SNAPSHOT):
                snapshot = line
            elif not line.startswith(_OF_CHUNKS):
                kept += [snapshot, line] if line.startswith(_END) and snapshot else [line]
    if snapshot is not None and not (kept and kept[-1].startswith(_END)):
        kept.append(snapshot)
    return kept


def _record(line: bytes, path: Path) -> dict[str, Any]:
    from pydantic_core import from_json

    from chainette.errors import RunFolderError

    try:
        record = from_json(line)
    except ValueError as error:
        raise RunFolderError(f"{path / 'events.jsonl'}: a damaged line: {error}") from error
    return record if isinstance(record, dict) else {}
