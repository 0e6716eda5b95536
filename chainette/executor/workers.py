"""Worker processes of one apply: started when rows are there, replaced when they die, ended with the run. Knows
pickles and pipes, neither rows nor graphs.

Not `concurrent.futures.ProcessPoolExecutor`: there one dead worker breaks the pool and takes every pending call with
it, and nobody learns which call killed it. Here a worker has its own pipe and its own rows, so only those are in doubt.
https://docs.python.org/3/library/concurrent.futures.html#concurrent.futures.process.BrokenProcessPool
"""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from chainette.errors import ChainError, Problem, RunStoppedError
from chainette.executor.worker_process import Answered, Recipe, Work, loading, work

_END_S = 30.0
"""What `close()` of a class may take when the run ends as it should."""
_DIE_S = 10.0

Until = Callable[[], float | None]
"""When the time of the row that is at work is over, on the monotonic clock."""


class WorkerDied(Exception):
    """The process is gone, and with it what it was doing; says how."""


class RowTooLong(Exception):
    """A row's time was over; its worker was ended."""


class Worker:
    """One process. Used by one thread at a time; what blocks is in that thread."""

    def __init__(self, recipe: Recipe, name: str, visible: str | None) -> None:
        self._recipe = recipe
        self._name = name
        self._visible = visible
        self._process: SpawnProcess | None = None
        self._pipe: Connection
        self._lock = threading.Lock()
        self._ended = False

    def answers(self, job: Work, until: Until) -> Iterator[list[Answered]]:
        """What comes back, some answers at a time; the caller knows how many it waits for.

        Raises:
            WorkerDied: on the way; what was not answered is not known.
            RowTooLong: the time was over.
            RunStoppedError: it cannot be set up at all.
        """
        self.prepare()
        try:
            self._pipe.send_bytes(pickle.dumps(job, pickle.HIGHEST_PROTOCOL))
        except OSError:
            raise WorkerDied(_code(self._buried())) from None
        while True:
            limit = until()
            try:
                if limit is not None and not self._pipe.poll(max(0.0, limit - time.monotonic())):
                    self.kill()
                    raise RowTooLong
                message = self._pipe.recv_bytes()
            except (EOFError, OSError):
                raise WorkerDied(_code(self._buried())) from None
            try:
                answers = pickle.loads(message)[1]
            except Exception as error:  # a class that cannot be unpickled
                self.kill()
                raise WorkerDied(f"what it sent cannot be read: {type(error).__name__}: {error}") from None
            yield answers

    def prepare(self) -> None:
        """Returns when the process is ready for rows.

        Raises:
            RunStoppedError: it cannot be set up at all.
            WorkerDied: the run ends meanwhile.
        """
        with self._lock:
            if self._ended:
                raise WorkerDied("the run ends")
            if self._process is not None:
                return
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self._recipe, self._visible), name=self._name)
            try:
                process.start()
            finally:
                theirs.close()
            self._process = process
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        said = ""
        try:
            while said != "ready":
                said, words = pickle.loads(self._pipe.recv_bytes())
                if said == "unfit":
                    self._buried()
                    raise RunStoppedError(f'apply "{self._recipe.node_id}": its worker could not be set up\n{words}')
        except (EOFError, OSError):
            code, ended = self._buried(), self._ended
            if ended:
                raise WorkerDied(_code(code)) from None
            raise RunStoppedError(self._stillborn(said, code)) from None

    def _stillborn(self, said: str, code: int | None) -> str:
        where = f'apply "{self._recipe.node_id}"'
        if said:
            return f"{where}: its worker process died (exit code {code}) while it was set up"
        return (
            f"{where}: its worker process ended (exit code {code}) before it could load the function; what it wrote is "
            'on stderr (a script that starts a run needs `if __name__ == "__main__":` around it)'
        )

    def _buried(self) -> int | None:
        """Ends what is left of the process. Returns its exit code."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        process.join(_DIE_S)
        if process.is_alive():
            process.kill()
            process.join()
        self._pipe.close()
        return process.exitcode

    def kill(self) -> None:
        """At once. The next rows start another one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()

    def end(self, *, gently: bool) -> None:
        """For good. Any thread; whoever waits for answers is told that the worker died."""
        with self._lock:
            self._ended = True
            process = self._process
        if process is None:
            return
        if gently:
            with suppress(OSError):
                self._pipe.send_bytes(b"")
            process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()


class Pool:
    """The workers of one apply, those that were used last first."""

    def __init__(self, recipe: Recipe, visible: Sequence[str | None]) -> None:
        """One worker for each of `visible`, what its CUDA_VISIBLE_DEVICES says."""
        name = f"chainette-{recipe.node_id}"
        self._all = [Worker(recipe, f"{name}-{number}", devices) for number, devices in enumerate(visible)]
        self._free = list(reversed(self._all))

    @property
    def size(self) -> int:
        return len(self._all)

    def take(self) -> Worker:
        """On the loop; there is one free."""
        return self._free.pop()

    def give_back(self, worker: Worker) -> None:
        self._free.append(worker)

    def close(self, *, gently: bool) -> None:
        """Blocks until no process is left. With `gently` each may finish its `close()`."""
        enders = [threading.Thread(target=lambda w=worker: w.end(gently=gently)) for worker in self._all]
        for thread in enders:
            thread.start()
        for thread in enders:
            thread.join()


def refuse_in_worker() -> None:
    """
    Raises:
        ChainError: this process is a worker that only loads the user's script, and the script starts a run.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False) or loading.is_set():
        message = "a worker process loads this script, and the script starts a run again"
        hint = 'put the run under `if __name__ == "__main__":`'
        raise ChainError(Problem("the script", message, hint))


def _code(exit_code: int | None) -> str:
    return f"exit code {exit_code}"


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
