"""Events folded into what the run did when: its processes, stages, engines and counts. Opens no file; knows no call.

All times are seconds since 1970 on a clock that does not jump: where the machine's clock was set while a process was at
work, times after it are moved by as much, and `jumps` says so. What a run of an older version does not say is not
there: such a timeline has sessions and nothing in them.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chainette.events import (
    ChunkCommitted,
    ChunkRead,
    ChunksCutBack,
    Event,
    Interrupted,
    Progressed,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    Warned,
)
from chainette.observe.engine_track import EngineTrack
from chainette.observe.record import event_of, unix_s

JUMP_S = 2.0
"""What a clock may be off by before it counts as set anew."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The machine's clock was set."""

    at_s: float
    """As the clock said just after."""
    by_s: float
    """Forward, or backward where it is negative."""


@dataclass(frozen=True, slots=True)
class Said:
    """Words that were said at a moment."""

    at_s: float
    words: str


@dataclass(slots=True)
class StageTime:
    stage: int
    stages: int
    nodes: tuple[str, ...]
    engines: tuple[str, ...]
    start_s: float
    end_s: float


class Series:
    """Columns of numbers, one value a snapshot in each; NaN where a snapshot does not have it."""

    def __init__(self, names: Iterable[str]) -> None:
        self.columns: dict[str, array[float]] = {name: array("d") for name in names}

    def __getitem__(self, name: str) -> array[float]:
        return self.columns[name]

    def add(self, values: object, length: int) -> None:
        """The values that follow `length` others; what is missing before is filled up."""
        for name, column in self.columns.items():
            column.extend([_NOTHING] * (length - len(column)))
            value = getattr(values, name, None)
            column.append(_NOTHING if value is None else value)

    def fill(self, length: int) -> None:
        for column in self.columns.values():
            column.extend([_NOTHING] * (length - len(column)))


_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_NOTHING = float("nan")
_NODE_FIELDS = (
    *("entered", "done", "made", "failed", "dropped", "running", "waiting", "retried", "calls", "reused"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "seconds"),
)
_ENGINE_FIELDS = (
    *("window", "running", "waiting", "calls", "errors", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("busy_s", "devices", "up_s"),
)


@dataclass(slots=True)
class Progress:
    """The snapshots of one process, as columns of equal length."""

    at_s: array[float] = field(default_factory=lambda: array("d"))
    rows_read: array[float] = field(default_factory=lambda: array("d"))
    rows_done: array[float] = field(default_factory=lambda: array("d"))
    nodes: dict[str, Series] = field(default_factory=dict)
    """By node the fields of `NodeCount` but for `drops`. Counts are of the whole run, earlier processes included."""
    engines: dict[str, Series] = field(default_factory=dict)
    """By engine the fields of `EngineCount`; `busy_s` and `up_s` are of this process."""

    def add(self, at_s: float, event: Progressed) -> None:
        length = len(self.at_s)
        self.at_s.append(at_s)
        self.rows_read.append(event.rows_read)
        self.rows_done.append(event.rows_done)
        for id, node in event.nodes.items():
            self.nodes.setdefault(id, Series(_NODE_FIELDS)).add(node, length)
        for name, engine in event.engines.items():
            self.engines.setdefault(name, Series(_ENGINE_FIELDS)).add(engine, length)

    def fill(self) -> None:
        for series in (*self.nodes.values(), *self.engines.values()):
            series.fill(len(self.at_s))


@dataclass(slots=True)
class Chunks:
    """Chunks as they were said, in columns: those read in this process, and those committed in it."""

    read: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    read_s: array[float] = field(default_factory=lambda: array("d"))
    committed: array[int] = field(default_factory=lambda: array("q"))
    rows_committed: array[int] = field(default_factory=lambda: array("q"))
    committed_s: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Session:
    """One process at work on the run, from `run_started` to its end or death."""

    number: int
    """From 0."""
    started_s: float
    ended_s: float
    """Of one that was killed, the last sign of life; of one that is at work, now."""
    state: str = "died"
    """`done`, `stopped`, `interrupted`; `running`; `died` without a last word."""
    message: str = ""
    rows_total: int | None = None
    """Of the input, where it tells."""
    rows_before: int = 0
    nodes: tuple[tuple[str, str, str], ...] = ()
    stages: list[StageTime] = field(default_factory=list)
    engines: dict[str, EngineTrack] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    chunks: Chunks = field(default_factory=Chunks)
    warnings: list[Said] = field(default_factory=list)
    interrupted_s: float | None = None
    """When it was asked to stop."""
    finished: RunFinished | None = None
    last_words: str = ""
    """The last event, in words."""

    @property
    def seconds(self) -> float:
        return self.ended_s - self.started_s

    def reach(self, at_s: float) -> None:
        """It gave a sign of life then: what lasted to its end lasts till there. One that said its end is left alone."""
        before = self.ended_s
        if at_s <= before or self.finished is not None:
            return
        self.ended_s = at_s
        for stage in self.stages:
            if stage.end_s == before:
                stage.end_s = at_s
        for track in self.engines.values():
            track.reach(before, at_s)


@dataclass(slots=True)
class Timeline:
    """What a run did when."""

    sessions: list[Session] = field(default_factory=list)
    jumps: list[Jump] = field(default_factory=list)
    unknown: int = 0
    """Events that this version does not know or cannot read."""

    @property
    def seconds(self) -> float:
        """The run was at work; what lies between two processes is not among it."""
        return sum(session.seconds for session in self.sessions)

    @property
    def is_detailed(self) -> bool:
        """Whether the run says more than that it began and ended, as those of older versions do."""
        return any(s.engines or s.stages or s.progress.at_s or s.chunks.read for s in self.sessions)

    def engine_names(self) -> list[str]:
        return list(dict.fromkeys(name for session in self.sessions for name in session.engines))

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], *, now_s: float | None = None) -> Timeline:
        """`records` are the lines of `events.jsonl`; `now_s` is given for a run that is at work."""
        return _Fold(now_s).fold(_events(records))


_Moment = tuple[float, Event | None, str]


def _events(records: Iterable[Mapping[str, Any]]) -> Iterator[_Moment]:
    for record in records:
        try:
            yield unix_s(record), event_of(record), str(record.get("event", ""))
        except (KeyError, TypeError, ValueError, AttributeError):
            yield 0.0, None, ""


class _Fold:
    """Events on their way into a timeline."""

    def __init__(self, now_s: float | None) -> None:
        self._now_s = now_s
        self._timeline = Timeline()
        self._session: Session | None = None
        self._offset_s = 0.0
        self._at_s = 0.0
        self._anchor_s: float | None = None
        """When the process's own clock, which does not jump, stood at zero."""

    def fold(self, moments: Iterable[_Moment]) -> Timeline:
        for clock_s, event, _ in moments:
            if event is None:
                self._timeline.unknown += 1
            elif isinstance(event, RunStarted):
                self._begin(clock_s, event)
            elif self._session is not None and not _is_late(event):
                self._take(self._steady(clock_s, event), event, self._session)
        if self._session is not None:
            self._end(self._session, last=True)
        return self._timeline

    def _begin(self, clock_s: float, event: RunStarted) -> None:
        if self._session is not None:
            self._end(self._session, last=False)
        if clock_s + self._offset_s < self._at_s:
            self._jump(clock_s, clock_s + self._offset_s - self._at_s)
        self._anchor_s = None
        self._at_s = at_s = clock_s + self._offset_s
        self._session = session = Session(len(self._timeline.sessions), at_s, at_s)
        session.rows_total, session.rows_before, session.nodes = event.rows_total, event.rows_before, event.nodes
        session.warnings += [Said(at_s, words) for words in event.warnings]
        session.last_words = "run started"
        self._timeline.sessions.append(session)

    def _jump(self, clock_s: float, by_s: float) -> None:
        self._timeline.jumps.append(Jump(clock_s, by_s))
        self._offset_s -= by_s

    def _steady(self, clock_s: float, event: Event) -> float:
        """When it was, on a clock that does not jump."""
        if isinstance(event, Progressed):
            zero_s = clock_s + self._offset_s - event.elapsed_s
            if self._anchor_s is None:
                self._anchor_s = max(zero_s, self._session.started_s if self._session is not None else zero_s)
                zero_s = max(zero_s, self._anchor_s)
            if abs(zero_s - self._anchor_s) > JUMP_S:
                self._jump(clock_s, zero_s - self._anchor_s)
        elif clock_s + self._offset_s < self._at_s - JUMP_S:
            # The next snapshot will say by how much; till then it is as if no time had gone.
            self._jump(clock_s, clock_s + self._offset_s - self._at_s)
        self._at_s = max(self._at_s, clock_s + self._offset_s)
        return self._at_s

    def _take(self, at_s: float, event: Event, session: Session) -> None:
        if session.finished is not None:
            return
        session.ended_s = at_s
        session.last_words = _words(event)
        match event:
            case RunFinished():
                session.finished, session.state, session.message = event, event.state, event.message
            case Progressed():
                session.progress.add(at_s, event)
            case StageStarted():
                stage = StageTime(event.stage, event.stages, event.nodes, event.engines, at_s, _NOTHING)
                session.stages.append(stage)
            case StageFinished():
                for stage in session.stages:
                    if stage.stage == event.stage and stage.end_s != stage.end_s:
                        stage.end_s = at_s
            case ChunkRead():
                chunks = session.chunks
                chunks.read.append(event.chunk)
                chunks.first.append(event.first)
                chunks.rows.append(event.rows)
                chunks.read_s.append(at_s)
            case ChunkCommitted():
                session.chunks.committed.append(event.chunk)
                session.chunks.rows_committed.append(event.rows_committed)
                session.chunks.committed_s.append(at_s)
            case Warned():
                session.warnings.append(Said(at_s, event.message))
            case Interrupted():
                session.interrupted_s = at_s
            case RunStarted() | ChunksCutBack():
                pass
            case _:
                track = session.engines.setdefault(event.engine, EngineTrack(event.engine, session.started_s))
                track.take(at_s, event)

    def _end(self, session: Session, *, last: bool) -> None:
        if last and session.finished is None and self._now_s is not None:
            session.state = "running"
            session.ended_s = max(session.ended_s, self._now_s + self._offset_s)
        for stage in session.stages:
            if stage.end_s != stage.end_s:
                stage.end_s = session.ended_s
        for track in session.engines.values():
            track.end(session.ended_s)
        session.progress.fill()


def _is_late(event: Event) -> bool:
    """Said, or put right, by a later process of one that died before: no sign of life of the latter."""
    return isinstance(event, ChunksCutBack) or getattr(event, "recovered", False)


def _words(event: Event) -> str:
    if isinstance(event, Progressed):
        running = sum(node.running for node in event.nodes.values())
        return f"{event.rows_done:,} of {event.rows_read:,} rows that were read are done, {running:,} at work"
    name = _CAPITAL.sub(" ", type(event).__name__).lower()
    told = getattr(event, "message", "") or getattr(event, "why", "") or getattr(event, "reason", "")
    told = f"chunk {event.chunk}" if isinstance(event, ChunkRead | ChunkCommitted) else told
    engine = getattr(event, "engine", "")
    return ": ".join(part for part in (f"{name} {engine}".strip(), told) if part)
