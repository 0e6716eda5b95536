"""`chainette trace`: a run's timeline as a file for Perfetto. Knows what is written, not how."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from chainette.cli.runs import AsJson, RunsDir

if TYPE_CHECKING:
    from pathlib import Path


def trace(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: trace.json in the folder.", show_default=False),
    ] = None,
    max_spans: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Calls in it; of more, an even sample (200,000).", show_default=False),
    ] = None,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Write a run's timeline for ui.perfetto.dev: calls per engine and slot, stages, loads. Also while it is running.

    chainette trace last -o trace.json
    """
    from pathlib import Path

    from chainette.cli.show import found_run
    from chainette.files.reading import RunReader
    from chainette.files.remote_names import is_copy
    from chainette.reports.trace import MAX_SPANS, write_trace

    reader = RunReader(found_run(run, runs_dir))
    path = None if output is None else _place(output)
    if path is None and is_copy(reader.path):
        path = Path(f"{reader.path.name}.trace.json")  # a copy of a remote folder is no place that anybody looks at
    written = write_trace(reader, path, max_spans=MAX_SPANS if max_spans is None else max_spans)
    if as_json:
        from chainette.cli.output import write_json

        facts = {"path": str(written.path), "bytes": written.bytes, "calls": written.kept, "of": written.of}
        write_json({"run": reader.path.name, **facts, "sampled": written.sampled, "without_times": written.timeless})
        return
    from chainette.cli.wording import counted, lines, size

    calls = counted(written.kept, "call")
    if written.sampled:
        calls = f"{calls} of about {written.of:,}; --max-spans N takes more"
    elif written.timeless:
        calls = f"{calls}; {written.timeless:,} do not say when they were"
    sys.stdout.write(f"{lines(written.path)}  {size(written.bytes)}, {calls}\n")
    sys.stdout.write("next: open it at https://ui.perfetto.dev (it stays on this machine)\n")


def _place(output: str) -> Path:
    """
    Raises:
        RunFolderError: a file of somebody's would be lost.
    """
    from chainette.cli.target import wrong_call
    from chainette.errors import RunFolderError
    from chainette.files.remote_names import as_path, is_remote

    if output == "-" or is_remote(output):
        raise wrong_call("--output", "a trace is a file on this machine", "-o trace.json", "trace")
    path = as_path(output)
    if path.is_file():
        with path.open("rb") as file:
            if b'"traceEvents"' not in file.read(100_000):
                raise RunFolderError(f"{path} is there, and is no trace (choose another name, or move it away)")
    return path
