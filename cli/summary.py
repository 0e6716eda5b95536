"""What stands on the terminal when a run is over: counts, the commonest failures, the next command. Draws no graph."""

from __future__ import annotations

import shlex

from rich.text import Text

from chainette.cli.screen import BAD, GOOD, NAME, QUIET, WARN, cut, line
from chainette.cli.wording import Glyphs, count, counted, one_line, rate, run_word, seconds
from chainette.events import RunFinished
from chainette.reports.failures import alike

COMMONEST = 3
_STYLES = {"done": GOOD, "interrupted": WARN, "stopped": BAD}


def summary(finished: RunFinished, glyphs: Glyphs, width: int, allowed: bool = False, kept: bool = True) -> list[Text]:
    """The end of a run in a few lines; `allowed` when its failures are within `--max-failed`.

    Without `kept` the run's folder is gone, and nothing can be shown of it.
    """
    dot = f" {glyphs.dot} "
    good = finished.state == "done" and not finished.rows_failed
    sign = glyphs.done if good else glyphs.failed if finished.state == "stopped" else glyphs.dash
    style = _STYLES.get(finished.state, "") if good or finished.state != "done" else WARN
    text = line((f"{sign} {finished.state}", f"bold {style}"))
    text.append(f"{dot}{counted(finished.rows_in, 'row')} in{dot}{count(finished.rows_out)} out")
    if finished.rows_failed:
        text.append(dot).append(f"{count(finished.rows_failed)} failed", style=BAD)
        text.append(" (allowed)" if allowed else "")
    if finished.rows_dropped:
        text.append(f"{dot}{count(finished.rows_dropped)} dropped")
    text.append(f"{dot}{seconds(finished.elapsed_s)}")
    rows = finished.rows_in - finished.rows_before
    if finished.elapsed_s > 0 and rows > 0 and finished.state == "done":
        text.append(f"{dot}{rate(rows / finished.elapsed_s)}", style=QUIET)
    if finished.cost is not None:
        text.append(f"{dot}cost {money(finished.cost)}")
    lines = [text]
    if finished.message and finished.message != finished.state:
        lines.append(Text(f"  {one_line(finished.message)}", style=style))
    lines += _failures(finished, width, glyphs)
    lines += _drops(finished, width, glyphs)
    lines.append(line("  folder  ", one_line(finished.folder), "" if kept else " (gone)"))
    for word, command in next_commands(finished) if kept else ():
        lines.append(line(f"  {word:<8}", (command, NAME)))
    return lines


def money(amount: float) -> str:
    """`0`, `0.00042`, `0.37`, `1,204.50`: in whatever currency the prices are."""
    if amount >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.6f}".rstrip("0").rstrip(".") or "0" if amount == 0 or amount >= 1e-6 else "under 0.000001"


def next_commands(finished: RunFinished) -> list[tuple[str, str]]:
    """What to type after this run, the last of them to get on."""
    run = run_word(finished.folder)
    commands = []
    if finished.failures:
        commands.append(("look", f"chainette show {run} {shlex.quote(finished.failures[0][0])} --failed"))
    if finished.state != "done":
        commands.append(("next", f"chainette resume {run}"))
    elif finished.failures:
        commands.append(("next", f"chainette retry {run}"))
    return commands


def _failures(finished: RunFinished, width: int, glyphs: Glyphs) -> list[Text]:
    shown = alike((node, kind, message, often) for node, kind, message, often in finished.failures)[:COMMONEST]
    if not shown:
        return []
    digits = max(len(count(f.times)) for f in shown)
    where = [one_line(f"{f.node} {f.kind}") for f in shown]
    where_width = min(max(len(w) for w in where), width // 3)
    lines = []
    for failure, place in zip(shown, where, strict=True):
        text = line("  ", (f"{count(failure.times):>{digits}} {glyphs.times}", BAD))
        text.append(f" {place:<{where_width}}  {one_line(failure.message)}")
        cut(text, width, glyphs)
        lines.append(text)
    whole = max(sum(n.failed for n in finished.nodes.values()), sum(f[3] for f in finished.failures))
    rest = whole - sum(f.times for f in shown)
    if rest > 0:
        lines.append(line((f"  {glyphs.more} and {counted(rest, 'other failure')}", QUIET)))
    return lines


def _drops(finished: RunFinished, width: int, glyphs: Glyphs) -> list[Text]:
    """Why rows were dropped, where the functions said so: the commonest first."""
    said = [(times, node, why) for node, counted in finished.nodes.items() for why, times in counted.drops.items()]
    said.sort(key=lambda drop: (-drop[0], drop[1], drop[2]))
    lines = []
    for times, node, why in said[:COMMONEST]:
        text = line("  ", f"{count(times)} {glyphs.times}", (" dropped ", QUIET), f"{one_line(node)}  {one_line(why)}")
        cut(text, width, glyphs)
        lines.append(text)
    if len(said) > COMMONEST:
        lines.append(line((f"  {glyphs.more} and {counted(len(said) - COMMONEST, 'other reason')}", QUIET)))
    return lines


def plain_summary(finished: RunFinished, glyphs: Glyphs, width: int, allowed: bool = False, kept: bool = True) -> str:
    """The same without colour, one string with line breaks."""
    return "\n".join(text.plain.rstrip() for text in summary(finished, glyphs, width, allowed, kept)) + "\n"
