"""Calls that were made before and need not be made again. Knows the logs they are in, not what they say."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from chainette.files.call_index import CallIndex
from chainette.rows import Again


@dataclass(slots=True)
class Past:
    """Where a call is looked up before it is made. Asked from one thread at a time."""

    own: CallIndex | None = None
    """This run's own log: a row gets what it got, failed calls included."""
    healed: CallIndex | None = None
    """What of the own log was added since failures are being healed: the only calls their rows get."""
    other: CallIndex | None = None
    """Another run's log, or the own one from before the chain changed: a row may take any call of its key, once."""
    other_run: str = ""
    costs_counted: bool = False
    """What the own calls cost is in the counts already."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False
    """A look-up that was under way in a thread when the run was stopped finds nothing, and opens no file again."""

    def find(
        self, node_id: str, row_id: str, key: str, attempt: int, again: Again | None
    ) -> tuple[dict[str, Any], bool] | None:
        """The record, and whether it is another row's or run's, so that it has to be noted down as this row's."""
        with self._lock:
            return None if self._closed else self._find(node_id, row_id, key, attempt, again)

    def _find(
        self, node_id: str, row_id: str, key: str, attempt: int, again: Again | None
    ) -> tuple[dict[str, Any], bool] | None:
        if again is not None and (node_id, row_id) in again.anew:
            record = self.healed.find(key, attempt, row_id, node_id=node_id) if self.healed is not None else None
            return None if record is None else (record, False)
        if self.own is not None:
            record = self.own.find(key, attempt, row_id, node_id=node_id)
            if record is not None:
                return record, False
        if self.other is not None:
            record = self.other.take(key, attempt, row_id, node_id=node_id)
            if record is not None:
                return record, True
        return None

    def recorded(self, node_id: str, row_id: str, key: str, *, others: bool) -> dict[str, Any] | None:
        """A record that is not a row's call, from the own log or the other run's. It can be had any number of times."""
        with self._lock:
            found = None if self._closed else self.other if others else self.own
            return None if found is None else found.find(key, 1, row_id, node_id=node_id)

    def earlier(self, node_id: str, row_id: str, key: str, attempt: int) -> dict[str, Any] | None:
        """What a row that is being healed got before."""
        with self._lock:
            found = None if self.own is None or self._closed else self.own
            return None if found is None else found.find(key, attempt, row_id, node_id=node_id)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close()

    def _close(self) -> None:
        for index in (self.own, self.healed, self.other):
            if index is not None:
                index.close()
