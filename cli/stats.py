"""`chainette stats`: where a run's time, tokens and rows went. Knows the figures, not how they are worked out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chainette.cli.pager import NoPager, print_lines
from chainette.cli.runs import AsJson, RunsDir


def stats(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    limit: Annotated[
        int, typer.Option("--calls", min=1, metavar="N", help="Of more than about N calls, look at a sample.")
    ] = 1_000_000,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
    no_pager: NoPager = False,
) -> None:
    """Tell where a run's time went: rows, tokens, waiting and idle time per step and engine, and the critical path."""
    from chainette.cli.output import write_json
    from chainette.cli.screen import console
    from chainette.cli.show import found_run
    from chainette.files.reading import RunReader
    from chainette.reports import run_stats

    found = run_stats(RunReader(found_run(run, runs_dir)), limit=limit)
    if as_json:
        write_json(found.public())
        return
    from chainette.cli.stats_text import stats_lines

    print_lines(stats_lines(found, console(sys.stdout).width), paged=not no_pager)
