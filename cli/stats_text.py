"""The figures of a run as tables and sentences. Works nothing out; knows no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from chainette.cli.screen import BAD, GOOD, NAME, QUIET, WARN, line
from chainette.cli.summary import money
from chainette.cli.table import Column, table
from chainette.cli.wording import count, one_line, rate, run_word, short_time

if TYPE_CHECKING:
    from chainette.observe.critical_path import Part
    from chainette.observe.idle import Idleness, Why
    from chainette.observe.latency import Latencies, Spread
    from chainette.reports.stats import RunStats, StepStats

_STYLES = {"done": GOOD, "running": "cyan", "interrupted": WARN}
_WHY: dict[Why, str] = {
    "starting": "starting",
    "rate_limit": "rate limit",
    "between_calls": "between calls",
    "other_step": "other step",
    "no_input": "input not read",
    "no_rows": "no rows",
}
WARNINGS = 5


def stats_lines(stats: RunStats, width: int) -> Iterator[Text]:
    """All of it, in at most `width` cells where words allow it."""
    yield from _head(stats)
    sections = (
        ("rows", _rows(stats, width)),
        ("tokens and pace", _tokens(stats, width)),
        ("times of calls", _times(stats, width)),
        ("engines", _engines(stats, width)),
        ("idle time of replicas", _idle(stats, width)),
        ("critical path: what the run's time went into", _path(stats, width)),
        ("ways", _ways(stats, width)),
    )
    for title, lines in sections:
        if lines:
            yield line()
            yield line((title, f"bold {QUIET}"))
            yield from lines
    if stats.missing:
        yield line()
        yield from (line(("note  ", QUIET), one_line(words)) for words in stats.missing)


def percent(share: float | None) -> str:
    """`12.3%`; what is above zero is never told as nothing."""
    if share is None:
        return ""
    return "under 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _head(stats: RunStats) -> Iterator[Text]:
    style = _STYLES.get(stats.state, BAD)
    yield line(
        (one_line(stats.run), NAME), "  ", (one_line(stats.state), style), (f"  {one_line(stats.folder)}", QUIET)
    )
    of = f" of {count(stats.rows_total)}" if stats.rows_total and stats.rows_total > stats.rows_done else ""
    words = [f"{count(stats.rows_done)}{of} rows done", f"{count(stats.rows_out)} out"]
    words += [f"{count(stats.rows_failed)} failed"] if stats.rows_failed else []
    words += [f"{count(stats.rows_dropped)} dropped"] if stats.rows_dropped else []
    pace = f", {rate(stats.rows_per_s)}" if stats.rows_per_s else ""
    yield line(f"{one_line(stats.chain)}: {', '.join(words)} in {short_time(stats.seconds)}{pace}")
    if stats.state == "running":
        left = f"about {short_time(stats.eta_s)} to go" if stats.eta_s is not None else _why_no_eta(stats)
        yield line(("now     ", QUIET), left)
    if stats.started_s is not None and stats.last_sign_s is not None:
        last = {"running": "now", "died": "last sign of life"}.get(stats.state, "ended")
        times = f"began {_moment(stats.started_s)}, {last} {_moment(stats.last_sign_s)}"
        more = f", in {stats.processes} processes" if stats.processes > 1 else ""
        yield line(("time    ", QUIET), times + more)
    used = [f"{_of(stats.tokens.prompt)} prompt tokens"] if stats.tokens.prompt else []
    used += [f"{percent(stats.tokens.cached_share)} of them cached"] if stats.tokens.cached else []
    used += [f"{_of(stats.tokens.completion)} completion tokens"] if stats.tokens.completion else []
    used += [f"{stats.gpu_seconds:,.0f} GPU-seconds"] if stats.gpu_seconds is not None else []
    used += [f"cost {money(stats.cost)}"] if stats.cost is not None else []
    if used:
        yield line(("used    ", QUIET), ", ".join(used))
    yield from _trouble(stats, style)


def _trouble(stats: RunStats, style: str) -> Iterator[Text]:
    if stats.message and stats.message != stats.state:
        yield line(("why     ", QUIET), (one_line(stats.message), style))
    if stats.state == "died":
        yield line(("why     ", QUIET), ("its process is gone and said nothing of its end", style))
        if stats.last_words:
            yield line(("last    ", QUIET), one_line(stats.last_words, 500))
    for words in stats.warnings[-WARNINGS:]:
        yield line(("warned  ", QUIET), (one_line(words, 500), WARN))
    if stats.next_command:
        run = one_line(run_word(stats.folder))
        yield line(("next    ", QUIET), (f"chainette {stats.next_command} {run}", NAME))


def _why_no_eta(stats: RunStats) -> str:
    if stats.rows_total is None:
        return "the input does not tell its length: no time to go can be said"
    return "no rows came to their end lately: no time to go can be said"


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _of(number: float | None) -> str:
    return count(number) if number else ""


def _rows(stats: RunStats, width: int) -> list[Text]:
    steps = stats.steps
    columns = [
        Column("step", [one_line(s.id) for s in steps], left=True),
        Column("in", [_of(s.rows_in) for s in steps]),
        Column("out", [_of(s.rows_out) for s in steps]),
        Column("failed", [_of(s.failed) for s in steps], 1, style=BAD),
        Column("dropped", [_of(s.dropped) for s in steps], 2),
        Column("made per row", [f"{s.made_per_row:.2f}" if _fans_out(s) else "" for s in steps], 4),
        Column("turns", [f"{s.turns:.2f}" if s.turns is not None else "" for s in steps], 3),
        Column("calls", [_of(s.calls) for s in steps], 1),
        Column("retried", [_of(s.retried) for s in steps], 2),
        Column("reused", [_of(s.reused) for s in steps], 2),
    ]
    lines = table(columns, width) if steps else []
    drops = [(times, s.id, why) for s in steps for why, times in s.dropped_why.items()]
    for times, id, why in sorted(drops, key=lambda drop: -drop[0])[:WARNINGS]:
        lines.append(line(f"  {count(times)} x", (" dropped ", QUIET), f"{one_line(id)}  {one_line(why)}"))
    return lines


def _fans_out(step: StepStats) -> bool:
    return step.made_per_row is not None and step.kind != "while_loop" and step.rows_out != step.done


def _tokens(stats: RunStats, width: int) -> list[Text]:
    steps = [step for step in stats.steps if step.calls]
    if not steps:
        return []
    return table(
        [
            Column("step", [one_line(s.id) for s in steps], left=True),
            Column("prompt", [_of(s.tokens.prompt) for s in steps]),
            Column("cached", [percent(s.tokens.cached_share) if s.tokens.cached else "" for s in steps], 2),
            Column("completion", [_of(s.tokens.completion) for s in steps]),
            Column("rows/s", [rate(s.rows_per_s or 0) for s in steps], 1),
            Column("tokens/s", [rate(s.tokens_per_s or 0) for s in steps], 1),
            Column("time of calls", [short_time(s.seconds) if s.seconds else "" for s in steps], 4),
            Column("GPU-s", [f"{s.gpu_seconds:,.1f}" if s.gpu_seconds else "" for s in steps], 3),
            Column("cost", [money(s.cost) if s.cost is not None else "" for s in steps], 3),
        ],
        width,
    )


def _times(stats: RunStats, width: int) -> list[Text]:
    told: list[tuple[str, str, Spread]] = []
    for name, times in [(step.id, step.times) for step in stats.steps] + _of_shared(stats):
        for what, spread in _spreads(times):
            told.append((name, what, spread))
    if not told:
        return []
    names = [one_line(name) if not i or told[i - 1][0] != name else "" for i, (name, _, _) in enumerate(told)]
    spreads = [spread for _, _, spread in told]
    return table(
        [
            Column("step", names, left=True),
            Column("", [what for _, what, _ in told], left=True),
            Column("calls", [count(s.count) for s in spreads], 2),
            Column("mean", [short_time(s.mean) for s in spreads]),
            Column("p50", [short_time(s.p50) for s in spreads]),
            Column("p95", [short_time(s.p95) for s in spreads]),
            Column("p99", [short_time(s.p99) for s in spreads]),
            Column("most", [short_time(s.most) for s in spreads], 1),
        ],
        width,
    )


def _of_shared(stats: RunStats) -> list[tuple[str, Latencies | None]]:
    """Engines that serve several steps have times of their own."""
    return [(f"engine {engine.name}", engine.times) for engine in stats.engines if len(engine.steps) > 1]


def _spreads(times: Latencies | None) -> list[tuple[str, Spread]]:
    if times is None:
        return []
    named = (("queue", times.queue), ("first token", times.first_token), ("total", times.total))
    return [(what, spread) for what, spread in named if spread is not None]


def _engines(stats: RunStats, width: int) -> list[Text]:
    engines = stats.engines
    if not engines:
        return []
    flights = [
        f"{e.mean_in_flight:.1f}" + (f" of {e.window:.0f}" if e.window else "") if e.mean_in_flight is not None else ""
        for e in engines
    ]
    return table(
        [
            Column("engine", [one_line(e.name) for e in engines], left=True),
            Column("calls", [_of(e.calls) for e in engines]),
            Column("in flight", flights),
            Column("tokens/s", [rate(e.tokens_per_s or 0) for e in engines], 1),
            Column("up", [short_time(e.up_s) if e.up_s else "" for e in engines], 1),
            Column("starting", [short_time(e.starting_s) if e.starting_s else "" for e in engines], 2),
            Column("deaths", [_of(e.deaths) for e in engines], 1, style=BAD),
            Column("rate limit", [short_time(e.throttled_s) if e.throttled_s else "" for e in engines], 2, style=WARN),
            Column("GPU-s", [f"{e.gpu_seconds:,.1f}" if e.gpu_seconds else "" for e in engines], 2),
            Column("cost", [money(e.cost) if e.cost is not None else "" for e in engines], 2),
            Column("", [one_line(e.description) for e in engines], 3, left=True, style=QUIET),
        ],
        width,
    )


def _idle(stats: RunStats, width: int) -> list[Text]:
    replicas = [one for engine in stats.engines for one in engine.replicas]
    if not replicas:
        return []

    def part(one: Idleness, seconds: float) -> str:
        return percent(seconds / one.up_s) if one.up_s and seconds > 0 else ""

    whose = [one_line(one.engine) + (f" {one.replica}" if one.replica is not None else " (all)") for one in replicas]
    columns = [
        Column("replica", whose, left=True),
        Column("there", [short_time(one.up_s) for one in replicas], 2),
        Column("busy", [part(one, one.busy_s) for one in replicas]),
        Column("idle", [percent(one.share) for one in replicas]),
    ]
    columns += [Column(words, [part(one, one.why[why]) for one in replicas], 1) for why, words in _WHY.items()]
    lines = table(columns, width)
    if any(one.source == "snapshots" for one in replicas):
        lines.append(line(("  of the counters, about once a second: not all calls were looked at", QUIET)))
    return lines


def _path(stats: RunStats, width: int) -> list[Text]:
    if stats.path is None:
        return []
    parts = stats.path.parts
    return table(
        [
            Column("share", [percent(part.share) for part in parts]),
            Column("time", [short_time(part.seconds) for part in parts]),
            Column("times", [count(part.times) for part in parts], 1),
            Column("what", [_what(part) for part in parts], left=True),
        ],
        width,
    )


def _what(part: Part) -> str:
    name = one_line(part.name)
    return {
        "call": f"{name}: calls",
        "queue": f"{name}: waiting in the engine",
        "start": f"{name}: the engine starting",
        "rate_limit": f"{name}: rate limit",
        "function": f"{name}: functions",
        "input": "input, and what comes before the first call",
        "between": "between calls",
        "end": "after the last call",
        "further": "further back: the path has too many calls",
    }[part.kind]


def _ways(stats: RunStats, width: int) -> list[Text]:
    edges = stats.edges
    if not edges:
        return []
    return table(
        [
            Column("from", [one_line(edge.start) for edge in edges], left=True),
            Column("to", [one_line(edge.end) for edge in edges], left=True),
            Column("rows", [count(edge.rows) for edge in edges]),
            Column("per row that entered", _per(edges), 1),
        ],
        width,
    )


def _per(edges: Sequence[object]) -> list[str]:
    return [f"{per:.2f}" if (per := getattr(edge, "per_entered", None)) is not None else "" for edge in edges]
