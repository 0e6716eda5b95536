"""The figures of a run, running, finished or dead, from its folder: `run_stats`. Knows no medium.

Counts, device time and cost are those of `status.json`; times are worked out of `calls/` and `events.jsonl`. What a
folder does not tell is None and said in `missing`, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from chainette.files.reading import RunReader
from chainette.files.runs import RESUMABLE, summarise
from chainette.observe.critical_path import CriticalPath, critical_path
from chainette.observe.idle import Idleness, idleness
from chainette.observe.latency import LIMIT, Calls, Latencies, Sample, Spread
from chainette.observe.record import utc
from chainette.observe.timeline import Session, Timeline
from chainette.observe.ways import Ways
from chainette.reports.call_columns import read_calls
from chainette.reports.stats_parts import (
    EdgeStats,
    EngineStats,
    StepStats,
    Tokens,
    edge_stats,
    engine_stats,
    step_stats,
    tokens_of,
)
from chainette.reports.timelines import timeline_of
from chainette.reports.wording import counted


@dataclass(slots=True)
class RunStats:
    run: str
    folder: str
    chain: str
    state: str
    """`done`, `stopped`, `interrupted`, `running`, `died` or `broken`."""
    message: str
    started_s: float | None
    """Since 1970."""
    last_sign_s: float | None
    """Its end, or when it was last heard of."""
    seconds: float
    """It was at work, all processes together; what lies between them is not among it."""
    processes: int
    rows_in: int
    rows_done: int
    rows_out: int
    rows_failed: int
    rows_dropped: int
    rows_total: int | None
    """None where the input does not tell."""
    rows_per_s: float | None
    """Input rows that came to their end; of a running one, lately."""
    eta_s: float | None
    """Seconds that a running one still needs, at that rate."""
    tokens: Tokens
    gpu_seconds: float | None
    cost: float | None
    steps: list[StepStats] = field(default_factory=list)
    engines: list[EngineStats] = field(default_factory=list)
    edges: list[EdgeStats] = field(default_factory=list)
    path: CriticalPath | None = None
    sample: Sample | None = None
    """Of the calls, where not all were looked at."""
    last_words: str = ""
    """The last event of one that died, in words."""
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What could not be worked out, and why."""
    next_command: str = ""
    """Without the program's name; empty where there is nothing to do."""

    def public(self) -> dict[str, Any]:
        """As JSON: numbers and texts, what is not known is null. Moments are UTC, ISO 8601."""
        return {
            **{name: getattr(self, name) for name in ("run", "folder", "chain", "state", "message")},
            "started": utc(self.started_s) if self.started_s is not None else None,
            "last_sign": utc(self.last_sign_s) if self.last_sign_s is not None else None,
            **{name: getattr(self, name) for name in ("seconds", "processes", "rows_in", "rows_done", "rows_out")},
            **{
                name: getattr(self, name)
                for name in ("rows_failed", "rows_dropped", "rows_total", "rows_per_s", "eta_s")
            },
            "tokens": _tokens(self.tokens),
            **{name: getattr(self, name) for name in ("gpu_seconds", "cost")},
            "steps": [_step(step) for step in self.steps],
            "engines": [_engine(engine) for engine in self.engines],
            "edges": [asdict(edge) for edge in self.edges],
            "critical_path": asdict(self.path) if self.path is not None else None,
            "sample": asdict(self.sample) if self.sample is not None else None,
            **{name: getattr(self, name) for name in ("last_words", "warnings", "missing", "next_command")},
        }


def _tokens(tokens: Tokens) -> dict[str, Any]:
    return {**asdict(tokens), "cached_share": tokens.cached_share}


def _times(times: Latencies | None) -> dict[str, Any] | None:
    return asdict(times) if times is not None else None


def _step(step: StepStats) -> dict[str, Any]:
    derived = {name: getattr(step, name) for name in ("made_per_row", "rows_per_s", "tokens_per_s")}
    return {**asdict(step), **derived, "tokens": _tokens(step.tokens), "times": _times(step.times)}


def _engine(engine: EngineStats) -> dict[str, Any]:
    derived = {name: getattr(engine, name) for name in ("mean_in_flight", "tokens_per_s")}
    replicas = [{**asdict(one), "idle_s": one.idle_s, "idle_share": one.share} for one in engine.replicas]
    return {**asdict(engine), **derived, "tokens": _tokens(engine.tokens), "replicas": replicas}


def run_stats(reader: RunReader, *, limit: int = LIMIT, now_s: float | None = None) -> RunStats:
    """Of more than about `limit` calls, a sample is looked at. A run that is at work is seen as of now.

    Raises:
        RunFolderError: a file of the run cannot be read.
    """
    graph, status = reader.graph(), reader.status()
    state = summarise(reader.path).state
    ways = Ways.of(graph)
    steps = [id for id in reader.step_ids() if id in ways.steps or (not ways.kinds and id)]
    timeline = timeline_of(reader, now_s)
    calls = read_calls(reader, steps, limit).steady(timeline.jumps)
    timeline = timeline if timeline.sessions else _of_status(status)
    _reach(timeline, calls, status)
    idle = idleness(timeline, calls, ways)
    stats = _of_run(reader, status, state, timeline)
    stats.steps = step_stats(graph, status, calls, timeline)
    stats.engines = engine_stats(graph, status, calls, timeline, idle)
    stats.edges = edge_stats(graph, stats.steps, stats.rows_in)
    stats.path = critical_path(timeline, calls, ways) if calls.made.any() else None
    stats.sample = calls.sample
    used = [engine.gpu_seconds for engine in stats.engines if engine.gpu_seconds is not None]
    stats.gpu_seconds = sum(used) if used else None
    stats.missing = _missing(stats, timeline, calls)
    return stats


def _of_run(reader: RunReader, status: Mapping[str, Any], state: str, timeline: Timeline) -> RunStats:
    sessions = timeline.sessions
    last = sessions[-1] if sessions else None
    rows_in, done, out, failed, dropped = (
        int(status.get(f"rows_{name}") or 0) for name in ("in", "done", "out", "failed", "dropped")
    )
    total = last.rows_total if last is not None else None
    rate = done / timeline.seconds if done and timeline.seconds > 0 else None
    if last is not None and state == "running":
        rate = _lately(last)
    left = max(0, total - done) if total is not None else None
    died = state == "died"
    return RunStats(
        run=reader.path.name,
        folder=reader.place,
        chain=str(reader.graph().get("chain") or status.get("chain") or ""),
        state=state,
        message=str(status.get("message") or ""),
        started_s=sessions[0].started_s if sessions else None,
        last_sign_s=last.ended_s if last is not None else None,
        seconds=timeline.seconds,
        processes=len(sessions),
        rows_in=rows_in,
        rows_done=done,
        rows_out=out,
        rows_failed=failed,
        rows_dropped=dropped,
        rows_total=total,
        rows_per_s=rate,
        eta_s=left / rate if left is not None and rate and state == "running" else None,
        tokens=tokens_of(status),
        gpu_seconds=None,
        cost=status.get("cost"),
        last_words=last.last_words if last is not None and died else "",
        warnings=[said.words for session in sessions for said in session.warnings],
        next_command=_next(state, failed),
    )


def _next(state: str, rows_failed: int) -> str:
    """The command, before the run's name."""
    if state in RESUMABLE:
        return "resume"
    return "retry" if state == "done" and rows_failed else ""


_LATELY_S = 60.0


def _lately(session: Session) -> float | None:
    """Rows a second; None where none came to its end."""
    progress = session.progress
    if len(progress.at_s) < 2:
        return None
    end_s = progress.at_s[-1]
    since_s = end_s - max(_LATELY_S, (end_s - session.started_s) / 5)
    first = next(i for i, at_s in enumerate(progress.at_s) if at_s >= since_s)
    first = min(first, len(progress.at_s) - 2)
    took_s = end_s - progress.at_s[first]
    rows = progress.rows_done[-1] - progress.rows_done[first]
    return rows / took_s if took_s > 0 and rows > 0 else None


def _of_status(status: Mapping[str, Any]) -> Timeline:
    """Where there are no events, as if one process had done it all."""
    started_s, seconds = _moment(status.get("started")), float(status.get("seconds") or 0.0)
    if started_s is None or not seconds:
        return Timeline()
    return Timeline([Session(0, started_s, started_s + seconds, state=str(status.get("state") or ""))])


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _reach(timeline: Timeline, calls: Calls, status: Mapping[str, Any]) -> None:
    """A process that was killed lived until its last call ended at least, the last one until it wrote its status."""
    starts = calls["started_s"][calls.made]
    ends = starts + calls["seconds"][calls.made]
    for session, after in zip(timeline.sessions, [*timeline.sessions, None][1:], strict=True):
        if session.finished is not None or session.state == "running":
            continue
        limit_s = after.started_s if after is not None else float("inf")
        inside = ends[(starts >= session.started_s) & (starts < limit_s)]
        if len(inside):
            session.reach(min(float(inside.max()), limit_s))
        updated_s = _moment(status.get("updated"))
        if after is None and updated_s is not None:
            session.reach(updated_s - sum(jump.by_s for jump in timeline.jumps))


def _missing(stats: RunStats, timeline: Timeline, calls: Calls) -> list[str]:
    """What cannot be said, each with its reason."""
    told = []
    asked = [step for step in stats.steps if step.kind == "step"]
    made = sum(step.calls for step in asked)
    if not asked:
        told.append("no step asks an engine: there are no calls, and so no times of them")
    elif not made:
        reused = sum(step.reused for step in asked)
        told.append(f"no call was made for this run{', all answers are of another' if reused else ''}: no times")
    if not timeline.is_detailed:
        told.append("events.jsonl does not say what engines did: idle time is reckoned between first and last calls")
    if stats.sample is not None:
        words = f"{stats.sample.looked_at:,} of about {stats.sample.about:,} calls"
        told.append(f"times are those of an even sample, {words}; there is no critical path of a sample")
    elif made and stats.path is None:
        told.append("no call says when it was made: no critical path")
    for name, what in (("queue", "how long calls waited in the engine"), ("first_token", "when the first token came")):
        silent = [s.id for s in asked if s.times and s.times.total is not None and getattr(s.times, name) is None]
        if silent:
            told.append(f"the endpoint does not tell {what}: {', '.join(silent)}")
    untimed = sum(step.times.untimed for step in asked if step.times is not None)
    if untimed:
        told.append(f"{counted(untimed, 'call')} of an older version, or without an answer, tell no times")
    unanswered = sum(step.times.unanswered for step in asked if step.times is not None)
    if unanswered:
        told.append(f"{counted(unanswered, 'call')} without an answer: their times are not among those of calls")
    if calls.damaged:
        told.append(f"{counted(calls.damaged, 'line')} of calls/ cannot be read")
    if timeline.unknown:
        told.append(f"{counted(timeline.unknown, 'event')} of another version, or not to be read")
    told += [
        f"the machine's clock was set by {jump.by_s:+,.0f} s; times are told as if it had not"
        for jump in timeline.jumps
    ]
    return told


__all__ = [
    "CriticalPath",
    "EdgeStats",
    "EngineStats",
    "Idleness",
    "Latencies",
    "RunStats",
    "Sample",
    "Spread",
    "StepStats",
    "Tokens",
    "run_stats",
]
