"""Functions and classes that worker processes import."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from pydantic import BaseModel

from chainette import Drop, context
from tests.models import Number


class Seen(BaseModel):
    value: int
    pid: int


def double(n: Number) -> Number:
    return Number(value=n.value * 2)


def where(n: Number) -> Seen:
    return Seen(value=n.value, pid=os.getpid())


def odd(n: Number) -> Number | None:
    return n if n.value % 2 else None


def split(n: Number):
    for value in range(n.value):
        yield Number(value=value)


def small(numbers: list[Number]) -> list[Number]:
    return [n for n in numbers if n.value < 3]


def touchy(n: Number) -> Number:
    if n.value == 3:
        raise ValueError("three")
    return n


def says_why(n: Number) -> Number | Drop:
    return n if n.value < 4 else Drop("too large")


def unsendable(n: Number):
    return lambda: n


def exits(n: Number) -> Number:
    if n.value == 3:
        os._exit(7)
    return n


def is_killed(numbers: list[Number]) -> list[Number]:
    if any(n.value == 3 for n in numbers):
        os.kill(os.getpid(), signal.SIGKILL)
    return [Number(value=n.value) for n in numbers]


class DiesOnce:
    """Kills its own process the first time it gets the number 3."""

    def __init__(self, mark: str) -> None:
        self.mark = Path(mark)

    def __call__(self, n: Number) -> Number:
        if n.value == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return n


def hangs(n: Number) -> Number:
    if n.value == 3:
        threading.Event().wait()
    return n


class Counted:
    """Writes down what happens to it, a line each."""

    def __init__(self, log: str) -> None:
        self.log = Path(log)
        self._note("built")

    def _note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def setup(self) -> None:
        self._note("setup")

    def __call__(self, n: Number) -> Number:
        return n

    def close(self) -> None:
        self._note("close")


class Batched:
    """A class that gets lists, as an embedder does."""

    def __call__(self, numbers: list[Number]) -> list[Number]:
        return [Number(value=n.value + len(numbers)) for n in numbers]


class Broken:
    def setup(self) -> None:
        raise RuntimeError("no model here")

    def __call__(self, n: Number) -> Number:
        return n


class Stillborn:
    def __init__(self) -> None:
        os._exit(9)

    def __call__(self, n: Number) -> Number:
        return n


class MendedBy:
    """Cannot be set up until a file is there."""

    def __init__(self, file: str) -> None:
        if not Path(file).exists():
            raise FileNotFoundError(file)

    def __call__(self, n: Number) -> Number:
        return n


class Devices:
    def __call__(self, n: Number) -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


class Where(BaseModel):
    run_id: str
    node_id: str
    row_ids: list[str]
    attempt: int
    deadline: float | None
    params: dict[str, str]
    metadata: dict[str, str]


def tells_where(n: Number) -> Where:
    here = context()
    return Where(
        run_id=here.run_id,
        node_id=here.node_id,
        row_ids=list(here.row_ids),
        attempt=here.attempt,
        deadline=here.deadline,
        params=dict(here.params),
        metadata=dict(here.metadata),
    )


def asks_for_its_past(n: Number) -> Number:
    return Number(value=context().chain_input.value)


class FailsTwice:
    """Raises at the first two tries of each row; says at which it did not."""

    def __call__(self, n: Number) -> Number:
        if context().attempt < 3:
            raise ConnectionError(f"try {context().attempt}")
        return Number(value=context().attempt)


def waits_for(n: Number) -> Number:
    """Number 9 makes a file and never returns; the others do."""
    if n.value == 9:
        Path("reached").write_text(str(os.getpid()))
        threading.Event().wait()
    return n
