"""The course of a run as charts: how quick it was, how busy its engines were, which stage was when.

Time is that in which a process was at work: what lies between two processes is left out, and a mark stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chainette.observe.timeline import Progress, Session, Timeline
from chainette.reports.charts import Bar, Curve, LineChart, Track, line_chart, span_chart

POINTS = 120
MOST_ENGINES = 8
"""Engines with a chart of their own, those with most calls."""
MOST_CURVES = 6

Column = Callable[[Progress], Sequence[float] | None]


@dataclass(slots=True)
class Course:
    """Of one run, each an `<svg>` element."""

    charts: list[str] = field(default_factory=list)
    spans: str = ""
    """Stages and engine states; empty where the run did not say any."""


def course_of(timeline: Timeline) -> Course:
    """The charts that the events of this run give; those of an older version give none."""
    pace = _Pace(timeline)
    return Course(pace.charts() if pace.points > 1 else [], _spans(timeline, pace))


class _Pace:
    """Snapshots of all processes, one after the other, at even distances."""

    def __init__(self, timeline: Timeline) -> None:
        import numpy as np

        self._sessions = [session for session in timeline.sessions if session.seconds > 0]
        self._begins = [0.0]
        for session in self._sessions:
            self._begins.append(self._begins[-1] + session.seconds)
        self.whole_s = self._begins[-1]
        snapshots = sum(len(session.progress.at_s) for session in self._sessions)
        self.points = min(POINTS, snapshots)
        self._edges = np.linspace(0.0, self.whole_s, self.points + 1)
        self.xs = (self._edges[1:] + self._edges[:-1]) / 2

    def since(self, at_s: float) -> float:
        """A moment as seconds at work."""
        for session, begin in zip(self._sessions, self._begins, strict=False):
            if at_s <= session.ended_s:
                return begin + max(at_s - session.started_s, 0.0)
        return self.whole_s

    def marks(self) -> list[tuple[float, str]]:
        pairs = zip(self._sessions, self._sessions[1:], self._begins[1:], strict=False)
        return [(at, f"{before.state}; resumed after {_gap(before, after)}") for before, after, at in pairs]

    def rate(self, column: Column, first: Callable[[Session], float] = lambda _: 0.0) -> Any:
        """What a count that only grows, within a process, grew by, per second."""
        import numpy as np

        grown = np.zeros(self.points)
        for session, begin in zip(self._sessions, self._begins, strict=False):
            told = column(session.progress)
            if told is None or not len(told):
                continue
            at = np.concatenate([[begin], np.asarray(session.progress.at_s) - session.started_s + begin])
            known = np.nan_to_num(np.asarray(told, dtype=float))
            counts = np.maximum.accumulate(np.concatenate([[first(session)], known]))
            if session.number:  # where it began is not said of every count
                counts[0] = max(counts[0], known[0]) if first(session) == 0.0 else counts[0]
            grown += np.diff(np.interp(self._edges, at, counts))
        return grown / np.diff(self._edges)

    def level(self, column: Column) -> Any:
        """What a count that goes up and down was; NaN where nobody said."""
        import numpy as np

        levels = np.full(self.points, np.nan)
        for session, begin in zip(self._sessions, self._begins, strict=False):
            told = column(session.progress)
            if told is None or not len(told):
                continue
            at = np.asarray(session.progress.at_s) - session.started_s + begin
            here = (self.xs >= begin) & (self.xs <= begin + session.seconds)
            levels[here] = np.interp(self.xs[here], at, np.asarray(told, dtype=float))
        return levels

    def charts(self) -> list[str]:
        rows = self.rate(lambda progress: progress.rows_done, lambda session: session.rows_before)
        drawn = [self._chart("Rows finished", "per second", [Curve("rows", rows)])]
        engines = self._engines()
        if engines:
            drawn.append(self._tokens(engines))
        steps = self._steps()
        if steps:
            drawn.append(self._chart("Rows in flight", "per step", steps))
        drawn += [self._load(name) for name in engines[:MOST_ENGINES]]
        return drawn

    def _chart(self, title: str, unit: str, curves: list[Curve]) -> str:
        return line_chart(LineChart(title, unit, self.xs.tolist(), curves, self.marks()))

    def _engines(self) -> list[str]:
        calls: dict[str, float] = {}
        for session in self._sessions:
            for name, series in session.progress.engines.items():
                known = [value for value in series["calls"] if value == value]
                calls[name] = calls.get(name, 0.0) + (known[-1] if known else 0.0)
        return sorted(calls, key=lambda name: -calls[name])

    def _tokens(self, engines: list[str]) -> str:
        curves = []
        for words, count in (("read", "prompt_tokens"), ("written", "completion_tokens")):
            curves.append(Curve(words, sum(self.rate(_of_engine(name, count)) for name in engines)))
        return self._chart("Tokens", "per second", curves)

    def _load(self, engine: str) -> str:
        counts = (("running", False), ("waiting", False), ("window", True))
        curves = [Curve(name, self.level(_of_engine(engine, name)), limit) for name, limit in counts]
        return self._chart(f"Engine {engine}", "calls", curves)

    def _steps(self) -> list[Curve]:
        """The steps with most rows waiting or at work, in the order of the chain."""
        import numpy as np

        nodes = list(dict.fromkeys(id for session in self._sessions for id in session.progress.nodes))
        levels = {id: self.level(_in_flight(id)) for id in nodes}
        highest = {id: float(np.nan_to_num(values).max()) for id, values in levels.items()}
        chosen = sorted((id for id in nodes if highest[id] > 0), key=highest.__getitem__, reverse=True)[:MOST_CURVES]
        return [Curve(id, levels[id]) for id in nodes if id in chosen]


def _of_engine(name: str, count: str) -> Column:
    return lambda progress: progress.engines[name][count] if name in progress.engines else None


def _in_flight(id: str) -> Column:
    def both(progress: Progress) -> Sequence[float] | None:
        series = progress.nodes.get(id)
        if series is None:
            return None
        return [a + b for a, b in zip(series["running"], series["waiting"], strict=True)]

    return both


def _spans(timeline: Timeline, pace: _Pace) -> str:
    """Which process, which stage and which state of each engine was when."""
    sessions, stages = Track("run"), Track("stages")
    engines: dict[str, Track] = {name: Track(name) for name in timeline.engine_names()}
    for session in timeline.sessions:
        start, end = pace.since(session.started_s), pace.since(session.ended_s)
        kind = "stopped-run" if session.state == "stopped" else session.state
        sessions.bars.append(Bar(start, end, kind, session.state))
        for stage in session.stages:
            words = f"{stage.stage + 1} of {stage.stages}: {', '.join(stage.nodes)}"
            stages.bars.append(Bar(pace.since(stage.start_s), pace.since(stage.end_s), "stage", words))
        for name, track in session.engines.items():
            engines[name].bars += _engine_bars(track, pace)
    tracks = [sessions, stages, *engines.values()]
    shown = [track for track in tracks if track.bars]
    return span_chart("Stages and engines", shown, pace.whole_s, pace.marks()) if len(shown) > 1 else ""


def _engine_bars(track: Any, pace: _Pace) -> list[Bar]:
    bars = [Bar(pace.since(s.start_s), pace.since(s.end_s), s.state, s.reason or s.state) for s in track.spans]
    bars += [Bar(pace.since(s.start_s), pace.since(s.end_s), "throttled", s.reason) for s in track.throttled]
    bars += [
        Bar(pace.since(s.start_s), pace.since(s.end_s), "dead", f"replica {s.replica}: {s.why}") for s in track.dead
    ]
    return bars


def _gap(before: Session, after: Session) -> str:
    from chainette.reports.wording import seconds

    return seconds(max(after.started_s - before.ended_s, 0.0))
