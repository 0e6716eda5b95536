"""Finished calls and events on their way to disk: the write-ahead log. Knows nothing of what a record says.

Whoever says something only puts it on a list; `sync` writes and waits for the disk, in a thread of its own choosing.
"""

from __future__ import annotations

import threading
from pathlib import Path

from chainette.files.disk import RollingFile
from chainette.files.names import folder_name
from chainette.files.tails import cut_damaged, last_lines

CALLS_PER_FILE = 100_000
_ENDLESS = 1 << 62


class CallLog:
    """`calls/` and `events.jsonl` of one run folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._calls: list[tuple[str, bytes]] = []
        self._events: list[bytes] = []
        self._counts: dict[str, int] = {}
        self._files: dict[str, RollingFile] = {}
        self._event_file = RollingFile(root, root, _ENDLESS, name="events.jsonl")
        self._syncing = threading.Lock()
        self._closed = False

    def restore(self, node_ids: list[str]) -> None:
        """Goes on behind what the files hold. Half a line at the end of one is cut off, of the events also what lies
        behind a damaged one: what they said of chunks is said again, and nothing else hangs on them."""
        for node_id in node_ids:
            file = self._file(node_id)
            file.restore(*last_lines(self._root / "calls" / folder_name(node_id)))
            self._counts[node_id] = file.number * CALLS_PER_FILE + file.position.rows
        cut_damaged(self._root / "events.jsonl")
        self._event_file.restore(*last_lines(self._root, "events.jsonl"))

    def add_call(self, node_id: str, record: bytes) -> None:
        """One JSON object."""
        self._calls.append((node_id, record))
        self._counts[node_id] = self._counts.get(node_id, 0) + 1

    def add_event(self, record: bytes) -> None:
        """One JSON object."""
        self._events.append(record)

    def counts(self) -> dict[str, int]:
        """Per node how many calls are in the log or on their way there."""
        return dict(self._counts)

    def write(self) -> None:
        """Hand what was added to the system, so that it survives this process; `sync` makes it survive a power cut.

        Raises:
            RunFolderError: as `sync`.
        """
        with self._syncing:
            if not self._closed:
                self._write()

    def sync(self) -> None:
        """Make all that was added before this call durable. Waits for the disk.

        Raises:
            RunFolderError: the disk is full, the folder is gone or may not be written. What could not be written waits
                for the next `sync`.
        """
        with self._syncing:
            if not self._closed:
                self._write()
                for file in (*self._files.values(), self._event_file):
                    file.make_durable()

    def _write(self) -> None:
        """Events first, and all that were there before the last of the calls: no call is on disk whose chunk is not
        said to be read. What is said of calls that are done (`chunk_committed`) is said when they are on disk."""
        calls = list(self._calls)
        try:
            self._write_events()
        finally:
            self._write_calls(calls)

    def _write_calls(self, calls: list[tuple[str, bytes]]) -> None:
        by_node: dict[str, list[bytes]] = {}
        for node_id, record in calls:
            by_node.setdefault(node_id, []).append(record)
        written = set()
        try:
            for node_id, records in by_node.items():
                self._file(node_id).append(b"\n".join(records) + b"\n", len(records))
                written.add(node_id)
        finally:
            self._calls[: len(calls)] = [call for call in calls if call[0] not in written]

    def _write_events(self) -> None:
        events = list(self._events)
        if events:
            self._event_file.append(b"\n".join(events) + b"\n", len(events))
            del self._events[: len(events)]

    def _file(self, node_id: str) -> RollingFile:
        if node_id not in self._files:
            folder = self._root / "calls" / folder_name(node_id)
            self._files[node_id] = RollingFile(self._root, folder, CALLS_PER_FILE)
        return self._files[node_id]

    def close(self) -> None:
        with self._syncing:
            self._closed = True
            for file in (*self._files.values(), self._event_file):
                file.close()
