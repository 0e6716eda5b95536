"""`chainette export`: one table, or an OpenAI batch file, out of a run. Knows what was typed, not how it is written."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from chainette.cli.runs import AsJson, RunsDir
from chainette.cli.signals import ended_like_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainette.files.reading import RunReader

STDOUT = "-"
BATCHES = ("requests", "results")


def export(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="rows.parquet, .csv, .jsonl, .jsonl.gz, .jsonl.zst; a URL; - for standard output.",
            show_default=False,
        ),
    ],
    step: Annotated[
        str | None,
        typer.Option(metavar="ID", help="This step's rows, or chain_input; without it the flattened ones."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The rows that stopped, and why.")] = False,
    columns: Annotated[str | None, typer.Option(metavar="A,B.C", help="Only these, in this order.")] = None,
    rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="What a column is called.")] = None,
    format: Annotated[str | None, typer.Option(metavar="FORMAT", help="jsonl, csv or parquet.")] = None,
    spreadsheet: Annotated[bool, typer.Option("--spreadsheet", help="CSV whose formulas are only text.")] = False,
    openai_batch: Annotated[
        str | None, typer.Option(metavar="KIND", help="requests or results: the step's calls as an OpenAI batch file.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Of batch requests, in place of the run's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Write a run's rows as one table, or a step's calls as an OpenAI batch file."""
    from chainette.cli.show import found_run
    from chainette.cli.target import refuse_empty, wrong_call
    from chainette.files.reading import RunReader

    refuse_empty("export", output=output, step=step, columns=columns, format=format, model=model)
    if openai_batch is not None and openai_batch not in BATCHES:
        raise wrong_call("--openai-batch", f'"{openai_batch}" is none of {", ".join(BATCHES)}', command="export")
    table_only = {"--columns": columns, "--rename": rename, "--spreadsheet": spreadsheet, "--failed": failed}
    if openai_batch is not None and (given := [name for name, value in table_only.items() if value]):
        raise wrong_call(given[0], "has no meaning with --openai-batch", command="export")
    if model is not None and openai_batch != "requests":
        raise wrong_call("--model", "is for --openai-batch requests", command="export")
    reader = RunReader(found_run(run, runs_dir))
    if openai_batch is not None:
        with ended_like_ctrl_c():
            about = _batch(reader, output, (openai_batch, step, model), force)
    else:
        from chainette.cli.target import pairs
        from chainette.reports.export import Wanted

        names = pairs(rename, "--rename", "export")
        if not all(map(str.strip, names.values())):
            raise wrong_call("--rename", "a column has a name", "--rename OLD=NEW", "export")
        chosen = tuple(filter(None, (name.strip() for name in (columns or "").split(","))))
        wanted = Wanted(step, failed, chosen, names, spreadsheet)
        with ended_like_ctrl_c():
            about = _table(reader, output, wanted, _format(output, format, spreadsheet), force)
    _tell(about, output, as_json)


def _format(output: str, format: str | None, spreadsheet: bool) -> Any:
    from chainette.cli.target import wrong_call
    from chainette.reports.export import format_of

    if format is not None and format not in ("jsonl", "csv", "parquet"):
        raise wrong_call("--format", f'"{format}" is none of jsonl, csv, parquet', command="export")
    found = format or ("jsonl" if output == STDOUT else format_of(output))
    if found == "parquet" and output == STDOUT:
        raise wrong_call("--format", "Parquet does not go to standard output", "name a file with -o", "export")
    if spreadsheet and found != "csv":
        raise wrong_call("--spreadsheet", f"is for CSV, not for {found}", command="export")
    return found


def _table(reader: RunReader, output: str, wanted: Any, format: Any, force: bool) -> dict[str, Any]:
    from chainette.reports.export import Export

    refuse_place(reader, output, force)
    export = Export(reader, wanted)
    done = _written(output, force, lambda stream: export.write(stream, format))
    about = {**_about(reader), "step": wanted.step, "failed": wanted.failed, "format": format, "file": output}
    about |= {"rows": done.rows, "columns": list(done.columns) if done.columns else None}
    return {**about, "formulas": 0 if wanted.spreadsheet else done.formulas}


def _batch(reader: RunReader, output: str, asked: tuple[str, str | None, str | None], force: bool) -> dict[str, Any]:
    from chainette.reports.openai_batch import Requests, Results, step_of

    kind, step, model = asked
    refuse_place(reader, output, force)
    node = step_of(reader, step)
    source = Requests(reader, node, model) if kind == "requests" else Results(reader, node)
    done = _written(output, force, source.write)
    return {**_about(reader), "step": node["id"], "openai_batch": kind, "file": output, **done}


def refuse_place(reader: RunReader, output: str, force: bool) -> None:
    """Before anything is read."""
    from chainette.errors import RunFolderError
    from chainette.files.delivery import refuse_existing
    from chainette.files.remote_names import as_path, is_remote

    if output == STDOUT:
        return
    if not is_remote(output) and as_path(output).resolve().is_relative_to(reader.path.resolve()):
        raise RunFolderError(f"{output} lies in the run's own folder, where only the run writes (name another place)")
    refuse_existing(output, force=force)


def _written(output: str, force: bool, write: Callable[[BinaryIO], Any]) -> Any:
    from chainette.files.delivery import delivered

    if output != STDOUT:
        with delivered(output, force=force) as stream:
            return write(stream)
    from chainette.cli.streams import require_stdout

    require_stdout()
    sys.stdout.flush()
    done = write(cast("BinaryIO", _Stdout()))
    sys.stdout.buffer.flush()
    return done


class _Stdout:
    """Standard output as a file of bytes; what it takes no more is told as for every command."""

    def write(self, data: Any) -> int:
        from chainette.cli.streams import Unwritable

        try:
            return sys.stdout.buffer.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritable(f"cannot write to standard output: {(error.strerror or str(error)).lower()}") from error

    def flush(self) -> None:
        """At the end, by who began."""


def _about(reader: RunReader) -> dict[str, Any]:
    from chainette.reports.export import progress_of

    state, rows_done, rows_in = progress_of(reader)
    return {"run": reader.path.name, "state": state, "rows_done": rows_done, "rows_in": rows_in}


def _tell(about: dict[str, Any], output: str, as_json: bool) -> None:
    """What was written; on stderr where stdout has the rows."""
    import json

    from chainette.cli.wording import counted, one_line, state_in_words

    out = sys.stderr if output == STDOUT else sys.stdout
    if as_json:
        out.write(json.dumps(about, ensure_ascii=False, indent=2) + "\n")
        return
    place = "standard output" if output == STDOUT else one_line(output)
    what = one_line(about["step"] or "flattened") + (", failed" if about.get("failed") else "")
    width = f", {counted(len(about['columns']), 'column')}" if about.get("columns") else ""
    if output != STDOUT:
        out.write(f"{place}: {counted(about['rows'], 'row')}{width} of {one_line(about['run'])} ({what})\n")
    if about["state"] != "done":
        of = f"{about['rows_done']:,} of {counted(about['rows_in'], 'input row')}"
        sys.stderr.write(f"note: the run {one_line(state_in_words(about['state']))}: {of} finished so far\n")
    for note in about.get("notes") or []:
        sys.stderr.write(f"note: {one_line(note)}\n")
    if about.get("formulas"):
        cells = counted(about["formulas"], "cell")
        sys.stderr.write(f"note: {cells} would be formulas in a spreadsheet (begin with = + - @): --spreadsheet\n")
    if about.get("openai_batch") == "requests" and output != STDOUT:
        sys.stdout.write(f"next: chainette run module:chain -i {shlex.quote(output)}\n")
