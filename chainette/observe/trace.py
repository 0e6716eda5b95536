"""A run as Chrome trace events, which ui.perfetto.dev opens: a process per engine replica with a lane per slot, and
processes for the run and its steps. Pure: takes a timeline and spans of calls, gives bytes; opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from chainette.observe.call_spans import CallSpans, Span, inner_spans, lanes, trace_json
from chainette.observe.engine_track import EngineTrack
from chainette.observe.timeline import Session, Timeline

MAX_COUNTS = 50_000
"""Values of counters in a trace; of a long run's snapshots every second, third, … is taken."""
_TIDS = 100_000
"""Lanes a process may have. Their numbers are not shared between processes: some viewers take them for one thread."""
_RUN, _STEPS, _FIRST_ENGINE = 1, 2, 3


@dataclass(slots=True)
class Trace:
    """What becomes a `trace.json`."""

    timeline: Timeline
    calls: CallSpans
    other: dict[str, Any] = field(default_factory=dict)
    """Said in the file about it, beside the events."""

    def blocks(self) -> Iterator[bytes]:
        """The file, piece by piece."""
        yield b'{"displayTimeUnit":"ms","otherData":' + trace_json(self.other) + b',"traceEvents":['
        comma = b"\n"
        for event in self._events():
            yield comma + event
            comma = b",\n"
        yield b"\n]}\n"

    def _events(self) -> Iterator[bytes]:
        zero_s, sessions = self.calls.zero_s, self.timeline.sessions
        kept, of = self.other.get("kept", 0), self.other.get("of", 0)
        # A lane's gaps are then no idle time: who looks at them is to know.
        sampled = f" (a sample: {kept:,} of about {of:,} calls)" if self.other.get("sampled") else ""
        yield from _run_events(self.timeline, _Process(_RUN, "run", zero_s))
        yield from _step_events(sessions, _Process(_STEPS, "steps", zero_s))
        pid = _FIRST_ENGINE
        for engine, replicas in self._engines().items():
            many = len(replicas) > 1
            about = _Process(pid, f"engine {engine}{sampled}", zero_s)
            yield from _engine_events(engine, sessions, about, [] if many else [0])
            pid += 1
            for replica in replicas:
                spans = sorted(self.calls.replicas.get((engine, replica), ()))
                process = _Process(pid, _replica_name(engine, replica) + sampled, zero_s) if many else about
                if many:
                    yield from process.names()
                    yield from _death_events(engine, replica, sessions, process)
                    pid += 1
                yield from _call_events(spans, process)

    def _engines(self) -> dict[str, list[int | None]]:
        """Engine -> its replicas, those without a number last."""
        found: dict[str, set[int | None]] = {}
        for session in self.timeline.sessions:
            for name, track in session.engines.items():
                found.setdefault(name, set()).update(range(track.replicas))
        for engine, replica in self.calls.replicas:
            found.setdefault(engine, set()).add(replica)
        return {name: sorted(set_, key=lambda n: (n is None, n or 0)) for name, set_ in sorted(found.items())}


def _replica_name(engine: str, replica: int | None) -> str:
    return f"engine {engine}, no replica" if replica is None else f"engine {engine}, replica {replica}"


class _Process:
    """One process of the trace: makes its events."""

    def __init__(self, pid: int, name: str, zero_s: float) -> None:
        self.pid = pid
        self._name = name
        self._zero_s = zero_s

    def us(self, at_s: float) -> int:
        return round((at_s - self._zero_s) * 1e6)

    def names(self) -> Iterator[bytes]:
        yield trace_json({"ph": "M", "pid": self.pid, "name": "process_name", "args": {"name": self._name}})
        yield trace_json({"ph": "M", "pid": self.pid, "name": "process_sort_index", "args": {"sort_index": self.pid}})

    def lane(self, number: int, name: str) -> Iterator[bytes]:
        at = {"ph": "M", "pid": self.pid, "tid": self.tid(number)}
        yield trace_json({**at, "name": "thread_name", "args": {"name": name}})
        yield trace_json({**at, "name": "thread_sort_index", "args": {"sort_index": number}})

    def tid(self, lane: int) -> int:
        return self.pid * _TIDS + lane

    def span(self, lane: int, name: str, start_s: float, end_s: float, **args: object) -> bytes:
        begin = self.us(start_s)
        at = {"ph": "X", "pid": self.pid, "tid": self.tid(lane), "ts": begin, "dur": max(0, self.us(end_s) - begin)}
        return trace_json({**at, "name": name, "args": {k: v for k, v in args.items() if v not in ("", None)}})

    def instant(self, lane: int, name: str, at_s: float, **args: object) -> bytes:
        at = {"ph": "i", "s": "p", "pid": self.pid, "tid": self.tid(lane), "ts": self.us(at_s)}
        return trace_json({**at, "name": name, "args": {k: v for k, v in args.items() if v not in ("", None)}})

    def counts(self, name: str, at_s: float, **values: float) -> bytes:
        """A track for each value, called by both names."""
        at = {"ph": "C", "pid": self.pid, "ts": self.us(at_s), "name": name}
        return trace_json({**at, "args": {key.replace("_", " "): value for key, value in values.items()}})


def _run_events(timeline: Timeline, run: _Process) -> Iterator[bytes]:
    yield from run.names()
    yield from run.lane(0, "sessions")
    for session in timeline.sessions:
        name = f"session {session.number + 1}: {session.state}"
        yield run.span(0, name, session.started_s, session.ended_s, message=session.message)
        for warning in session.warnings:
            yield run.instant(0, "warning", warning.at_s, message=warning.words)
        if session.interrupted_s is not None:
            yield run.instant(0, "interrupted", session.interrupted_s)
        yield from _row_counts(session, run, _stride(timeline.sessions, 4))
    for jump in timeline.jumps:
        yield run.instant(0, "clock set", jump.at_s, seconds=jump.by_s)
    stages = sorted(
        ((run.us(s.start_s), run.us(s.end_s), s) for session in timeline.sessions for s in session.stages),
        key=lambda stage: stage[:2],
    )
    shown = {id for session in timeline.sessions for id, _, _ in session.nodes}
    chosen = lanes([(begin, max(end, begin + 1), b"") for begin, end, _ in stages])
    for lane in sorted(set(chosen)):
        yield from run.lane(1 + lane, "stages")
    for lane, (_, _, s) in zip(chosen, stages, strict=True):
        name = f"stage {s.stage + 1} of {s.stages}"
        yield run.span(
            1 + lane,
            name,
            s.start_s,
            s.end_s,
            nodes=", ".join(n for n in s.nodes if n in shown),
            engines=", ".join(s.engines),
        )


def _stride(sessions: Sequence[Session], tracks: int) -> int:
    """Every how many snapshots one is taken, so that a group of tracks has its share of all values."""
    snapshots = sum(len(session.progress.at_s) for session in sessions)
    return max(1, -(-snapshots * max(1, tracks) * 3 // MAX_COUNTS))


def _row_counts(session: Session, run: _Process, stride: int) -> Iterator[bytes]:
    progress = session.progress
    at_s, read, done = (column[::stride] for column in (progress.at_s, progress.rows_read, progress.rows_done))
    yield run.counts("rows", session.started_s, in_flight=0, done=session.rows_before)
    for t, r, d in zip(at_s, read, done, strict=True):
        yield run.counts("rows", t, in_flight=r - d, done=d)
    for (t0, d0), (t1, d1) in pairwise(zip(at_s, done, strict=True)):
        if t1 > t0:
            yield run.counts("rows/s", t0, done=round((d1 - d0) / (t1 - t0), 3))
    if at_s:
        yield run.counts("rows/s", at_s[-1], done=0)
    yield run.counts("rows", session.ended_s, in_flight=0)


def _step_events(sessions: Sequence[Session], steps: _Process) -> Iterator[bytes]:
    """Steps, applies and joins by their counts: what Python steps do leaves no calls."""
    nodes = list(dict.fromkeys(id for session in sessions for id, _, _ in session.nodes))
    if not any(session.progress.at_s for session in sessions):
        return
    yield from steps.names()
    stride = _stride(sessions, len(nodes))
    for session in sessions:
        at_s = session.progress.at_s[::stride]
        for id, series in session.progress.nodes.items():
            columns = {name: series[name][::stride] for name in ("running", "waiting", "done")}
            yield from _changes(steps, id, at_s, columns)
            if at_s:
                yield steps.counts(id, session.ended_s, running=0, waiting=0)


def _changes(process: _Process, name: str, at_s: Iterable[float], columns: dict[str, Any]) -> Iterator[bytes]:
    """Where a value is another than before; what is not known is left out."""
    before: tuple[float, ...] = ()
    for t, *values in zip(at_s, *columns.values(), strict=True):
        if tuple(values) != before and all(value == value for value in values):
            yield process.counts(name, t, **dict(zip(columns, values, strict=True)))
            before = tuple(values)


def _engine_events(
    engine: str, sessions: Sequence[Session], about: _Process, replicas: Sequence[int]
) -> Iterator[bytes]:
    """`replicas` are those whose deaths are shown here."""
    yield from about.names()
    yield from about.lane(0, "state")
    limited = False
    for session in sessions:
        track = session.engines.get(engine)
        if track is not None:
            yield from _state_events(track, about)
            limited = limited or bool(track.throttled)
            for span in track.throttled:
                yield about.span(1, "throttled", span.start_s, span.end_s, reason=span.reason)
        yield from _load_counts(engine, session, about, _stride(sessions, 4))
    if limited:
        yield from about.lane(1, "limits")
    for replica in replicas:
        yield from _death_events(engine, replica, sessions, about)


def _state_events(track: EngineTrack, about: _Process) -> Iterator[bytes]:
    for span in track.spans:
        if span.state == "stopped":
            yield about.instant(0, "stopped", span.start_s, reason=span.reason)
        else:
            yield about.span(0, span.state, span.start_s, span.end_s, reason=span.reason)


def _death_events(engine: str, replica: int | None, sessions: Sequence[Session], process: _Process) -> Iterator[bytes]:
    deaths = [gone for session in sessions if (track := session.engines.get(engine)) for gone in track.dead]
    deaths = [gone for gone in deaths if gone.replica == replica]
    if deaths:
        yield from process.lane(2, "deaths")
    for gone in deaths:
        yield process.instant(2, "died", gone.start_s, why=gone.why)
        yield process.span(2, "dead", gone.start_s, gone.end_s, why=gone.why)


def _load_counts(engine: str, session: Session, about: _Process, stride: int) -> Iterator[bytes]:
    series = session.progress.engines.get(engine)
    if series is None:
        return
    at_s = session.progress.at_s[::stride]
    loads = {name: series[name][::stride] for name in ("running", "waiting", "window")}
    yield from _changes(about, "calls", at_s, loads)
    tokens = zip(at_s, series["prompt_tokens"][::stride], series["completion_tokens"][::stride], strict=True)
    for (t0, p0, c0), (t1, p1, c1) in pairwise(tokens):
        if t1 > t0 and p1 >= p0 and c1 >= c0:
            seconds = t1 - t0
            prompt, completion = round((p1 - p0) / seconds, 1), round((c1 - c0) / seconds, 1)
            yield about.counts("tokens/s", t0, prompt=prompt, completion=completion)
    if at_s:
        yield about.counts("calls", session.ended_s, running=0, waiting=0, window=0)
        yield about.counts("tokens/s", at_s[-1], prompt=0, completion=0)


_SLOTS = 10
"""The first lane of calls, behind those for states."""
_TOGETHER = 1000
"""Events that are written at once."""


def _call_events(spans: Sequence[Span], process: _Process) -> Iterator[bytes]:
    """Spans in the order of their beginnings."""
    chosen = lanes(spans)
    for slot in range(max(chosen, default=-1) + 1):
        yield from process.lane(_SLOTS + slot, f"slot {slot}")
    first = process.tid(_SLOTS)
    pid = b'{"ph":"X","pid":%d,"tid":' % process.pid
    for at in range(0, len(spans), _TOGETHER):
        events = []
        for (begin, end, rest), lane in zip(spans[at : at + _TOGETHER], chosen[at : at + _TOGETHER], strict=True):
            events.append(b'%b%d,"ts":%d,"dur":%d,%b}}' % (pid, first + lane, begin, end - begin, rest))
            if b'_s":' in rest:
                for start, stop, name in inner_spans((begin, end, rest)):
                    inner = b'%b%d,"ts":%d,"dur":%d,"name":"%b"}'
                    events.append(inner % (pid, first + lane, start, stop - start, name))
        yield b",\n".join(events)
