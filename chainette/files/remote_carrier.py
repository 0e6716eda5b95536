"""Holds a remote run folder for a run, and carries over what the run writes.

In threads of its own: a slow or absent store holds up nobody who writes locally, and long uploads hold up no heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

from chainette.errors import RunFolderError
from chainette.files.mirror import Mirror
from chainette.files.new_folder import check_empty, may_be_cleared
from chainette.files.remote_store import StoreError
from chainette.files.runs import is_run_folder

_IDLE_S = 5.0
_AGAIN_S = 1.0
_BETWEEN_S = 0.4
"""Pushes are apart by this at least: with it, two a second at most, and each is a request that is paid for."""


class Carrier:
    """From `take` to `close` the owner of a remote run folder."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.url: str | None = mirror.url
        """Without a password."""
        self.path = mirror.spool
        """Where the run works."""
        self.warnings: SimpleQueue[str] = SimpleQueue()
        self._pushing = threading.Lock()
        self._nudged = threading.Event()
        self._carries = False
        self._pushed = False
        self._ended = threading.Event()
        self._error: RunFolderError | None = None
        self._failing_since: float | None = None
        self._over = threading.Event()
        # Daemons: a store that never answers must not keep the process from ending.
        self._carrying = threading.Thread(target=self._carry, name="chainette-carrier", daemon=True)
        self._beating = threading.Thread(target=self._beat, name="chainette-heartbeat", daemon=True)

    @classmethod
    def take(cls, url: str | os.PathLike[str]) -> Carrier:
        """The folder at `url`, held. Its heartbeat begins.

        Raises:
            RunFolderError: another process writes it (named); it cannot be written; there is no such bucket or package.
        """
        mirror = Mirror(url)
        mirror.take()
        carrier = cls(mirror)
        carrier.start()
        return carrier

    def start(self) -> None:
        """The heartbeat begins."""
        self._beating.start()
        self._carrying.start()

    def wait(self) -> None:
        """Until it carries nothing any more."""
        self._carrying.join()

    def begin_new(self) -> None:
        """For a run that is new.

        Raises:
            RunFolderError: there is something in the folder already.
        """
        try:
            names = self._mirror.names()
            if not names:
                self._mirror.begin_empty()
            elif may_be_cleared(names):
                self._mirror.pull()
                check_empty(self.path)
            elif "graph.json" in names or "status.json" in names:
                raise RunFolderError(f"{self.url} holds a run already (name another --output-dir, or delete it)")
            else:
                shown = ", ".join(sorted(names)[:3])
                raise RunFolderError(f"{self.url} is not empty: {shown} (name a new or empty folder)")
        except BaseException:
            self.release()
            raise
        self._carries = True

    def begin_again(self) -> None:
        """For a run that goes on: the spool becomes what the folder holds. Nothing is carried before `push`.

        Raises:
            RunFolderError: it cannot be read, or there is no room for it here.
        """
        try:
            self._mirror.pull()
            if not is_run_folder(self.path):
                raise RunFolderError(f"there is no run at {self.url} (it has neither graph.json nor status.json)")
        except BaseException:
            self.release()
            raise

    def push(self) -> None:
        """Carry over now what there is, and from now on what there will be.

        Raises:
            RunFolderError: it could not be carried over.
        """
        try:
            with self._pushing:
                self._mirror.push_patiently()
        except RunFolderError as error:
            raise self._ending(error) from error
        self._carries = self._pushed = True

    def push_first(self) -> None:
        """`push`, unless there was one: a folder that cannot be written is found out before anything starts."""
        if not self._pushed:
            self.push()

    def nudge(self) -> None:
        """There is something new. Takes no time.

        Raises:
            RunFolderError: the store has failed for too long, or for good.
        """
        if self._error is not None:
            raise self._error
        self._nudged.set()

    def take_warnings(self) -> list[str]:
        """That the store cannot be reached, or can be again."""
        taken = []
        while not self.warnings.empty():
            taken.append(self.warnings.get())
        return taken

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """While files of the run are exchanged for others: the folder shows all of that, or nothing of it."""
        with self._pushing:
            yield

    def close(self) -> None:
        """Carry over what is left, make the folder an ordinary one and give it back.

        Raises:
            RunFolderError: it could not be carried over. The spool holds it all.
        """
        self._stop_carrying()
        try:
            if self._error is not None:
                raise self._error
            self._mirror.close()
        except RunFolderError as error:
            raise error if error is self._error else self._ending(error) from error
        finally:
            self._give_back()

    def release(self) -> None:
        """Give the folder back as it is."""
        self._stop_carrying()
        self._give_back()

    def _give_back(self) -> None:
        self._over.set()
        with contextlib.suppress(RunFolderError):  # whoever comes next waits until the heartbeat is old
            self._mirror.release()

    def _stop_carrying(self) -> None:
        self._ended.set()
        self._nudged.set()
        if self._carrying.is_alive():
            self._carrying.join()

    def _beat(self) -> None:
        while not self._over.wait(_IDLE_S):
            try:
                self._mirror.beat()
            except StoreError:
                continue  # a push will say so, or the next beat will go well
            except RunFolderError as error:
                self._error = self._error or self._ending(error)
                return

    def _carry(self) -> None:
        while self._error is None and not self._ended.wait(_BETWEEN_S):
            # Also without news: what was not carried over because of an error is tried again.
            self._nudged.wait(_IDLE_S)
            self._nudged.clear()
            if self._ended.is_set():
                return
            if not self._carries:
                continue
            try:
                with self._pushing:
                    self._mirror.push()
            except RunFolderError as error:
                self._failed(error)
            except Exception as error:  # a thread that dies silently would carry nothing any more
                self._error = self._ending(RunFolderError(f"{type(error).__name__}: {error}"))
            else:
                self._succeeded()

    def _failed(self, error: RunFolderError) -> None:
        now = time.monotonic()
        passing = isinstance(error, StoreError) and error.passing
        if self._failing_since is None:
            self._failing_since = now
            if passing:
                self.warnings.put(f"{error} (the run goes on in {self.path}; trying again)")
        if not passing or now - self._failing_since >= self._mirror.patience_s:
            self._error = self._ending(error)
            return
        self._mirror.reconnect()
        self._ended.wait(_AGAIN_S)
        self._nudged.set()

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            self.warnings.put(f"{self.url} can be reached again")
            self._failing_since = None

    def _ending(self, error: RunFolderError) -> RunFolderError:
        return RunFolderError(
            f"the run cannot be carried over to {self.url}: {error}\n"
            f"Everything is in {self.path} on this machine; when the reason is gone: chainette resume {self.url}"
        )
