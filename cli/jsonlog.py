"""The run as JSON, one object a line: `event`, `time`, then the event's own fields. Knows events only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from chainette.cli.progress import RunState
from chainette.events import Event, RunStarted

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines:
    """Listens to a run and writes every event as one line of JSON."""

    def __init__(self, stream: TextIO | None = None, stamp: Callable[[], str] = _utc) -> None:
        self.state = RunState()
        self._stream = stream or sys.stdout
        self._stamp = stamp

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def __call__(self, event: Event) -> None:
        self.state.take(event)
        self.say(_CAPITAL.sub("_", type(event).__name__).lower(), _fields(event))

    def say(self, event: str, fields: dict[str, Any]) -> None:
        """One line, flushed, so that a reader at the other end of a pipe is never behind."""
        text = json.dumps({"event": event, "time": self._stamp(), **fields}, ensure_ascii=False, default=str)
        # A lone surrogate in foreign text cannot be encoded; it is written as it would be in ASCII.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        self._stream.write(text + "\n")
        self._stream.flush()


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = _rounded(asdict(event))
    if not isinstance(event, RunStarted):
        return fields
    fields["nodes"] = [{"id": node_id, "kind": kind, "label": label} for node_id, kind, label in event.nodes]
    fields["engines"] = [{"name": name, "description": text} for name, text in event.engines]
    return fields


def _rounded(value: Any) -> Any:
    """Seconds to the millisecond."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return value
