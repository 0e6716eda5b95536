"""The figures of each step, engine and edge: counts from `status.json`, times from calls. Reads no file, adds up no
run's counts a second time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainette.observe.idle import Idleness
from chainette.observe.latency import Calls, Latencies
from chainette.observe.timeline import Timeline
from chainette.observe.ways import Ways
from chainette.reports.outline import LOOPS

if TYPE_CHECKING:
    from chainette.observe.latency import Flags


@dataclass(slots=True)
class Tokens:
    prompt: int = 0
    cached: int = 0
    """Of the prompts', those that the engine had not to read again, where it tells."""
    completion: int = 0

    @property
    def cached_share(self) -> float | None:
        return self.cached / self.prompt if self.prompt else None


@dataclass(slots=True)
class StepStats:
    """One node: a step, a function, control flow."""

    id: str
    name: str
    kind: str
    engine: str | None = None
    rows_in: int = 0
    """In a loop, once for each turn."""
    done: int = 0
    rows_out: int = 0
    """Children and samples included."""
    failed: int = 0
    dropped: int = 0
    dropped_why: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    """That were made for this run."""
    retried: int = 0
    reused: int = 0
    """Answers taken from another run."""
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    """Its calls' or functions' times, added up."""
    gpu_seconds: float | None = None
    cost: float | None = None
    at_work_s: float | None = None
    """From its first call to the end of its last, without the time between processes; None without such calls."""
    times: Latencies | None = None
    """None where it is no step."""
    turns: float | None = None
    """Of a loop: how often a row goes through its body."""

    @property
    def made_per_row(self) -> float | None:
        """Rows that came out for each that was finished."""
        finished = self.done + self.failed + self.dropped
        return self.rows_out / finished if finished else None

    @property
    def rows_per_s(self) -> float | None:
        return self.done / self.at_work_s if self.at_work_s and self.calls else None

    @property
    def tokens_per_s(self) -> float | None:
        """Of completions."""
        return self.tokens.completion / self.at_work_s if self.at_work_s and self.calls else None


@dataclass(slots=True)
class EngineStats:
    name: str
    description: str
    steps: tuple[str, ...]
    calls: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    busy_s: float = 0.0
    """Its calls' times, added up."""
    up_s: float = 0.0
    """It was live and leased."""
    gpu_seconds: float | None = None
    """None where it has no devices of its own."""
    cost: float | None = None
    at_work_s: float | None = None
    """From its first call to the end of its last, without the time between processes."""
    times: Latencies | None = None
    replicas: list[Idleness] = field(default_factory=list)
    window: float | None = None
    """Calls that may be in flight, on average."""
    starts: int = 0
    starting_s: float = 0.0
    deaths: int = 0
    throttled_s: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens.completion / self.at_work_s if self.at_work_s and self.calls else None

    @property
    def mean_in_flight(self) -> float | None:
        """Over the time it was there."""
        up_s = max((one.up_s for one in self.replicas), default=0.0)
        return sum(one.in_flight for one in self.replicas) / up_s if up_s else None


@dataclass(slots=True)
class EdgeStats:
    """Rows that went from one node to another."""

    start: str
    """`chain_input` for the rows as they were read."""
    end: str
    rows: int
    per_entered: float | None
    """For each row that entered `start`."""


def step_stats(
    graph: Mapping[str, Any], status: Mapping[str, Any], calls: Calls, timeline: Timeline
) -> list[StepStats]:
    """In the order of the nodes."""
    ways = Ways.of(graph)
    names = {str(node.get("id")): str(node.get("name", "")) for node in graph.get("execution_order") or []}
    counted = status.get("nodes")
    counted = counted if isinstance(counted, dict) else {}
    found = []
    for id in [*ways.kinds, *(id for id in counted if id not in ways.kinds)]:
        kind = ways.kinds.get(id, "step" if (counted.get(id) or {}).get("calls") else "")
        step = _counted(StepStats(id, names.get(id, id), kind, ways.engine_of.get(id)), counted.get(id) or {})
        if kind == "step":
            mine = calls.of_steps([id])
            step.times = Latencies.of(calls, mine)
            step.at_work_s = _at_work(calls, mine, timeline)
        found.append(step)
    by_id = {step.id: step for step in found}
    for step in found:
        if step.kind in LOOPS and step.rows_in:
            first = next((id for start, id in ways.edges if start == step.id and _is_inside(ways, id, step.id)), None)
            step.turns = by_id[first].rows_in / step.rows_in if first in by_id else None
    return found


def _counted(step: StepStats, said: Mapping[str, Any]) -> StepStats:
    for name in ("rows_in", "done", "rows_out", "failed", "dropped", "calls", "retried", "reused"):
        setattr(step, name, int(said.get(name) or 0))
    step.dropped_why = dict(said.get("dropped_why") or {})
    step.tokens = tokens_of(said)
    step.seconds = float(said.get("seconds") or 0.0)
    step.gpu_seconds, step.cost = said.get("gpu_seconds"), said.get("cost")
    return step


def tokens_of(said: Mapping[str, Any]) -> Tokens:
    """As `status.json` has them, of the run, a node or an engine."""
    return Tokens(*(int(said.get(f"{name}_tokens") or 0) for name in ("prompt", "cached", "completion")))


def engine_stats(
    graph: Mapping[str, Any], status: Mapping[str, Any], calls: Calls, timeline: Timeline, idle: Sequence[Idleness]
) -> list[EngineStats]:
    ways = Ways.of(graph)
    said = status.get("engines")
    said = said if isinstance(said, dict) else {}
    words = {str(e.get("name")): str(e.get("description") or e.get("model") or "") for e in graph.get("engines") or []}
    found = []
    for name in dict.fromkeys([*ways.engines, *said]):
        steps, own = ways.engines.get(name, ()), said.get(name) or {}
        mine = calls.of_steps(steps)
        engine = EngineStats(
            name,
            words.get(name, ""),
            steps,
            int(own.get("calls") or 0),
            tokens_of(own),
            float(own.get("busy_s") or 0.0),
            float(own.get("up_s") or 0.0),
            own.get("gpu_seconds") or None,
            own.get("cost"),
            _at_work(calls, mine, timeline),
            Latencies.of(calls, mine),
            [one for one in idle if one.engine == name],
            _window(timeline, name),
        )
        _of_tracks(engine, timeline)
        found.append(engine)
    return found


def _of_tracks(engine: EngineStats, timeline: Timeline) -> None:
    for session in timeline.sessions:
        track = session.engines.get(engine.name)
        if track is None:
            continue
        engine.starts += track.starts
        engine.deaths += track.deaths
        starting = (span for span in track.spans if span.state in ("starting", "waking"))
        engine.starting_s += sum(span.end_s - span.start_s for span in starting)
        engine.throttled_s += sum(span.end_s - span.start_s for span in track.throttled)


def _window(timeline: Timeline, engine: str) -> float | None:
    """Mean over the time it was live and leased, as the snapshots tell it."""
    area = whole = 0.0
    for session in timeline.sessions:
        series = session.progress.engines.get(engine)
        if series is None:
            continue
        before_s = 0.0
        for up_s, window in zip(series["up_s"], series["window"], strict=True):
            if up_s > before_s and window > 0:
                area += window * (up_s - before_s)
                whole += up_s - before_s
                before_s = up_s
    if whole:
        return area / whole
    last = next((s.finished.engines.get(engine) for s in reversed(timeline.sessions) if s.finished), None)
    return float(last.window) if last is not None and last.window else None


def _at_work(calls: Calls, which: Flags, timeline: Timeline) -> float | None:
    chosen = which & calls.made
    starts = calls["started_s"][chosen]
    if not len(starts):
        return None
    ends = starts + calls["seconds"][chosen]
    seconds = 0.0
    for session in timeline.sessions:
        inside = (ends > session.started_s) & (starts < session.ended_s)
        if inside.any():
            seconds += min(float(ends[inside].max()), session.ended_s) - max(
                float(starts[inside].min()), session.started_s
            )
    return seconds or float(ends.max() - starts.min()) or None


def edge_stats(graph: Mapping[str, Any], steps: Collection[StepStats], rows_in: int) -> list[EdgeStats]:
    """Edge by edge what went along it. Into a node with several edges, what came out of the node before each."""
    edges = [edge for edge in graph.get("edges") or [] if isinstance(edge, list) and len(edge) == 2]
    by_id = {step.id: step for step in steps}
    found = []
    for start, end in edges:
        before, after = by_id.get(start), by_id.get(end)
        entered = before.rows_in if before is not None else rows_in
        came_out = before.rows_out if before is not None else rows_in
        alone = sum(1 for _, other in edges if other == end) == 1
        rows = after.rows_in if alone and after is not None else came_out
        found.append(EdgeStats(str(start), str(end), rows, rows / entered if entered else None))
    return found


def _is_inside(ways: Ways, id: str, loop: str) -> bool:
    return loop in ways.loops.get(id, ())
