"""How long replicas had nothing to do, and why: their calls held against what the run did when. Opens no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from chainette.observe.latency import Calls
from chainette.observe.spans import Spans
from chainette.observe.timeline import Session, Timeline
from chainette.observe.ways import Ways

if TYPE_CHECKING:
    from array import array

    from chainette.observe.latency import Flags

Why = Literal["starting", "rate_limit", "between_calls", "other_step", "no_input", "no_rows"]

WHY: tuple[Why, ...] = ("starting", "rate_limit", "between_calls", "other_step", "no_input", "no_rows")
"""Reasons, and the order in which they are asked for: of two that hold, the first counts."""


@dataclass(slots=True)
class Idleness:
    """One replica's time: `up_s == busy_s + sum(why.values())`."""

    engine: str
    replica: int | None
    """None: all of them, where it is not known which of them had a call."""
    up_s: float = 0.0
    """It was there for the run: from the beginning of its start until it was stopped, put to sleep or the run's end."""
    busy_s: float = 0.0
    """At least one call was in flight."""
    why: dict[Why, float] = field(default_factory=lambda: dict.fromkeys(WHY, 0.0))
    in_flight: float = 0.0
    """Seconds of its calls, added up."""
    source: Literal["calls", "snapshots"] = "calls"
    """`snapshots`: of so many calls not all were looked at; it is what the counters said, about once a second."""
    has_events: bool = True
    """Without them `up_s` is reckoned from its first call to its last."""

    @property
    def idle_s(self) -> float:
        return self.up_s - self.busy_s

    @property
    def share(self) -> float | None:
        """Idle, of the time it was there."""
        return self.idle_s / self.up_s if self.up_s > 0 else None

    @property
    def mean_in_flight(self) -> float | None:
        return self.in_flight / self.up_s if self.up_s > 0 else None


def idleness(timeline: Timeline, calls: Calls, ways: Ways) -> list[Idleness]:
    """One for each replica, over all processes; `calls` are on the timeline's clock."""
    found: dict[tuple[str, int | None], Idleness] = {}
    for session in timeline.sessions:
        for name in ways.engines:
            for one in _EngineIn(session, name, calls, ways).replicas():
                key = (one.engine, one.replica)
                if key in found:
                    _add(found[key], one)
                else:
                    found[key] = one
    return sorted(found.values(), key=lambda one: (list(ways.engines).index(one.engine), one.replica or 0))


def _add(to: Idleness, other: Idleness) -> None:
    to.up_s += other.up_s
    to.busy_s += other.busy_s
    to.in_flight += other.in_flight
    to.has_events = to.has_events and other.has_events
    for why, seconds in other.why.items():
        to.why[why] += seconds


class _EngineIn:
    """One engine in one process."""

    def __init__(self, session: Session, engine: str, calls: Calls, ways: Ways) -> None:
        self._session = session
        self._engine = engine
        self._calls = calls
        self._ways = ways
        self._track = session.engines.get(engine)
        self._whole = Spans.pairs([(session.started_s, session.ended_s)])

    def replicas(self) -> list[Idleness]:
        import numpy as np

        if self._calls.sample is not None:
            return self._from_snapshots()
        mine = self._calls.of_steps(self._ways.engines[self._engine]) & self._calls.made
        mine &= _within(self._calls, self._session)
        seen = set(np.unique(self._calls["replica"][mine]).tolist()) - {-1}
        if self._track is not None and self._track.spans:
            seen |= set(range(self._track.replicas))
        if not seen and mine.any():
            seen = {0}
        found = []
        for replica in sorted(seen):
            which = mine & (self._calls["replica"] == replica)
            starts = self._calls["started_s"][which]
            ends = starts + self._calls["seconds"][which]
            busy = Spans.of(starts, ends) & self._whole
            if len(seen) == 1:
                busy = busy | self._unanswered(mine)
            clipped = np.minimum(ends, self._session.ended_s) - np.maximum(starts, self._session.started_s)
            one = self._reasons(replica, busy)
            if one is not None:
                one.in_flight = float(np.maximum(clipped, 0).sum())
                found.append(one)
        return found

    def _unanswered(self, mine: Flags) -> Spans:
        """When calls that got no answer were under way. They do not say whose they were, and sending them again, with
        pauses in between, is part of them."""
        which = mine & (self._calls["replica"] < 0)
        starts = self._calls["started_s"][which]
        return (Spans.of(starts, starts + self._calls["seconds"][which]) - self._spans("rate_limit")) & self._whole

    def _from_snapshots(self) -> list[Idleness]:
        series = self._session.progress.engines.get(self._engine)
        if series is None:
            return []
        busy = _positive(self._session.progress.at_s, [series["running"]], self._session.started_s) & self._whole
        one = self._reasons(None, busy)
        if one is None:
            return []
        one.source = "snapshots"
        one.in_flight = _area(self._session.progress.at_s, series["running"], self._session.started_s)
        return [one]

    def _reasons(self, replica: int | None, busy: Spans) -> Idleness | None:
        """None where it was not there."""
        one = Idleness(self._engine, replica)
        held, starting = self._held(replica)
        if held is None:
            if not len(busy):
                return None
            one.has_events = False
            held = Spans.pairs([(float(busy.starts[0]), float(busy.ends[-1]))])
        held = (held | busy) & self._whole
        one.up_s, one.busy_s = held.seconds, busy.seconds
        left = held - busy
        for why in WHY[:-1]:
            part = left & (starting if why == "starting" else self._spans(why))
            one.why[why] = part.seconds
            left = left - part
        # What is left over, so that nothing is lost to rounding.
        one.why["no_rows"] = max(0.0, one.up_s - one.busy_s - sum(one.why[why] for why in WHY[:-1]))
        return one

    def _held(self, replica: int | None) -> tuple[Spans | None, Spans]:
        """When it was there, and when it was on its way."""
        track = self._track
        if track is None or not track.spans:
            return None, Spans.pairs([])
        held = Spans.pairs(
            (span.start_s, span.end_s) for span in track.spans if span.state in ("starting", "waking", "ready")
        )
        starting = [(span.start_s, span.end_s) for span in track.spans if span.state in ("starting", "waking")]
        starting += [
            (gone.start_s, gone.end_s) for gone in track.dead if replica is not None and gone.replica == replica
        ]
        return held, Spans.pairs(starting)

    def _spans(self, why: Why) -> Spans:
        session, progress = self._session, self._session.progress
        if why == "rate_limit":
            return Spans.pairs((t.start_s, t.end_s) for t in self._track.throttled) if self._track else Spans.pairs([])
        if why == "between_calls":
            series = progress.engines.get(self._engine)
            waiting = [series["waiting"]] if series is not None else []
            return _positive(progress.at_s, waiting, session.started_s)
        if why == "other_step":
            return self._others()
        last = max(session.chunks.read_s, default=session.started_s)
        return Spans.pairs([(session.started_s, last)])

    def _others(self) -> Spans:
        """When a step or function was at work whose rows come to this engine later."""
        progress = self._session.progress
        before = self._ways.before_engine(self._engine)
        columns = [progress.nodes[id]["running"] for id in before if id in progress.nodes]
        snapshots = _positive(progress.at_s, columns, self._session.started_s)
        if self._calls.sample is not None:
            return snapshots
        which = self._calls.of_steps(before) & self._calls.made & _within(self._calls, self._session)
        starts = self._calls["started_s"][which]
        functions = [progress.nodes[id]["running"] for id in before - self._ways.steps if id in progress.nodes]
        return Spans.of(starts, starts + self._calls["seconds"][which]) | _positive(
            progress.at_s, functions, self._session.started_s
        )


def _within(calls: Calls, session: Session) -> Flags:
    starts = calls["started_s"]
    found: Flags = (starts + calls["seconds"] > session.started_s) & (starts < session.ended_s)
    return found


def _positive(at_s: Sequence[float], columns: Sequence[Sequence[float]], began_s: float) -> Spans:
    """Where any of the counts was above zero: a snapshot speaks of the time since the one before it."""
    import numpy as np

    if not len(at_s) or not columns:
        return Spans.pairs([])
    ends = np.asarray(at_s, np.float64)
    starts = np.concatenate(([began_s], ends[:-1]))
    above = np.zeros(len(ends), np.bool_)
    for column in columns:
        above |= np.nan_to_num(np.asarray(column, np.float64)) > 0
    return Spans.of(starts[above], ends[above])


def _area(at_s: array[float], column: array[float], began_s: float) -> float:
    import numpy as np

    ends = np.asarray(at_s, np.float64)
    lengths = np.diff(ends, prepend=began_s)
    return float((np.nan_to_num(np.asarray(column, np.float64)) * np.maximum(lengths, 0)).sum())
