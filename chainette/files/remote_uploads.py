"""Large files on their way under their own names, while pushes go on. Knows no snapshots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from chainette.files.remote_store import RemoteStore, StoreError


class Uploads:
    """Files whose bytes are safe in pieces already, so nothing waits for these."""

    def __init__(self, store: RemoteStore, spool: Path) -> None:
        self._store = store
        self._spool = spool
        self._going: dict[str, _Upload] = {}

    def is_done(self, name: str, epoch: str, *, begin: bool) -> bool:
        """Whether the file, as it is since `epoch`, is there whole. With `begin`, it is brought there if not."""
        upload = self._going.get(name)
        if upload is not None and upload.epoch == epoch and upload.done:
            return True
        # One after the other: together they would only be slower.
        if begin and not self._are_going():
            self._going[name] = _Upload(epoch, lambda: self._store.upload(self._spool / name, name))
            self._going[name].start()
        return False

    def forget(self, name: str) -> None:
        self._going.pop(name, None)

    def _are_going(self) -> bool:
        return any(upload.is_alive() for upload in self._going.values())

    def wait(self) -> None:
        """Until none is under way."""
        for upload in self._going.values():
            upload.join()


class _Upload(threading.Thread):
    def __init__(self, epoch: str, upload: Callable[[], None]) -> None:
        # A daemon: a store that never answers must not keep the process from ending.
        super().__init__(name="chainette-upload", daemon=True)
        self.epoch = epoch
        self.done = False
        self.failed = False
        self._upload = upload

    def run(self) -> None:
        try:
            self._upload()
        except StoreError:
            self.failed = True  # pushes fail for the same reason, and say it
        else:
            self.done = True
