"""When a process is killed: by what it has done so far, drawn at random and the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.crash import disk
from tests.crash.program import Program
from tests.crash.server import Server

_START_S = 0.6
"""What Python and the imports take, about."""


@dataclass(frozen=True)
class Whole:
    """What an undisturbed run comes to, to know how far one is."""

    calls: int
    parts: int
    """In their final form, where there are open ones too."""
    seconds: float


@dataclass(frozen=True)
class Moment:
    """A moment in the life of one process."""

    words: str
    reached: Callable[[Program], bool]


def draw(random: Random, whole: Whole, run: Path, server: Server) -> Moment:
    """A moment that the process which is about to be started will most likely come to."""
    left = whole.calls - disk.calls(run)
    kinds = ["age", "written", "written"]
    if left > 50:
        kinds += ["call", "call", "last call"]
    if whole.parts > disk.sealed(run):
        kinds += ["sealed", "sealed", "sealing"]
    if run.exists():
        kinds += ["recovery", "recovery"]
    kind, share = random.choice(kinds), random.random()
    if kind == "age":
        after_s = share * (_START_S + (whole.seconds - _START_S) * left / whole.calls)
        return Moment(f"{after_s:.2f} s after its start", lambda program: program.age_s >= after_s)
    if kind == "call":
        goal = server.calls() + int(share * left) + 1
        return Moment(f"call {int(share * left) + 1:,} of {left:,}", lambda _: server.calls() >= goal)
    if kind == "last call":
        last = server.calls() + left
        return later("the last call", lambda: server.calls() >= last, random.randrange(100))
    if kind == "sealing":
        return later("a part that is being sealed", lambda: disk.temporaries(run / ".open") > 0, random.randrange(30))
    if kind == "sealed":
        there = disk.sealed(run)
        parts = there + 1 + int(share * (whole.parts - there))
        return Moment(f"part {parts} of {whole.parts} sealed", lambda _: disk.sealed(run) >= parts)
    if kind == "recovery":
        before = disk.sizes(run)
        return later("the first change of a file", lambda: disk.sizes(run) != before, random.randrange(15))
    return _written(random, run)


def commit(run: Path) -> Moment:
    """The first commit from now on."""
    there = disk.size(run, "commits.jsonl")
    return Moment("a commit", lambda _: disk.size(run, "commits.jsonl") > there)


def _written(random: Random, run: Path) -> Moment:
    """When the log or the commits grow, which they do twice a second."""
    name = random.choice(["calls", "commits.jsonl"])
    times, size = random.randrange(1, 4), disk.size(run, name)

    def grown() -> bool:
        nonlocal times, size
        now = disk.size(run, name)
        times -= now > size
        size = now
        return times <= 0

    return later(f"{name} grew {times} times", grown, random.randrange(8))


def later(words: str, reached: Callable[[], bool], looks: int) -> Moment:
    """So many looks after a moment; they are some 5 ms apart."""
    met = False

    def reached_later(_: Program) -> bool:
        nonlocal met, looks
        met = met or reached()
        looks -= met
        return looks < 0

    return Moment(f"{words}, {looks} looks later", reached_later)
