"""What a run's time went into: from its end back, each moment to the one thing that was waited for. Opens no file.

The walk begins at the call that ended last. A call could not begin before
- its row came out of the step before (its own call there, or an earlier attempt or turn),
- a slot was free: the window was full, and another call of the engine ended,
- its engine was ready, awake, or allowed to be asked again,
- its rows were read, or all rows of a step before had come, where a stage, join or function waits for them.
Of these, the one that came last is what it waited for, and the walk goes on from there to the beginning of the process.
Each moment of each process is counted once, so the parts add up to the time that the run was at work. It is one path:
where several calls ended at nearly the same time, making one of them quicker would not have made the run so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chainette.observe.engine_track import EngineTrack
from chainette.observe.latency import Calls
from chainette.observe.timeline import Session, Timeline
from chainette.observe.ways import Ways

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from chainette.observe.latency import Floats

    Numbers = npt.NDArray[np.int64]

Kind = Literal["call", "queue", "start", "rate_limit", "function", "input", "between", "end", "further"]

AT_ONCE_S = 0.05
"""A call that begins so soon after its row is there has waited for nothing else."""
_CLOCK_S = 0.002
"""By how much a call may seem to begin before what it waited for."""
_FULL = 0.9
"""A few slots are always on their way between two calls."""
_NO_TIME_S = 1e-6
"""Under what a moment of the clock is told apart from the next."""
MOST_HOPS = 200_000
"""Calls after which the walk ends; the time before is said to be further back."""
_Gap = tuple[Kind, str]
_NO_GAP: _Gap = ("between", "")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the path that lies together."""

    kind: Kind
    name: str
    """A step, an engine or functions; empty where it is none of them."""
    start_s: float
    end_s: float


@dataclass(slots=True)
class Part:
    """All stretches of one kind and name."""

    kind: Kind
    name: str
    seconds: float = 0.0
    times: int = 0
    share: float = 0.0
    """Of the time that the run was at work."""


@dataclass(slots=True)
class CriticalPath:
    seconds: float
    """The parts', added up, and the processes'."""
    parts: list[Part]
    """The largest first."""
    longest: list[Stretch]
    """The longest stretches, the first first."""


def critical_path(timeline: Timeline, calls: Calls, ways: Ways, longest: int = 20) -> CriticalPath | None:
    """`calls` are on the timeline's clock. None where not all calls were looked at, or there is nothing to walk on."""
    if calls.sample is not None or not timeline.sessions:
        return None
    parts: dict[tuple[str, str], Part] = {}
    stretches: list[Stretch] = []
    for session in timeline.sessions:
        walked = list(_Walk(session, calls, ways).back())
        for stretch in walked:
            part = parts.setdefault((stretch.kind, stretch.name), Part(stretch.kind, stretch.name))
            part.seconds += stretch.end_s - stretch.start_s
            part.times += 1
        stretches = sorted(stretches + walked, key=lambda one: one.start_s - one.end_s)[:longest]
    whole = timeline.seconds
    for part in parts.values():
        part.share = part.seconds / whole if whole > 0 else 0.0
    listed = sorted((part for part in parts.values() if part.seconds > 0), key=lambda part: -part.seconds)
    return CriticalPath(whole, listed, sorted(stretches, key=lambda one: one.start_s))


class _Ordered:
    """Some calls of one process by their ends."""

    def __init__(self, which: Numbers, starts: Floats, ends: Floats) -> None:
        import numpy as np

        self._by_end = which[np.argsort(ends[which], kind="stable")]
        self._ends = ends[self._by_end]
        self._starts_by_end = starts[self._by_end]
        self._starts = np.sort(self._starts_by_end)
        begun = np.arange(1, len(self._starts) + 1)
        self.peak = int((begun - self._ends.searchsorted(self._starts, side="right")).max(initial=0))
        """Most in flight at once."""

    def last_before(self, at_s: float) -> int | None:
        """The call that ended last by then, of those that took any time before it."""
        place = int(self._ends.searchsorted(at_s + _NO_TIME_S, side="right")) - 1
        while place >= 0 and self._starts_by_end[place] >= at_s:
            place -= 1
        return int(self._by_end[place]) if place >= 0 else None

    def in_flight(self, at_s: float) -> int:
        """Just before that moment."""
        begun = int(self._starts.searchsorted(at_s - _NO_TIME_S, side="right"))
        return begun - int(self._ends.searchsorted(at_s - _NO_TIME_S, side="right"))


class _Walk:
    """One process, from its end to its beginning."""

    def __init__(self, session: Session, calls: Calls, ways: Ways) -> None:
        import numpy as np

        self._session = session
        self._ways = ways
        self._names = calls.steps
        starts, ends = calls["started_s"], calls["started_s"] + calls["seconds"]
        chosen = np.flatnonzero(calls.made & (starts < session.ended_s) & (ends > session.started_s))
        self._starts = np.maximum(starts[chosen], session.started_s)
        self._ends = np.minimum(ends[chosen], session.ended_s)
        self._step = calls["step"][chosen]
        self._queue = np.nan_to_num(calls["queue_s"][chosen])
        self._row, self._parent, root = (calls[name][chosen] for name in ("row", "parent", "root"))
        self._by_root = np.argsort(root, kind="stable")
        self._roots = root[self._by_root]
        self._roots_of = root
        self._numbers = np.arange(len(chosen))
        self._all = _Ordered(self._numbers, self._starts, self._ends)
        self._of_engine = {name: self._of_steps(steps) for name, steps in ways.engines.items()}
        self._feeding: dict[str, _Ordered] = {}
        self._read_s = np.sort(np.asarray(session.chunks.read_s, np.float64))

    def _of_steps(self, steps: Collection[str]) -> _Ordered:
        import numpy as np

        wanted = [position for position, name in enumerate(self._names) if name in steps]
        return _Ordered(self._numbers[np.isin(self._step, wanted)], self._starts, self._ends)

    def back(self) -> Iterator[Stretch]:
        """From the end of the process to its beginning, without a gap."""
        began_s, at_s = self._session.started_s, self._session.ended_s
        call = self._all.last_before(at_s)
        if call is not None:
            yield Stretch("end", "", self._end(call), at_s)
            at_s = self._end(call)
        for _ in range(MOST_HOPS):
            if call is None:
                break
            start_s = float(self._starts[call])
            yield from self._of_call(call, start_s, at_s)
            stretches, call, at_s = self._wait(call, start_s)
            yield from stretches
        if call is not None:
            yield Stretch("further", "", began_s, at_s)
        else:
            yield from self._to_the_beginning(at_s)

    def _end(self, call: int) -> float:
        return float(self._ends[call])

    def _of_call(self, call: int, start_s: float, end_s: float) -> Iterator[Stretch]:
        name = self._names[self._step[call]]
        taken_s = min(end_s, start_s + float(self._queue[call]))
        if taken_s < end_s:
            yield Stretch("call", name, taken_s, end_s)
        if start_s < taken_s:
            yield Stretch("queue", name, start_s, taken_s)

    def _wait(self, call: int, start_s: float) -> tuple[list[Stretch], int | None, float]:
        """What lies between the call's start and what it waited for; the call to go on with, and from when."""
        name = self._names[self._step[call]]
        engine = self._ways.engine_of.get(name, "")
        own = self._own(call, name, start_s)
        if own is not None and start_s - self._end(own) <= AT_ONCE_S:
            return self._to(own, start_s, self._gap(own, name), engine)
        functions = self._gap(own, name) if own is not None else _NO_GAP
        bounds = [(self._end(own), 4, own)] if own is not None else []
        bounds += [(self._end(freed), 2, freed) for freed in self._freed(engine, start_s, full=True)]
        bounds += [(self._end(other), 0, other) for other in self._fed(name, start_s)]
        bounds += [(read_s, 1, -1) for read_s in self._read_before(start_s) if own is None]
        held = _held_before(self._session.engines.get(engine), start_s)
        bounds += [(held.end_s, 3, -1)] if held is not None else []
        if functions == _NO_GAP and start_s - max((bound[0] for bound in bounds), default=-1.0) > AT_ONCE_S:
            # Nothing else explains so long a wait: the window was smaller than it is known to have been.
            bounds += [(self._end(freed), 2, freed) for freed in self._freed(engine, start_s, full=False)]
        if not bounds:
            return self._on([], start_s, "between")
        bound_s, rank, found = max(bounds)
        if found >= 0:
            return self._to(found, start_s, functions if rank == 4 else _NO_GAP, engine)
        bound_s = min(bound_s, start_s)
        stretches = list(self._waited(_NO_GAP, bound_s, start_s, engine))
        if rank == 3 and held is not None:
            stretches.append(Stretch(held.kind, engine, held.start_s, bound_s))
            return self._on(stretches, held.start_s, "between")
        return self._on(stretches, bound_s, "input")

    def _to(self, call: int, start_s: float, gap: _Gap, engine: str) -> tuple[list[Stretch], int, float]:
        bound_s = min(start_s, self._end(call))
        return list(self._waited(gap, bound_s, start_s, engine)), call, bound_s

    def _waited(self, gap: _Gap, start_s: float, end_s: float, engine: str) -> Iterator[Stretch]:
        """A wait that no call explains; what of it was a rate limit of the engine is said to be one."""
        track = self._session.engines.get(engine)
        for held in track.throttled if track is not None and gap == _NO_GAP and start_s < end_s else ():
            from_s, to_s = max(start_s, held.start_s), min(end_s, held.end_s)
            if from_s < to_s:
                if start_s < from_s:
                    yield Stretch(*gap, start_s, from_s)
                yield Stretch("rate_limit", engine, from_s, to_s)
                start_s = to_s
        if start_s < end_s:
            yield Stretch(*gap, start_s, end_s)

    def _on(self, stretches: list[Stretch], at_s: float, kind: Kind) -> tuple[list[Stretch], int | None, float]:
        """Goes on with the call that ended last by then; what lies between is said to be of `kind`."""
        call = self._all.last_before(at_s)
        if call is None:
            return stretches, None, at_s
        end_s = min(at_s, self._end(call))
        return [*stretches, *([Stretch(kind, "", end_s, at_s)] if end_s < at_s else [])], call, end_s

    def _gap(self, own: int, name: str) -> _Gap:
        """What a row went through between two calls."""
        functions = self._ways.between(self._names[self._step[own]], name)
        return ("function", ", ".join(functions)) if functions else _NO_GAP

    def _own(self, call: int, name: str, start_s: float) -> int | None:
        """The last call before it of the row itself, of one that it was made from or of one that was made from it."""
        row, parent, root = int(self._row[call]), int(self._parent[call]), int(self._roots_of[call])
        kin = self._by_root[self._roots.searchsorted(root) : self._roots.searchsorted(root, side="right")]
        theirs = self._row[kin]
        related = (theirs == row) | (theirs == parent) | (theirs == root) | (self._parent[kin] == row)
        fits = (related | (root == row)) & (self._ends[kin] <= start_s + _CLOCK_S) & (self._starts[kin] < start_s)
        before = self._ways.before.get(name, frozenset())
        found = [one for one in kin[fits].tolist() if (id := self._names[self._step[one]]) == name or id in before]
        return max(found, key=self._end, default=None)

    def _freed(self, engine: str, start_s: float, *, full: bool) -> list[int]:
        """The call whose end made room; with `full`, only where it is known that there was none."""
        calls = self._of_engine.get(engine)
        found = calls.last_before(start_s) if calls is not None else None
        if calls is None or found is None:
            return []
        needed = _FULL * min(self._window(engine, start_s) or calls.peak, calls.peak)
        return [found] if not full or calls.in_flight(self._end(found)) >= needed else []

    def _window(self, engine: str, at_s: float) -> float:
        series = self._session.progress.engines.get(engine)
        at = self._session.progress.at_s
        if series is None or not len(at):
            return 0.0
        value = series["window"][min(bisect_right(at, at_s), len(at) - 1)]
        return value if value == value else 0.0

    def _fed(self, name: str, start_s: float) -> list[int]:
        """The last call of any row at a step before this one."""
        if name not in self._feeding:
            self._feeding[name] = self._of_steps(self._ways.before.get(name, frozenset()) - {name})
        found = self._feeding[name].last_before(start_s)
        return [found] if found is not None else []

    def _read_before(self, at_s: float) -> list[float]:
        place = int(self._read_s.searchsorted(at_s, side="right"))
        return [float(self._read_s[place - 1])] if place else []

    def _to_the_beginning(self, at_s: float) -> Iterator[Stretch]:
        """Before the first call of the path: engines that started, and else the input."""
        began_s = self._session.started_s
        spans = sorted(
            (max(span.start_s, began_s), min(span.end_s, at_s), track.engine)
            for track in self._session.engines.values()
            for span in track.spans
            if span.state in ("starting", "waking") and span.start_s < at_s
        )
        for start_s, end_s, engine in spans:
            if end_s > began_s:
                if start_s > began_s:
                    yield Stretch("input", "", began_s, start_s)
                yield Stretch("start", engine, max(start_s, began_s), end_s)
                began_s = end_s
        if began_s < at_s:
            yield Stretch("input", "", began_s, at_s)


@dataclass(frozen=True, slots=True)
class _Held:
    """The engine could not be asked."""

    kind: Kind
    start_s: float
    end_s: float


def _held_before(track: EngineTrack | None, at_s: float) -> _Held | None:
    """The last time that was over by then."""
    if track is None:
        return None
    held = [_Held("start", one.start_s, one.end_s) for one in track.spans if one.state in ("starting", "waking")]
    held += [_Held("start", one.start_s, one.end_s) for one in track.dead if track.replicas == 1]
    held += [_Held("rate_limit", one.start_s, one.end_s) for one in track.throttled]
    return max((one for one in held if one.start_s < one.end_s <= at_s), key=lambda one: one.end_s, default=None)
