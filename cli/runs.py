"""`chainette runs`: the runs in a folder. Knows the summaries, not the files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.pager import NoPager, print_lines

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunSummary

RunsDir = Annotated[str, typer.Option("--runs-dir", metavar="DIR", help="Where the runs are.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def runs(
    runs_dir: RunsDir = "runs",
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only those that are done, running, stopped, died, …")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only those with this tag; several: all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most N runs; 0 for all.")] = 20,
    no_pager: NoPager = False,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    from chainette.errors import RunFolderError
    from chainette.files.reading import list_runs
    from chainette.files.remote_names import as_path, is_remote

    if runs_dir != "runs" and not is_remote(runs_dir) and not as_path(runs_dir).is_dir():
        raise RunFolderError(f"there is no folder {runs_dir}")
    every = list_runs(runs_dir)
    listed = _chosen(every, state, tag or [])
    shown = listed[:limit] if limit else listed
    if as_json:
        from chainette.cli.output import write_json

        write_json([_record(run) for run in shown])
        return
    if not listed:
        if every:
            sys.stdout.write(f"none of {len(every)} runs in {runs_dir}/ is like that\n")
        else:
            sys.stdout.write(f"no runs in {runs_dir}/\nnext: chainette run module:chain -i INPUT\n")
        return
    from chainette.cli.screen import QUIET, console, line

    lines = run_table(shown, console(sys.stdout).width)
    if len(shown) < len(listed):
        lines.append(line((f"and {len(listed) - len(shown)} more: chainette runs --limit 0", QUIET)))
    print_lines(lines, cut=True, paged=not no_pager)


def _chosen(listed: list[RunSummary], state: str | None, tags: list[str]) -> list[RunSummary]:
    from chainette.cli.target import wrong_call
    from chainette.errors import nearest

    if state is not None and state not in STATES:
        raise wrong_call("--state", f'no run is "{state}"', nearest(state, STATES), "runs")
    known = {tag for run in listed for tag in run.tags}
    for tag in tags:
        if tag not in known:
            raise wrong_call("--tag", f'no run has the tag "{tag}"', nearest(tag, sorted(known)), "runs")
    return [run for run in listed if state in (None, run.state) and all(tag in run.tags for tag in tags)]


def _record(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": str(run.path),
        "state": run.state,
        "chain": run.chain,
        "tags": list(run.tags),
        "rows_in": run.rows_in,
        "rows_done": run.rows_done,
        "rows_failed": run.rows_failed,
        "rows_total": run.rows_total,
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cost": run.cost,
        "started": run.started.isoformat() if run.started else None,
        "seconds": run.seconds,
        "message": run.message,
    }


def run_table(shown: list[RunSummary], width: int) -> list[Text]:
    """A head and a line per run, with the columns that say something and for which there is room."""
    columns = [column for column in _COLUMNS if column.always or any(column.cell(run) for run in shown)]
    wide = {c.head: max(len(c.head), *(len(c.cell(run)) for run in shown)) for c in columns}
    for name in _FIRST_TO_GO:
        if sum(wide.values()) + 2 * (len(wide) - 1) > width:
            wide.pop(name, None)
    kept = [column for column in columns if column.head in wide]
    head = _line([(_padded(c, c.head, wide), "dim") for c in kept])
    return [head, *(_line([(_padded(c, c.cell(run), wide), c.style(run)) for c in kept]) for run in shown)]


def _padded(column: _Column, text: str, wide: dict[str, int]) -> str:
    return text.rjust(wide[column.head]) if column.right else text.ljust(wide[column.head])


def _line(cells: list[tuple[str, str]]) -> Text:
    from chainette.cli.screen import line

    text = line()
    for place, (cell, style) in enumerate(cells):
        text.append("  " if place else "").append(cell, style=style)
    text.rstrip()
    return text


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cell: Callable[[RunSummary], str]
    right: bool = False
    always: bool = True
    """Else only where any run has something there."""
    style: Callable[[RunSummary], str] = lambda run: ""


def _rows(run: RunSummary) -> str:
    of = run.rows_in if run.rows_total is None else max(run.rows_total, run.rows_in)
    return f"{run.rows_done:,}" if run.rows_done == of else f"{run.rows_done:,}/{of:,}"


def _progress(run: RunSummary) -> str:
    """Of those that have not come to their end."""
    if run.state == "done" or not run.rows_total:
        return ""
    return f"{100 * run.rows_done // run.rows_total}%"


def _tokens(run: RunSummary) -> str:
    from chainette.reports.wording import short_count

    used = run.prompt_tokens, run.completion_tokens
    return " + ".join(map(short_count, used)) if any(used) else ""


def _cost(run: RunSummary) -> str:
    from chainette.reports.wording import money

    return "" if run.cost is None else money(run.cost)


def _took(run: RunSummary) -> str:
    from chainette.cli.wording import seconds

    return seconds(run.seconds) if run.seconds else ""


def _started(run: RunSummary) -> str:
    return run.started.astimezone().strftime("%Y-%m-%d %H:%M") if run.started else ""


def _harmless(text: str) -> str:
    from chainette.cli.wording import one_line

    return one_line(text)


STATES = {
    "done": "green",
    "running": "cyan",
    "interrupted": "yellow",
    **dict.fromkeys(("stopped", "died", "broken"), "red"),
}
_COLUMNS = (
    _Column("RUN", lambda run: _harmless(run.name), style=lambda run: "bold"),
    _Column("STATE", lambda run: _harmless(run.state), style=lambda run: STATES.get(run.state, "")),
    _Column("ROWS", _rows, right=True),
    _Column("", _progress, right=True, always=False),
    _Column("FAILED", lambda run: f"{run.rows_failed:,}", True, style=lambda run: "red" if run.rows_failed else "dim"),
    _Column("TOKENS", _tokens, right=True, always=False),
    _Column("COST", _cost, right=True, always=False),
    _Column("TOOK", _took, right=True),
    _Column("STARTED", _started, style=lambda run: "dim"),
    _Column("TAGS", lambda run: _harmless(", ".join(run.tags)), always=False, style=lambda run: "cyan"),
    _Column("CHAIN", lambda run: _harmless(run.chain), always=False, style=lambda run: "dim"),
)
_FIRST_TO_GO = ("CHAIN", "TOKENS", "COST", "TOOK", "TAGS", "STARTED", "FAILED", "")
