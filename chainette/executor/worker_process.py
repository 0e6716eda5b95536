"""What a worker process does: loads the function, builds its class, calls it on the rows it is sent. Knows no graph,
no files and no other worker.

The process ends when its pipe does, so it never outlives the run, whatever ended that.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any

from chainette.chain.context import Context, Unreachable, current
from chainette.chain.shape import Shape, class_of
from chainette.executor.apply_outcome import Told, is_many, listed, told
from chainette.executor.attribution import ListFunction, UnattributableError
from chainette.executor.own_copy import OwnCopy

FLUSH_S = 0.05
"""Results do not wait longer than this for others to be sent with, unless a row takes longer."""
_LAST_LINES = 12

loading = threading.Event()
"""Set in a worker while it imports what the user wrote, which must not start a run there."""
_UNREACHABLE = Unreachable("in a worker process: the row's past stays with the run")


@dataclass(frozen=True)
class Recipe:
    """How one apply's workers are made."""

    modules: tuple[tuple[str, str], ...]
    """(Name, file) of modules that must be there before anything is unpickled."""
    fn: bytes
    """The pickled function or class."""
    shape: bytes
    """The pickled shape, without its types."""
    run_id: str
    node_id: str
    params: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What a function may ask about a row beside its value."""

    row_id: str
    deadline: float | None
    """In unix time; of the row's other limits than the time it may take here."""
    turn: int | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Work:
    """Rows for a worker. A function on lists gets all of them at once."""

    values: bytes
    """The pickled list of what the function gets."""
    facts: Sequence[Facts]
    attempt: int
    timeout_s: float | None
    """For each row, from when its turn comes."""
    each: bool
    """Every result is sent as soon as it is there."""


Answered = tuple[bool, Any]
"""Whether it went well, and what came back, or what a failure says."""


class _Here:
    """Where this process is, for `chainette.context()`."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.facts: Sequence[Facts] = ()
        self.attempt = 1
        self.until: float | None = None

    def context(self) -> Context:
        deadlines = [limit for limit in (*(fact.deadline for fact in self.facts), self.until) if limit is not None]
        return Context(
            self._recipe.run_id,
            self._recipe.node_id,
            tuple([fact.row_id for fact in self.facts]),
            self.attempt,
            min(deadlines, default=None),
            MappingProxyType(pickle.loads(self._recipe.params)),
            MappingProxyType(pickle.loads(self._recipe.metadata)),
            self.facts[0].turn if self.facts else None,
            _UNREACHABLE,
        )


def work(pipe: Connection, recipe: Recipe, visible: str | None) -> None:
    """The whole life of a worker. `visible` is what CUDA_VISIBLE_DEVICES says here."""
    for name in ("SIGINT", "SIGHUP"):  # they come to the whole terminal; the run decides what they mean
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    pipe.send_bytes(pickle.dumps(("hello", "")))
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    try:
        worker = _Worker(pipe, recipe)
    except BaseException as error:  # the run is to know, and ends
        pipe.send_bytes(pickle.dumps(("unfit", _last_lines(error))))
        return
    pipe.send_bytes(pickle.dumps(("ready", "")))
    while job := jobs.get():
        worker.do(pickle.loads(job))
    worker.close()


def _listen(pipe: Connection, jobs: queue.SimpleQueue[bytes]) -> None:
    """Its own thread, so that the end of the run is seen while a function is at work. An empty message says: enough."""
    try:
        while job := pipe.recv_bytes():
            jobs.put(job)
    except (EOFError, OSError):
        os._exit(1)  # nobody is there any more to take what comes out
    jobs.put(b"")


class _Worker:
    """The function of this process."""

    def __init__(self, pipe: Connection, recipe: Recipe) -> None:
        self._pipe = pipe
        loading.set()
        for name, file in recipe.modules:
            load_module(name, file)
        self._here = _Here(recipe)
        current.set(self._here)
        fn = pickle.loads(recipe.fn)
        loading.clear()
        self._shape: Shape = pickle.loads(recipe.shape)
        self._named = fn
        self._is_built = class_of(fn) is not None
        self._fn: Callable[[Any], Any] = fn
        if self._is_built:
            self._fn = fn()
            setup = getattr(self._fn, "setup", None)
            if callable(setup):
                setup()
        self._list: ListFunction | None = None
        if self._shape.takes == "list":
            self._list = ListFunction(
                lambda values: listed(self._fn(values)), OwnCopy(), one_for_one=self._shape.one_for_one
            )

    def do(self, job: Work) -> None:
        values = pickle.loads(job.values)
        here = self._here
        here.attempt = job.attempt
        here.facts = job.facts
        if self._list is not None:
            self._send([self._called(self._list, values)])
            return
        waiting: list[Answered] = []
        sent = time.monotonic()
        for value, facts in zip(values, job.facts, strict=True):
            here.facts = (facts,)
            here.until = None if job.timeout_s is None else time.time() + job.timeout_s
            waiting.append(self._called(self._out, value))
            if job.each or time.monotonic() - sent > FLUSH_S:
                self._send(waiting)
                waiting = []
                sent = time.monotonic()
        if waiting:
            self._send(waiting)

    def _out(self, value: Any) -> Any:
        out = self._fn(value)
        return list(out) if is_many(out) and not isinstance(out, list | tuple | set) else out

    def _called(self, call: Callable[[Any], Any], given: Any) -> Answered:
        try:
            return True, call(given)
        except UnattributableError as error:
            return False, (*self._told(error), True)
        except BaseException as error:  # also SystemExit: it is the failure of one row, as in a thread
            return False, (*self._told(error), False)

    def _told(self, error: BaseException) -> Told:
        return told(error, self._named, self._shape)

    def _send(self, answers: list[Answered]) -> None:
        try:
            message = pickle.dumps(("some", answers), pickle.HIGHEST_PROTOCOL)
        except Exception:
            message = pickle.dumps(("some", [self._sendable(answer) for answer in answers]), pickle.HIGHEST_PROTOCOL)
        self._pipe.send_bytes(message)

    def _sendable(self, answer: Answered) -> Answered:
        try:
            pickle.dumps(answer)
        except Exception as error:
            kind = type(answer[1]).__name__
            message = f"returned {kind}, which cannot be sent from a worker process: {type(error).__name__}: {error}"
            return False, ("apply", message, (), False)
        return answer

    def close(self) -> None:
        close = getattr(self._fn, "close", None) if self._is_built else None
        if callable(close):
            close()


def load_module(name: str, file: str) -> None:
    """The module from its file, under the name it has in the run, unless it can be imported by that name."""
    if name in sys.modules:
        return
    try:
        known = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        known = None
    if known is not None and known.origin is not None and os.path.realpath(known.origin) == os.path.realpath(file):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _last_lines(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(lines[-_LAST_LINES:])
