"""Pushes a mirror in a thread of its own, so that a slow or absent store holds up nobody who writes locally."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from chainette.errors import RunFolderError
from chainette.files.mirror import PATIENCE_S, Mirror
from chainette.files.remote_store import StoreError

_IDLE_S = 5.0
_AGAIN_S = 1.0


class Carrier:
    """From `start` to `close` the one who pushes."""

    def __init__(self, mirror: Mirror, *, warn: Callable[[str], None] = lambda _: None, patience_s: float = PATIENCE_S):
        self._mirror = mirror
        self.warn = warn
        """Told when the store cannot be reached, and when it can again."""
        self._patience_s = patience_s
        self._nudged = threading.Event()
        self._ended = False
        self._error: RunFolderError | None = None
        self._failing_since: float | None = None
        # A daemon: a store that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._carry, name="chainette-mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """There is something new. Takes no time.

        Raises:
            RunFolderError: the store has failed for longer than `patience_s`, or for good.
        """
        if self._error is not None:
            raise self._error
        self._nudged.set()

    def close(self) -> None:
        """Carry over what is left and give the remote folder back.

        Raises:
            RunFolderError: it could not be carried over. The spool holds it all.
        """
        self._ended = True
        self._nudged.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        try:
            self._mirror.close()
        except RunFolderError as error:
            raise self._ending(error) from error

    def _carry(self) -> None:
        while not self._ended and self._error is None:
            # Also without news: the heartbeat is renewed with pushes.
            self._nudged.wait(_IDLE_S)
            self._nudged.clear()
            if self._ended:
                return
            try:
                self._mirror.push()
            except RunFolderError as error:
                self._failed(error)
            else:
                self._succeeded()

    def _failed(self, error: RunFolderError) -> None:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            if isinstance(error, StoreError) and error.passing:
                self.warn(f"{error} (the run goes on in {self._mirror.spool}; trying again)")
        if not (isinstance(error, StoreError) and error.passing) or now - self._failing_since >= self._patience_s:
            self._error = self._ending(error)
            return
        self._mirror.reconnect()
        self._nudged.wait(_AGAIN_S)
        self._nudged.set()

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            self.warn(f"{self._mirror.url} can be reached again")
            self._failing_since = None

    def _ending(self, error: RunFolderError) -> RunFolderError:
        mirror = self._mirror
        return RunFolderError(
            f"the run cannot be carried over to {mirror.url}: {error}\n"
            f"Everything is in {mirror.spool} on this machine; when the reason is gone: chainette resume {mirror.url}"
        )
