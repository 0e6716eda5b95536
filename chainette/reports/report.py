"""`report.html`: one run as one file to send to a colleague. Everything stands in it: no script, no request, nothing
of it is obeyed by a browser. Says what a folder has; what cannot be read is said in its place.

The same folder gives the same bytes, but for a run that is still at work.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chainette.errors import RunFolderError
from chainette.files.runs import RunSummary, summarise
from chainette.reports.report_parts import Block, Budget, Sample, Step, engine_blocks, facts_of, sample_of, steps_of
from chainette.reports.styles import SHEETS, sheet

if TYPE_CHECKING:
    from jinja2 import Environment

    from chainette.files.reading import RunReader
    from chainette.reports.failures import Alike
    from chainette.reports.report_figures import FigureTable

T = TypeVar("T")

NAME = "report.html"
MARK = "chainette report"
"""By which a file is known to be one of ours, that may be written anew."""
MOST_DRAWING = 1_500_000
"""Characters of the graph's drawing, above which it is left out."""
MOST_GROUPS = 25
_WORDS = {
    "done": "It is done.",
    "running": "It is at work; this is how far it was.",
    "interrupted": "It was interrupted and can go on.",
    "stopped": "It stopped before its last row and can go on.",
    "died": "Its process died. What it had finished is here, and it can go on.",
    "broken": "Its folder does not say how far it is.",
}
_TONES = {"done": "good", "running": "live", "interrupted": "warn"}


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures that are alike, with the first of them."""

    group: Alike
    row: str
    message: Block
    raw: Block | None
    cause: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What the page says."""

    name: str
    chain: str
    state: str
    tone: str
    words: str
    run: RunSummary
    rows: Mapping[str, int]
    tags: tuple[str, ...] = ()
    drawing: str = ""
    tables: list[FigureTable] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    failures: list[FailureGroup] = field(default_factory=list)
    failed: int = 0
    sample: Sample | None = None
    steps: list[Step] = field(default_factory=list)
    engines: list[Step] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is missing here, and why."""


def write_report(reader: RunReader, target: Path | None = None) -> Path:
    """Writes the report into the run's folder, or as `target`. A report that is there is replaced, no other file.

    Raises:
        RunFolderError: it cannot be written.
    """
    from chainette.files.disk import file_error, replace_file

    path = reader.path / NAME if target is None else target
    try:
        if path.is_dir():
            path = path / NAME
        if path.exists() and MARK.encode() not in path.read_bytes()[:1_000]:
            raise RunFolderError(f"{path} is there, and is no report (choose another name, or move it away)")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(path, error) from error
    # Half a surrogate pair in somebody's data has no UTF-8.
    replace_file(path, report_html(reader).encode("utf-8", "replace"), file_error)
    return path


def report_html(reader: RunReader) -> str:
    """The whole page."""
    style = "\n".join(map(sheet, SHEETS))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = _environment().get_template("report.html")
    return template.render(report=_collected(reader), style=_ours(style), digest=digest, mark=MARK)


def _collected(reader: RunReader) -> Report:
    notes: list[str] = []
    budget = Budget()

    def tried(what: str, make: Callable[[], T], otherwise: T) -> T:
        # A report is what is left to look at when something went wrong; a part that fails must not take the rest along.
        try:
            return make()
        except Exception as error:
            notes.append(f"{what} cannot be told: {type(error).__name__}: {error}"[:500])
            return otherwise

    graph: dict[str, Any] = tried("What ran", reader.graph, {})
    status: dict[str, Any] = tried("How far it is", reader.status, {})
    report = _head(reader, graph, status)
    report.notes = notes
    report.steps = tried("The steps", lambda: steps_of(graph, budget), [])
    anchors = {step.id: step.anchor for step in report.steps}
    report.drawing = tried("The graph", lambda: _drawing(graph, status, anchors, notes), "")
    tried("The figures", lambda: _figures(reader, report), None)
    tried("The failures", lambda: _failures(reader, report, budget), None)
    report.sample = tried("The rows", lambda: sample_of(reader, graph, budget), None)
    report.engines = tried("The engines", lambda: engine_blocks(graph, budget), [])
    report.facts = tried("How it was called", lambda: facts_of(graph), [])
    if budget.cut:
        notes.append(f"{budget.cut:,} long texts were cut to keep this file small; the run folder has them whole.")
    return report


def _head(reader: RunReader, graph: Mapping[str, Any], status: Mapping[str, Any]) -> Report:
    run = summarise(reader.path)
    rows = {name: int(status.get(f"rows_{name}") or 0) for name in ("in", "out", "failed", "dropped")}
    return Report(
        name=run.name,
        chain=str(graph.get("chain") or run.chain or run.name),
        state=run.state,
        tone=_TONES.get(run.state, "bad"),
        words=_WORDS.get(run.state, ""),
        run=run,
        rows=rows,
        tags=tuple(str(tag) for tag in graph.get("tags") or ()),
    )


def _drawing(graph: Mapping[str, Any], status: Mapping[str, Any], anchors: Mapping[str, str], notes: list[str]) -> str:
    from chainette.reports.drawing import draw

    counts = status.get("nodes")
    svg = draw(graph, counts if isinstance(counts, Mapping) else {}, live_ids=False, links=_anchor_of(anchors))
    if len(svg) > MOST_DRAWING:
        notes.append("The graph is too large to be drawn here: chainette inspect-dag, or chainette view.")
        return ""
    return svg


def _anchor_of(anchors: Mapping[str, str]) -> Callable[[str], str]:
    return lambda node: f"#{anchors.get(node, 'steps')}"


def _figures(reader: RunReader, report: Report) -> None:
    from chainette.reports.course import course_of
    from chainette.reports.report_figures import figure_tables
    from chainette.reports.stats import run_stats
    from chainette.reports.timelines import timeline_of

    stats = run_stats(reader)
    report.tables = figure_tables(stats)
    report.notes += [*stats.missing, *stats.warnings[:10]]
    course = course_of(timeline_of(reader))
    report.charts = [chart for chart in (*course.charts, course.spans) if chart]


def _failures(reader: RunReader, report: Report, budget: Budget) -> None:
    from chainette.reports.failures import grouped_failures

    found = grouped_failures(reader)
    report.failed = found.total
    for group in found.groups[:MOST_GROUPS]:
        example = _first_of(reader, group)
        message = budget.block(example.message if example is not None else group.message)
        raw = budget.block(example.raw) if example is not None and example.raw else None
        cause = tuple(str(why)[:500] for why in example.cause[:10]) if example is not None else ()
        report.failures.append(FailureGroup(group, group.rows[0] if group.rows else "", message, raw, cause))
    if len(found.groups) > MOST_GROUPS or found.others:
        report.notes.append(f"Of the failures, the {MOST_GROUPS} commonest kinds are shown.")
    if found.read < found.total:
        report.notes.append(f"Of {found.total:,} failures {found.read:,} were looked at.")


def _first_of(reader: RunReader, group: Alike) -> Any:
    """The failure that is the group's first row."""
    if not group.rows:
        return None
    from chainette.reports.failures import pattern

    wanted = pattern(group.message)
    for failure in reader.failures(group.node):
        if failure.row_id == group.rows[0] and pattern(failure.message) == wanted:
            return failure
    return None


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from chainette.reports import wording
    from chainette.reports.harmless import lines, one_line

    environment = Environment(
        loader=PackageLoader("chainette.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=wording.count, seconds=wording.seconds, money=wording.money, line=one_line, text=lines, drawing=_ours
    )
    return environment


def _ours(text: str) -> Any:
    """Our own style sheet, or a drawing whose texts our own code has escaped: past the template's escaping."""
    from markupsafe import Markup

    return Markup(text)
