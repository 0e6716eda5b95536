"""`chainette runs`: the runs in a folder. Knows the summaries, not the files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunSummary

RunsDir = Annotated[str, typer.Option("--runs-dir", metavar="DIR", help="Where the runs are.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def runs(
    runs_dir: RunsDir = "runs",
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most N runs; 0 for all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    from pathlib import Path

    from chainette.errors import RunFolderError
    from chainette.files.reading import list_runs
    from chainette.files.remote_names import is_remote

    if runs_dir != "runs" and not is_remote(runs_dir) and not Path(runs_dir).is_dir():
        raise RunFolderError(f"there is no folder {runs_dir}")
    listed = list_runs(runs_dir)
    shown = listed[:limit] if limit else listed
    if as_json:
        from chainette.cli.output import write_json

        write_json([_record(run) for run in shown])
        return
    if not listed:
        sys.stdout.write(f"no runs in {runs_dir}/\nnext: chainette run module:chain -i INPUT\n")
        return
    from chainette.cli.screen import QUIET, console, line

    terminal = console(sys.stdout)
    for text in _table(shown):
        terminal.print(text, soft_wrap=not sys.stdout.isatty())
    if len(shown) < len(listed):
        terminal.print(line((f"and {len(listed) - len(shown)} more: chainette runs --limit 0", QUIET)))


def _record(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": str(run.path),
        "state": run.state,
        "chain": run.chain,
        "rows_in": run.rows_in,
        "rows_done": run.rows_done,
        "rows_failed": run.rows_failed,
        "started": run.started.isoformat() if run.started else None,
        "seconds": run.seconds,
        "message": run.message,
    }


def _table(shown: list[RunSummary]) -> list[Text]:
    from chainette.cli.screen import BAD, GOOD, NAME, QUIET, WARN, line
    from chainette.cli.wording import count, one_line, seconds

    styles = {"done": GOOD, "running": "cyan", "interrupted": WARN, "stopped": BAD, "died": BAD, "broken": BAD}
    head = ("RUN", "STATE", "ROWS", "FAILED", "TOOK", "STARTED")
    rows = []
    for run in shown:
        rows_words = count(run.rows_done) if run.rows_done == run.rows_in else f"{run.rows_done:,}/{run.rows_in:,}"
        when = run.started.astimezone().strftime("%Y-%m-%d %H:%M") if run.started else ""
        took = seconds(run.seconds) if run.seconds else ""
        rows.append((one_line(run.name), one_line(run.state), rows_words, count(run.rows_failed), took, when))
    widths = [max(len(cells[i]) for cells in [head, *rows]) for i in range(len(head))]
    lines = [line(("  ".join(_cell(h, w, i) for i, (h, w) in enumerate(zip(head, widths, strict=True))), QUIET))]
    for run, cells in zip(shown, rows, strict=True):
        padded = [_cell(cell, width, i) for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        failed = (padded[3], BAD if run.rows_failed else QUIET)
        text = line((padded[0], NAME), "  ", (padded[1], styles.get(run.state, "")), "  ", padded[2], "  ", failed)
        text.append(f"  {padded[4]}").append(f"  {padded[5]}", style=QUIET)
        lines.append(text)
    return lines


def _cell(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column in (2, 3, 4) else text.ljust(width)
