"""The report's tables of figures: of steps, engines and where the time went. Knows the figures, not how they are
worked out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chainette.observe.latency import Latencies
from chainette.reports.stats import RunStats
from chainette.reports.stats_parts import EngineStats, StepStats
from chainette.reports.wording import count, money, seconds, short_count

T = TypeVar("T")
MOST_LINES = 200
_PATH = {
    "call": "{}: calls",
    "queue": "{}: waiting in the engine",
    "start": "{}: the engine starting",
    "rate_limit": "{}: rate limit",
    "function": "{}: functions",
    "input": "input, and what comes before the first call",
    "between": "between calls",
    "end": "after the last call",
}


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class FigureTable:
    title: str
    heads: tuple[str, ...]
    """The first is that of the names, the others those of figures."""
    lines: tuple[tuple[Cell, ...], ...]


_Column = tuple[str, Callable[[T], str]]


def figure_tables(stats: RunStats) -> list[FigureTable]:
    """Those that say something; columns without a figure are left out."""
    made = [
        _table("Steps", stats.steps, _STEPS),
        _table("Engines", stats.engines, _ENGINES),
        _path_table(stats),
    ]
    return [table for table in made if table.lines]


def _table(title: str, items: Sequence[T], columns: Sequence[_Column[T]]) -> FigureTable:
    cells = [[make(item) for _, make in columns] for item in items[:MOST_LINES]]
    kept = [place for place in range(len(columns)) if place == 0 or any(line[place] for line in cells)]
    heads = tuple(columns[place][0] for place in kept)
    told = tuple(tuple(Cell(line[place], _tone(columns[place][0], line[place])) for place in kept) for line in cells)
    return FigureTable(title, heads, told)


def _tone(head: str, text: str) -> str:
    return "bad" if head in ("failed", "deaths") and text else ""


def _some(value: float | None) -> str:
    return count(value) if value else ""


def _cost(value: float | None) -> str:
    return money(value) if value is not None else ""


def _share(value: float | None) -> str:
    if not value:
        return ""
    return f"{100 * value:.0f}%" if value >= 0.005 else "<1%"


def _span(value_s: float) -> str:
    return seconds(value_s) if value_s >= 0.1 else f"{1_000 * value_s:.3g} ms"


def _time(times: Latencies | None, of: str) -> str:
    spread = times.total if times is not None else None
    return _span(getattr(spread, of)) if spread is not None else ""


_STEPS: tuple[_Column[StepStats], ...] = (
    ("step", lambda step: step.id),
    ("rows in", lambda step: count(step.rows_in)),
    ("rows out", lambda step: count(step.rows_out)),
    ("failed", lambda step: _some(step.failed)),
    ("dropped", lambda step: _some(step.dropped)),
    ("turns", lambda step: f"{step.turns:.1f}" if step.turns else ""),
    ("calls", lambda step: _some(step.calls)),
    ("again", lambda step: _some(step.retried)),
    ("reused", lambda step: _some(step.reused)),
    ("tokens in", lambda step: short_count(step.tokens.prompt) if step.tokens.prompt else ""),
    ("cached", lambda step: _share(step.tokens.cached_share)),
    ("tokens out", lambda step: short_count(step.tokens.completion) if step.tokens.completion else ""),
    ("p50", lambda step: _time(step.times, "p50")),
    ("p95", lambda step: _time(step.times, "p95")),
    ("p99", lambda step: _time(step.times, "p99")),
    ("GPU-s", lambda step: f"{step.gpu_seconds:,.1f}" if step.gpu_seconds else ""),
    ("cost", lambda step: _cost(step.cost)),
)
_ENGINES: tuple[_Column[EngineStats], ...] = (
    ("engine", lambda engine: engine.name),
    ("calls", lambda engine: count(engine.calls)),
    ("tokens/s", lambda engine: count(engine.tokens_per_s) if engine.tokens_per_s else ""),
    ("in flight", lambda engine: f"{engine.mean_in_flight:.1f}" if engine.mean_in_flight else ""),
    ("window", lambda engine: f"{engine.window:.0f}" if engine.window else ""),
    ("there", lambda engine: seconds(engine.up_s) if engine.up_s else ""),
    ("idle", lambda engine: _idle(engine)),
    ("starting", lambda engine: seconds(engine.starting_s) if engine.starting_s else ""),
    ("deaths", lambda engine: _some(engine.deaths)),
    ("rate limit", lambda engine: seconds(engine.throttled_s) if engine.throttled_s else ""),
    ("GPU-s", lambda engine: f"{engine.gpu_seconds:,.1f}" if engine.gpu_seconds else ""),
    ("cost", lambda engine: _cost(engine.cost)),
)


def _idle(engine: EngineStats) -> str:
    up_s = sum(one.up_s for one in engine.replicas)
    return _share(sum(one.idle_s for one in engine.replicas) / up_s) if up_s else ""


def _path_table(stats: RunStats) -> FigureTable:
    parts = stats.path.parts[:10] if stats.path is not None else []
    lines = tuple(
        (
            Cell(_PATH.get(part.kind, "further back").format(part.name)),
            Cell(_share(part.share)),
            Cell(_span(part.seconds)),
            Cell(count(part.times)),
        )
        for part in parts
    )
    return FigureTable("What the run waited for (critical path)", ("for", "share", "time", "times"), lines)
