"""`chainette resume`: goes on with a run that ended before its last row. Knows what `graph.json` says of the call."""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from chainette.cli.run import EnginesFile, Icons, JsonLogs, MaxBranches, MaxFailed, Otel, Quiet, execute, refuse_both
from chainette.cli.runs import RunsDir
from chainette.cli.target import Call, refuse_empty

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run: folder, name, the beginning of it, or last.")]
Input = Annotated[
    str | None,
    typer.Option("--input", "-i", metavar="INPUT", help="The same input at another place; - to pipe it again."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Take a changed chain or input, and the old calls that still fit.")
]


def resume(
    run: Run,
    input: Input = None,
    force: Force = False,
    max_failed: MaxFailed = None,
    engines: EnginesFile = None,
    runs_dir: RunsDir = "runs",
    otel: Otel = None,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
    icons: Icons = True,
    max_branches: MaxBranches = None,
) -> None:
    """Go on with a run that was interrupted, stopped or killed. No finished call is made again.

    chainette resume last
    """
    gc.disable()
    refuse_empty("resume", input=input, max_failed=max_failed, engines=engines, otel=otel)
    refuse_both(quiet, json_logs)
    from chainette.cli.watching import Screen
    from chainette.run import RunOptions

    if otel is not None and otel.startswith("file:"):
        otel = "file:" + os.path.abspath(otel.removeprefix("file:"))  # as it is named from here
    recorded = recorded_call(run, runs_dir, input, engines)
    options = RunOptions(
        resume=recorded.folder,
        force=force,
        max_failed=max_failed,
        engines_file=recorded.engines_file,
        otel=otel,
        command=sys.argv,
        call=recorded.said,
    )
    raise typer.Exit(execute(recorded.call, options, Screen(quiet, json_logs, icons, max_branches)))


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """How an earlier run was called."""

    call: Call
    folder: Path | str
    engines_file: str | None
    said: dict[str, Any]
    """As `graph.json` has it."""


def recorded_call(run: str, runs_dir: str, input: str | None, engines: str | None) -> RecordedCall:
    """What the run was called with, with what is said anew in its place.

    Relative names meant something where the run was started, so the program goes there.
    """
    from chainette.errors import RunFolderError
    from chainette.files.runs import meant_run
    from chainette.run.earlier import Earlier

    meant = meant_run(run, runs_dir)
    folder = meant.absolute() if isinstance(meant, Path) else meant
    recorded = Earlier.found(folder, runs_dir).graph.get("call")
    if not isinstance(recorded, dict) or not recorded.get("target"):
        raise RunFolderError(
            f'{run} was not started by the command line: chain.run(inputs, resume="{folder}") goes on with it'
        )
    input, engines = _absolute(input), _absolute(engines)
    place = str(recorded.get("cwd") or "")
    if place and os.path.isdir(place) and not os.path.samefile(place, os.getcwd()):
        os.chdir(place)
        sys.path[:] = [place if entry == "" else entry for entry in sys.path]
    said = recorded.get("input")
    call = Call(recorded["target"], input or (said if said != "-" else None), None)
    return RecordedCall(call, folder, engines or recorded.get("engines_file"), recorded)


def _absolute(path: str | None) -> str | None:
    """A file that is named from here, as it is named from anywhere."""
    return os.path.abspath(path) if path is not None and os.path.exists(path) else path
