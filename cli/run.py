"""`chainette run`: options to a run, its events to the screen, its end to an exit code."""

from __future__ import annotations

import gc
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from chainette.cli.target import Call, load, pairs, parse_call, refuse_empty, wrong_call

if TYPE_CHECKING:
    from chainette.chain import Chain
    from chainette.cli.watching import Screen, Watcher
    from chainette.run import RunOptions, RunResult

DATA, ENGINES, SCREEN = "Input and output", "Engines", "On the screen"


class Format(StrEnum):
    """What step files are written as."""

    jsonl = "jsonl"
    parquet = "parquet"
    csv = "csv"


def _option(panel: str, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=False, help=help, **more)


Words = Annotated[
    list[str],
    typer.Argument(
        metavar="CHAIN",
        help="module:chain or file.py:chain. The older FILE CHAIN INPUT OUT is taken too.",
        show_default=False,
    ),
]
Input = Annotated[
    str | None,
    _option(DATA, "--input", "-i", metavar="INPUT", help="A file, folder, glob, dataset name, or - (stdin)."),
]
OutputDir = Annotated[
    str | None,
    _option(DATA, "--output-dir", "-o", metavar="DIR", help="The run folder, new or empty; else one under runs/."),
]
Limit = Annotated[int | None, _option(DATA, min=0, metavar="N", help="Take only the first N input rows.")]
Columns = Annotated[
    str | None, _option(DATA, metavar="A,B", help="Columns of the data for the first model's fields, in order.")
]
IdField = Annotated[str | None, _option(DATA, metavar="FIELD", help="The field that holds the rows' ids.")]
ChunkSize = Annotated[int | None, _option(DATA, min=1, metavar="N", help="Rows that are committed together.")]
MaxLines = Annotated[
    int, _option(DATA, "--max-lines-per-file", min=1, metavar="N", help="Rows per output file (100,000).")
]
OutFormat = Annotated[Format, _option(DATA, "--format", metavar="FORMAT", help="jsonl, parquet or csv.")]
Flattened = Annotated[
    bool, _option(DATA, "--flattened/--no-flattened", help="Write a line per final row with all steps' fields (yes).")
]
Param = Annotated[list[str] | None, _option(DATA, metavar="K=V", help="A parameter for applies; several times.")]
Reuse = Annotated[str | None, _option(DATA, metavar="RUN", help="Take every call from this run whose key is the same.")]
Resume = Annotated[str | None, _option(DATA, metavar="RUN", help="Go on with a run that ended before its last row.")]
Force = Annotated[bool, _option(DATA, "--force", help="With --resume: take a changed chain or input.")]
MaxFailed = Annotated[
    str | None, _option(DATA, metavar="N|P%", help="Failed rows that still count as success, 5 or 2% (none).")
]
Tag = Annotated[
    list[str] | None, _option(DATA, metavar="NAME", help="A word by which runs lists and finds it; several times.")
]
Report = Annotated[bool, _option(DATA, "--report", help="Leave report.html in the run folder: one file to send.")]
EnginesFile = Annotated[
    str | None, _option(ENGINES, "--engines", "-f", metavar="FILE", help="Default: the engines.yml here, if any.")
]
Engine = Annotated[
    list[str] | None, _option(ENGINES, metavar="STEP=NAME", help="Another engine for a step; several times.")
]
DryRun = Annotated[bool, _option(ENGINES, "--dry-run", help="Check everything, as inspect does; start nothing.")]
Otel = Annotated[
    str | None,
    _option(
        SCREEN, metavar="TO", help="OpenTelemetry to an OTLP/HTTP URL, env (OTEL_EXPORTER_OTLP_…) or file:spans.json."
    ),
]
Quiet = Annotated[bool, _option(SCREEN, "--quiet", "-q", help="Only errors, and the folder's path on stdout.")]
JsonLogs = Annotated[bool, _option(SCREEN, "--json-logs", help="Each event as a line of JSON on stdout.")]
Icons = Annotated[bool, _option(SCREEN, "--icons/--no-icons", help="Signs beyond ASCII (yes).")]
MaxBranches = Annotated[int | None, _option(SCREEN, min=1, metavar="N", help="Draw at most N branches of a group.")]
StreamWriter = Annotated[bool, typer.Option("--stream-writer/--no-stream-writer", hidden=True)]


def run(
    *,
    words: Words,
    input: Input = None,
    output_dir: OutputDir = None,
    limit: Limit = None,
    columns: Columns = None,
    id_field: IdField = None,
    chunk_size: ChunkSize = None,
    max_lines_per_file: MaxLines = 100_000,
    format: OutFormat = Format.jsonl,
    flattened: Flattened = True,
    param: Param = None,
    reuse: Reuse = None,
    resume: Resume = None,
    force: Force = False,
    max_failed: MaxFailed = None,
    tag: Tag = None,
    report: Report = False,
    engines: EnginesFile = None,
    engine: Engine = None,
    dry_run: DryRun = False,
    otel: Otel = None,
    quiet: Quiet = False,
    json_logs: JsonLogs = False,
    icons: Icons = True,
    max_branches: MaxBranches = None,
    stream_writer: StreamWriter = True,
) -> None:
    """Run a chain over an input and leave a run folder.

    chainette run examples.reviews:chain -i examples/reviews.jsonl
    """
    # What follows imports much and throws nothing away; the run turns the collector on again.
    gc.disable()
    call = _understood(parse_call(words, input, output_dir), dry_run or resume is not None)
    refuse_empty(
        input=call.input, output_dir=call.output_dir, id_field=id_field, max_failed=max_failed, engines=engines
    )
    refuse_empty(reuse=reuse, resume=resume, otel=otel)
    refuse_both(quiet, json_logs)
    if report:
        _refuse_report_at_url(call.output_dir)
    if dry_run and resume is not None:
        raise wrong_call("--dry-run", "checks a new run, and --resume goes on with one", "chainette inspect CHAIN")
    from chainette.cli.watching import Screen
    from chainette.run import RunOptions

    options = RunOptions(
        output_dir=call.output_dir,
        engines_file=engines,
        limit=limit,
        columns=_columns(columns),
        id_field=id_field,
        chunk_size=chunk_size,
        max_lines_per_file=max_lines_per_file,
        format=format.value,
        flattened=flattened,
        params=dict(pairs(param, "--param")),
        max_failed=max_failed,
        engines=pairs(engine, "--engine"),
        resume=resume,
        force=force,
        reuse=reuse,
        otel=otel,
        tags=tag or (),
        command=sys.argv,
        call=said(call, engines),
    )
    screen = Screen(quiet, json_logs, icons, max_branches)
    raise typer.Exit(dry(call, options, screen) if dry_run else execute(call, options, screen, report=report))


def _refuse_report_at_url(output_dir: str | None) -> None:
    from chainette.files.remote_names import is_remote

    if output_dir is not None and is_remote(output_dir):
        raise wrong_call(
            "--report", "is written into run folders on this machine", "chainette report RUN -o FILE, after it"
        )


def _columns(said: str | None) -> list[str] | None:
    if said is None:
        return None
    columns = [column.strip() for column in said.split(",")]
    if not all(columns):
        which = "" if len(columns) == 1 else f"column {columns.index('') + 1} "
        raise wrong_call("--columns", f"{which}is empty", "--columns text,title")
    return columns


def refuse_both(quiet: bool, json_logs: bool) -> None:
    if quiet and json_logs:
        raise wrong_call("--quiet", "says nothing, and --json-logs says everything", "one of them")


def said(call: Call, engines: str | None) -> dict[str, str | None]:
    """What `chainette resume` needs to find chain, input and engines again."""
    import os

    return {"target": call.target, "input": call.input, "cwd": os.getcwd(), "engines_file": engines}


def _understood(call: Call, without_input: bool) -> Call:
    """The call, if all is said that a run needs."""
    if call.input is None and not without_input:
        hint = "-i with a JSONL, JSON, CSV or Parquet file, a folder or glob of them, a dataset's name, or - for stdin"
        raise wrong_call("--input", "says which rows, and is missing", hint)
    return call


def execute(call: Call, options: RunOptions, screen: Screen, *, report: bool = False) -> int:
    """The run itself; returns the exit code."""
    watcher = screen.watcher(sys.stdout, sys.stderr)
    code = _execute(call, options, screen, watcher)
    if report:
        from chainette.cli.report import leave_report

        leave_report(watcher.state, quiet=screen.quiet or screen.json_logs)
    return code


def _execute(call: Call, options: RunOptions, screen: Screen, watcher: Watcher) -> int:
    import contextlib
    import os
    import shlex

    from chainette.cli.trouble import FAILED_ROWS, INTERRUPTED, STOPPED, exit_code, report
    from chainette.cli.wording import run_word
    from chainette.errors import ChainError, ChainetteError, PlanError
    from chainette.files.remote_names import is_remote

    out, err = sys.stdout, sys.stderr
    loaded = False
    try:
        chain = load(call.target)
        loaded = True
        with contextlib.redirect_stdout(err), watcher:
            result = _run(chain, call, options, watcher)
    except (ChainetteError, KeyboardInterrupt) as error:
        began = watcher.state.started is not None
        if screen.json_logs:
            _say_error(watcher, error, exit_code(error, began))
        if isinstance(error, ChainError | PlanError) and loaded and not began:
            error.add_note(f"next: chainette inspect {shlex.quote(call.target)}")
        if watcher.state.started is not None and isinstance(error, ChainetteError):
            folder = watcher.state.started.folder
            kept = is_remote(folder) or os.path.isdir(folder)
            error.add_note(f"folder: {folder}{'' if kept else ' (gone)'}")
            if kept:
                error.add_note(f"next: chainette resume {run_word(folder)}")
        code = report(error, began)
        screen.say_folder(watcher.state, out)
        return code
    if result.nothing_to_do:
        return _say_nothing_to_do(result, screen, out, err)
    allowed = result.allowed_failed
    screen.say_end(watcher.state, out, err, allowed, kept=result.folder.is_dir())
    if result.state == "interrupted":
        return INTERRUPTED
    # A run stops as soon as it is sure that more rows failed than `--max-failed` allows.
    if not allowed and (result.state == "done" or options.max_failed is not None):
        return FAILED_ROWS
    return 0 if result.state == "done" else STOPPED


def _say_nothing_to_do(result: RunResult, screen: Screen, out: TextIO, err: TextIO) -> int:
    """A run that was asked to go on or to be healed, with nothing to do."""
    from chainette.cli.wording import counted, run_word

    if not screen.quiet and not screen.json_logs:
        done = f"is done: {counted(result.rows_out, 'row')} out"
        err.write(f"{result.folder.name} {done if result.state == 'done' else 'has no such failed row'}\n")
        if result.state != "done":
            err.write(f"  it is {result.state}\n  next    chainette resume {run_word(str(result.folder))}\n")
        if result.rows_failed:
            next_command = f"chainette retry {run_word(result.place)}"
            err.write(f"  {counted(result.rows_failed, 'row')} failed\n  next    {next_command}\n")
    if screen.quiet or not out.isatty():
        out.write(f"{result.place}\n")
    return 0


def _run(chain: Chain, call: Call, options: RunOptions, watcher: Watcher) -> RunResult:
    from chainette.run import run as run_chain

    return run_chain(chain, call.input, options, listener=watcher, handle_signals=True)


def _say_error(watcher: Watcher, error: BaseException, code: int) -> None:
    from dataclasses import asdict

    from chainette.cli.jsonlog import JsonLines
    from chainette.errors import ChainError

    if isinstance(watcher, JsonLines):
        problems = [asdict(p) for p in error.problems] if isinstance(error, ChainError) else []
        kind = type(error).__name__
        watcher.say("error", {"kind": kind, "message": str(error), "problems": problems, "exit_code": code})


def dry(call: Call, options: RunOptions, screen: Screen) -> int:
    """Everything that is checked before a run; returns the exit code."""
    from chainette.cli.inspect import say_report

    return say_report(call.target, options, screen.json_logs, screen.icons, call)
