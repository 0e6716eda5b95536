"""`chainette report`: one file about a run, to send to a colleague. Knows the file's place, not what stands in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainette.cli.runs import AsJson, RunsDir

if TYPE_CHECKING:
    from chainette.cli.progress import RunState
    from chainette.files.reading import RunReader


def report(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: report.html in the run folder; - for stdout."),
    ] = None,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML file: graph, figures, failures, sample rows, prompts, engines.

    chainette report last -o review.html
    """
    from chainette.cli.show import found_run
    from chainette.files.reading import RunReader

    reader = RunReader(found_run(run, runs_dir))
    if output == "-":
        from chainette.cli.streams import require_stdout
        from chainette.reports.report import report_html

        require_stdout()
        html = report_html(reader)
        sys.stdout.write(html)
        if as_json:
            about = {"run": reader.path.name, "file": "-", "bytes": len(html.encode("utf-8", "replace"))}
            sys.stderr.write(json.dumps(about, ensure_ascii=False, indent=2) + "\n")
        return
    path = _written(reader, output)
    if as_json:
        from chainette.cli.output import write_json

        write_json({"run": reader.path.name, "file": str(path), "bytes": path.stat().st_size})
        return
    _say(path)


def _written(reader: RunReader, output: str | None) -> Path:
    from chainette.errors import RunFolderError
    from chainette.reports.report import write_report

    if output is None and str(reader.place) != str(reader.path):
        told = RunFolderError(f"{reader.place} is not on this machine: say where the report should lie")
        told.add_note(f"next: chainette report {reader.place} -o {reader.path.name}.html")
        raise told
    return write_report(reader, None if output is None else _place(output))


def _place(output: str) -> Path:
    from chainette.cli.target import wrong_call
    from chainette.files.remote_names import as_path, is_remote

    if is_remote(output):
        raise wrong_call("--output", "a report is written on this machine", "-o FILE, and copy it there", "report")
    return as_path(output)


def _say(path: Path) -> None:
    from chainette.cli.wording import size

    sys.stderr.write(f"  report  {path} ({size(path.stat().st_size)})\n")
    if not sys.stdout.isatty():
        sys.stdout.write(f"{path}\n")


def leave_report(state: RunState, *, quiet: bool) -> None:
    """After a run, in its folder. What goes wrong is told and changes nothing: the rows are there."""
    if state.started is None:
        return
    from chainette.cli.trouble import report as tell
    from chainette.cli.wording import size
    from chainette.errors import ChainetteError
    from chainette.files.reading import RunReader
    from chainette.reports.report import write_report

    try:
        path = write_report(RunReader(state.started.folder))
    except ChainetteError as error:
        tell(error)
        return
    if not quiet:
        sys.stderr.write(f"  report  {path} ({size(path.stat().st_size)})\n")
