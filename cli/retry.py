"""`chainette retry`: makes the failed rows of a run again, in their places. Knows the call, not how rows are healed."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from chainette.cli.resume import Run, recorded_call
from chainette.cli.run import EnginesFile, Icons, JsonLogs, MaxBranches, MaxFailed, Quiet, execute, refuse_both
from chainette.cli.runs import RunsDir
from chainette.cli.target import refuse_empty

Step = Annotated[str | None, typer.Option("--step", metavar="STEP", help="Only rows that failed at this step.")]
Kind = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Only this kind: timeout, schema, apply, …")]
Force = Annotated[bool, typer.Option("--force", help="Heal with a chain that changed since.")]


def retry(
    run: Run,
    step: Step = None,
    kind: Kind = None,
    force: Force = False,
    max_failed: MaxFailed = None,
    engines: EnginesFile = None,
    runs_dir: RunsDir = "runs",
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
    icons: Icons = True,
    max_branches: MaxBranches = None,
) -> None:
    """Make the failed rows of a run again, and what follows from them; all other rows stay as they are.

    chainette retry last --kind timeout
    """
    gc.disable()
    refuse_empty("retry", step=step, kind=kind, max_failed=max_failed, engines=engines)
    refuse_both(quiet, json_logs)
    from chainette.cli.watching import Screen
    from chainette.run import RunOptions

    recorded = recorded_call(run, runs_dir, None, engines)
    options = RunOptions(
        retry=recorded.folder,
        retry_step=step,
        retry_kind=kind,
        force=force,
        max_failed=max_failed,
        engines_file=recorded.engines_file,
        command=sys.argv,
        call=recorded.said,
    )
    raise typer.Exit(execute(recorded.call, options, Screen(quiet, json_logs, icons, max_branches)))
