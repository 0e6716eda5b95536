"""The picture of a run at one moment: the graph with a bar per node, engines, time. Knows no terminal, only a width."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from chainette.cli.drawing import TreeLine
from chainette.cli.progress import EngineState, Expected, RunState, handled
from chainette.cli.screen import BAD, GOOD, NAME, QUIET, WARN, cut, line
from chainette.cli.summary import money
from chainette.cli.wording import ICONS, Glyphs, clock, count, counted, one_line, rate
from chainette.events import EngineCount, NodeCount

WIDE = 76
"""From here on there is room for rates."""
MAX_BAR = 40
MIN_BAR = 6


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node's figures, ready to be set in columns."""

    drawn: TreeLine
    kind: str
    emoji: str
    share: float | None
    numbers: str
    rate: str
    failed: int
    dropped: int
    retried: int
    finished: bool


def node_rows(state: RunState) -> dict[str, NodeRow]:
    """Per node id, what stands on its line."""
    if state.started is None:
        return {}
    kinds = {node_id: (kind, _emoji(label)) for node_id, kind, label in state.started.nodes}
    expected = state.expected()
    over = state.finished is not None
    done = state.finished is not None and state.finished.state == "done"
    rows: dict[str, NodeRow] = {}
    for drawn in state.tree():
        if drawn.node is None:
            continue
        node = state.nodes.get(drawn.node, NodeCount())
        passed, goal = handled(node), expected.get(drawn.node, Expected(None, False))
        if done:
            goal = Expected(node.entered, True)
        share = None if goal.rows is None else (passed / goal.rows if goal.rows else float(done))
        speed = "" if over else rate(state.node_rate(drawn.node))
        complete = goal.exact and goal.rows is not None and passed >= goal.rows
        rows[drawn.node] = NodeRow(
            drawn,
            *kinds.get(drawn.node, ("", "")),
            share,
            _numbers(passed, goal),
            speed,
            node.failed,
            node.dropped,
            node.retried,
            complete and (done or passed > 0),
        )
    return rows


def _emoji(label: str) -> str:
    """The sign a step was given by its author; the library puts it before the label."""
    first, _, rest = label.partition(" ")
    return first if rest and not first.isascii() and not first[0].isalnum() and cell_len(first) <= 2 else ""


def _numbers(passed: int, goal: Expected) -> str:
    if goal.rows is None:
        return count(passed)
    return f"{count(passed)}/{'' if goal.exact else '~'}{count(round(goal.rows))}"


def bar(share: float | None, width: int, glyphs: Glyphs, done: bool) -> Text:
    """A bar of exactly `width` cells; without a share, an empty one."""
    share = min(1.0, max(0.0, share or 0.0))
    halves = int(share * width * 2)
    full, half = divmod(halves, 2)
    if not done and full == width:
        full, half = width - 1, 1
    text = Text()
    text.append(glyphs.full * full + glyphs.half * half, style=GOOD if done else "cyan")
    text.append(glyphs.empty * (width - full - half), style=QUIET)
    return text


def node_lines(state: RunState, glyphs: Glyphs, width: int, max_branches: int | None = None) -> list[Text]:
    """The graph as lines no wider than `width`."""
    if state.started is None:
        return []
    rows = node_rows(state)
    drawn = state.tree_for(glyphs, max_branches)
    labels = {id(d): _label(d, rows, glyphs) for d in drawn}
    label_width = min(max((label.cell_len for label in labels.values()), default=0), width * 2 // 5)
    numbers_width = max((len(r.numbers) for r in rows.values()), default=0)
    rate_width = 10 if width >= WIDE and state.finished is None else 0
    notes = {node_id: _notes(r, glyphs) for node_id, r in rows.items()}
    left = width - label_width - numbers_width - rate_width - 6
    bar_width = _bar_width(
        left, list(notes.values()), max((len(count(r.failed)) + 7 for r in rows.values()), default=0)
    )
    lines = []
    for d in drawn:
        label = labels[id(d)]
        cut(label, label_width, glyphs)
        label.pad_right(max(0, label_width - label.cell_len))
        if d.node is not None and d.node in rows:
            row = rows[d.node]
            if bar_width >= MIN_BAR:
                label.append("  ").append_text(bar(row.share, bar_width, glyphs, row.finished))
            label.append(f"  {row.numbers:>{numbers_width}}")
            if rate_width:
                label.append(f"{row.rate:>{rate_width}}", style=QUIET)
            label.append("  ").append_text(notes[d.node])
        cut(label, width, glyphs)
        label.rstrip()
        lines.append(label)
    return lines


def _bar_width(left: int, notes: list[Text], failed_width: int) -> int:
    """What the notes leave of `left` cells. A bar may shorten all notes but the failures."""
    wide = left - max((note.cell_len for note in notes), default=0)
    if wide < MIN_BAR:
        wide = min(MIN_BAR, left - failed_width)
    return min(MAX_BAR, wide)


def _label(drawn: TreeLine, rows: dict[str, NodeRow], glyphs: Glyphs) -> Text:
    if drawn.node is None or drawn.node not in rows:
        return line((drawn.prefix, QUIET), (drawn.text, "italic"))
    row = rows[drawn.node]
    sign = glyphs.of(row.kind)
    if row.emoji and glyphs is ICONS:
        sign = row.emoji
    style = BAD if row.failed else GOOD if row.finished else "cyan"
    return line((drawn.prefix, QUIET), (f"{sign} ", style), (drawn.text, NAME if row.kind == "step" else ""))


def _notes(row: NodeRow, glyphs: Glyphs) -> Text:
    parts = []
    if row.failed:
        parts.append((f"{count(row.failed)} failed", BAD))
    if row.dropped:
        parts.append((f"{count(row.dropped)} dropped", QUIET))
    if row.retried:
        parts.append((f"{count(row.retried)} retried", WARN))
    text = Text()
    for position, (words, style) in enumerate(parts):
        text.append(f" {glyphs.dot} " if position else "", style=QUIET).append(words, style=style)
    return text


def engine_lines(state: RunState, glyphs: Glyphs, width: int, now_s: float) -> list[Text]:
    """Two lines per engine: what it does, and what it is."""
    lines: list[Text] = []
    names = [*state.engine_states, *(n for n in state.engines if n not in state.engine_states)]
    name_width = min(max((cell_len(one_line(n)) for n in names), default=0), width // 3)
    for name in names:
        known = state.engine_states.get(name, EngineState())
        text = line((set_cell_size(one_line(name), name_width), NAME), "  ")
        load, over = state.engines.get(name), state.finished is not None
        _engine_words(text, known, load, state.token_rate(name), f" {glyphs.dot} ", now_s, over)
        cut(text, width, glyphs)
        lines.append(text)
        if known.description:
            about = line(" " * (name_width + 2), (one_line(known.description), QUIET))
            cut(about, width, glyphs)
            lines.append(about)
    return lines


def _engine_words(
    text: Text, known: EngineState, load: EngineCount | None, tokens: float, dot: str, now_s: float, over: bool
) -> None:
    if known.state == "starting":
        text.append(f"starting, {clock(now_s - known.since_s)}", style=WARN)
        return
    if load is None or (known.state == "waiting" and not load.calls and not load.running):
        text.append("not needed yet" if known.state == "waiting" else known.state, style=QUIET)
        return
    if over:
        text.append(f"{counted(load.calls, 'call')}{dot}{counted(load.completion_tokens, 'token')} written")
        if load.cached_tokens:
            text.append(f"{dot}{count(load.cached_tokens)} of {count(load.prompt_tokens)} read were cached")
        if load.cost is not None:
            text.append(f"{dot}cost {money(load.cost)}")
        _errors(text, load, dot)
        return
    if known.state in ("stopped", "asleep"):
        text.append(f"{known.state}{dot}", style=QUIET)
    text.append(f"{count(load.running)}/{count(load.window)} running{dot}{count(load.waiting)} waiting")
    text.append(f"{dot}{count(tokens)} tokens/s{dot}{counted(load.calls, 'call')}")
    _errors(text, load, dot)
    if known.held_by:
        text.append(f"{dot}held back by the {one_line(known.held_by)}", style=WARN)


def _errors(text: Text, load: EngineCount, dot: str) -> None:
    if load.errors:
        text.append(dot).append(counted(load.errors, "error"), style=BAD)


def foot(state: RunState, glyphs: Glyphs, width: int, elapsed_s: float) -> Text:
    """Rows, time gone and time left on one line."""
    total, dot = state.rows_total(), f" {glyphs.dot} "
    if state.interrupted and state.finished is None:
        text = line(("finishing what is in flight (Ctrl-C again: at once)", WARN))
        text.append(f"{dot}{count(state.rows_done)} of {count(state.rows_read)} rows committed")
        cut(text, width, glyphs)
        return text
    share = state.share_done()
    text = line((f"{int(share * 100)}%{dot}" if share is not None else "", NAME))
    goal = f"{counted(total, 'row')}" if total is not None else f"{counted(state.rows_read, 'row')} read"
    text.append(f"{count(state.rows_done)} of {goal} committed")
    speed = rate(state.row_rate())
    if speed:
        text.append(dot + speed)
    text.append(f"{dot}{clock(elapsed_s)} elapsed")
    left = state.left_s()
    if left is not None and state.finished is None:
        text.append(f"{dot}about {clock(left + 1)} left")
    cut(text, width, glyphs)
    return text


def head(state: RunState, glyphs: Glyphs, width: int) -> list[Text]:
    """The chain's name, how many rows, and where they land."""
    if state.started is None:
        return [line((f"checking {glyphs.more}", QUIET))]
    total = state.started.rows_total
    rows = counted(total, "row") if total is not None else "rows as they come"
    top = line((one_line(state.started.chain), NAME), f" {glyphs.dot} {rows}")
    folder = line((one_line(state.started.folder), QUIET))
    for text in (top, folder):
        cut(text, width, glyphs)
    return [top, folder]


def picture(
    state: RunState,
    glyphs: Glyphs,
    width: int,
    height: int,
    now_s: float,
    elapsed_s: float,
    max_branches: int | None = None,
) -> Text:
    """The whole view, cut to `height` lines: the graph gives way first."""
    above = [*head(state, glyphs, width), Text()]
    below = _below(state, glyphs, width, now_s, elapsed_s)
    graph = node_lines(state, glyphs, width, max_branches)
    room = max(3, height - len(above) - len(below) - 1)
    if len(graph) > room:
        hidden = len(graph) - room + 1
        top, bottom = room // 2, room - room // 2 - 1
        gap = line((f"{glyphs.more} {hidden} more lines {glyphs.more}", QUIET))
        graph = [*graph[:top], gap, *graph[len(graph) - bottom :]]
    return Text("\n").join([*above, *graph, *below])


def _below(state: RunState, glyphs: Glyphs, width: int, now_s: float, elapsed_s: float) -> list[Text]:
    """Engines, warnings, time. When the run is over all warnings stay, and the summary says the rest."""
    over = state.finished is not None
    lines: list[Text] = [Text()]
    engines = engine_lines(state, glyphs, width, now_s)
    if engines:
        lines += [*engines, Text()]
    for said in state.warnings if over else state.warnings[-1:]:
        warning = line((f"warning: {one_line(said)}", WARN))
        cut(warning, width * 4 if over else width, glyphs)
        warning.no_wrap = not over
        lines.append(warning)
    if not over:
        lines.append(foot(state, glyphs, width, elapsed_s))
    return lines
