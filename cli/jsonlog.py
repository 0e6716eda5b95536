"""The run as JSON, one object a line: `event`, `time`, then the event's own fields. Knows events only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, TextIO

from chainette.cli.progress import RunState
from chainette.cli.streams import Unwritable
from chainette.events import Event
from chainette.observe import event_fields, record_line, utc_now


class JsonLines:
    """Listens to a run and writes every event as one line of JSON: the lines of `events.jsonl`, with more snapshots.

    When they can no longer be written the run goes on, and the error is raised at its end.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.state = RunState()
        self._stream = stream or sys.stdout
        self._failed: Exception | None = None

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._failed is not None and error is None:
            raise self._failed

    def __call__(self, event: Event) -> None:
        self.take_line(event, record_line(event_fields(event)))

    def take_line(self, event: Event, line: bytes) -> None:
        """As it stands in the run's `events.jsonl`."""
        self.state.take(event)
        self._write(line)

    def say(self, event: str, fields: dict[str, Any]) -> None:
        """A line for what is no event of a run, an error before its start, say."""
        self._write(record_line({"event": event, "time": utc_now(), **fields}))

    def _write(self, line: bytes) -> None:
        """Flushed, so that a reader at the other end of a pipe is never behind."""
        if self._failed is not None:
            return
        try:
            self._stream.write(line.decode() + "\n")
            self._stream.flush()
        except (OSError, Unwritable) as error:
            self._failed = error
