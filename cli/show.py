"""`chainette show`: a run, the rows of a step, or one row on its whole way. Knows the reader, not the files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.pager import NoPager, print_lines
from chainette.cli.runs import AsJson, RunsDir

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunReader

INPUT, FLATTENED = "chain_input", "flattened"
NEWEST = 5
"""Runs that are named when another was meant."""


def show(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    step: Annotated[
        str | None,
        typer.Argument(metavar="[STEP]", help="A step's id, chain_input or flattened.", show_default=False),
    ] = None,
    row: Annotated[str | None, typer.Argument(metavar="[ROW]", help="A row's id.", show_default=False)] = None,
    of_row: Annotated[
        str | None, typer.Option("--row", metavar="ID", help="A row's way through the chain, as a tree.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The rows that stopped, and why.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FIELD=VALUE", help="Only such rows; also != < <= > >= ~ (contains)."),
    ] = None,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Only rows with this text in any field.")] = "",
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most N rows; 0 for all.")] = 20,
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="Pass over the first N rows.")] = 0,
    page: Annotated[int, typer.Option(min=1, metavar="N", help="The N-th page of so many rows.")] = 1,
    follow: Annotated[bool, typer.Option("--follow", help="Watch a run that another process does.")] = False,
    no_pager: NoPager = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Show a run; the rows of a step; one row on its way through all steps."""
    from chainette.cli.target import wrong_call
    from chainette.files.reading import RunReader

    for name, word in (("STEP", step), ("ROW", row), ("--row", of_row)):
        if word is not None and not word.strip():
            raise wrong_call(name, "is empty", command="show")
    reader = RunReader(found_run(run, runs_dir))
    if page > 1 and (offset or not limit):
        raise wrong_call("--page", "counts pages of --limit rows", "without --offset and --limit 0", "show")
    filtered = bool(where or search)
    if follow:
        if step is not None or of_row is not None or failed or filtered:
            raise wrong_call("--follow", "watches a whole run", "without a step and rows", "show")
        _follow(reader, as_json)
    elif of_row is not None or row is not None:
        if failed or filtered or (of_row is not None and row is not None):
            raise wrong_call("--row", "is one row's way", "without --failed, --where and a second row", "show")
        _show_row(reader, step, str(of_row if row is None else row), as_json, no_pager)
    elif step is None and not failed and not filtered:
        _show_run(reader, as_json, no_pager)
    else:
        from chainette.cli.show_rows import Asked, show_rows

        first = (page - 1) * limit if page > 1 else offset
        asked = Asked(step, failed, first, limit, tuple(where or ()), search)
        show_rows(reader, asked, as_json=as_json, paged=not no_pager)


def _follow(reader: RunReader, as_json: bool) -> None:
    from chainette.cli.follow import follow
    from chainette.cli.watching import Screen

    raise typer.Exit(follow(reader, Screen(json_logs=as_json)))


def _show_run(reader: RunReader, as_json: bool, no_pager: bool) -> None:
    about = summary_of(reader)
    if as_json:
        from chainette.cli.output import write_json

        write_json(about)
    else:
        print_lines(summary_lines(about), paged=not no_pager)


def _show_row(reader: RunReader, step: str | None, row: str, as_json: bool, no_pager: bool) -> None:
    """With a step all that was said there; without one the whole way as a tree."""
    from chainette.reports.journey import journey

    way = journey(reader, step or INPUT, row)
    if as_json:
        from chainette.cli.output import write_json

        write_json(way)
    elif step is not None:
        from chainette.cli.journey import journey_lines

        print_lines(journey_lines(way), paged=not no_pager)
    else:
        from chainette.cli.row_tree import row_tree
        from chainette.cli.screen import glyphs

        tree = row_tree(way, reader.graph().get("outline"), glyphs(sys.stdout, True))
        print_lines(tree, cut=True, paged=not no_pager)


def found_run(run: str, runs_dir: str) -> Path:
    """The run's folder; when there is none, the error names the newest runs."""
    from chainette.errors import RunFolderError
    from chainette.files.reading import find_run, list_runs

    try:
        return find_run(run, runs_dir)
    except RunFolderError as error:
        message, known, _ = str(error).partition(" (known: ")
        newest = [summary.name for summary in list_runs(runs_dir)[:NEWEST]] if known else []
        told = RunFolderError(f"{message} (the newest: {', '.join(newest)})" if newest else str(error))
        told.add_note("next: chainette runs" + (f" --runs-dir {shlex.quote(runs_dir)}" if runs_dir != "runs" else ""))
        raise told from None


def summary_of(reader: RunReader) -> dict[str, Any]:
    """A run in one document: what its folder says of it, and its commonest failures."""
    from chainette.files.runs import summarise
    from chainette.reports.failures import grouped_failures

    graph, status = reader.graph(), reader.status()
    causes = grouped_failures(reader).groups
    kinds = {n["id"]: n for n in graph.get("execution_order", [])}
    return {
        "run": reader.path.name,
        "folder": reader.place,
        "state": summarise(reader.path).state,
        "chain": graph.get("chain", status.get("chain", "")),
        "tags": graph.get("tags", []),
        "message": status.get("message", ""),
        "started": status.get("started"),
        "seconds": status.get("seconds", 0.0),
        "rows_in": status.get("rows_in", 0),
        "rows_done": status.get("rows_done", 0),
        "rows_out": status.get("rows_out", 0),
        "rows_failed": status.get("rows_failed", 0),
        "rows_dropped": status.get("rows_dropped", 0),
        "rows_total": status.get("rows_total"),
        "nodes": [{**kinds.get(id_, {"id": id_}), **status.get("nodes", {}).get(id_, {})} for id_ in reader.step_ids()],
        "engines": graph.get("engines", []),
        "inputs": graph.get("inputs"),
        "command": graph.get("command", []),
        "failures": [
            {"step": cause.node, "kind": cause.kind, "message": cause.message, "times": cause.times}
            for cause in causes[:3]
        ],
    }


def summary_lines(about: dict[str, Any]) -> list[Text]:
    """The same for a person."""
    from chainette.cli.screen import BAD, GOOD, NAME, QUIET, line
    from chainette.cli.wording import count, counted, one_line, run_word, seconds

    style = GOOD if about["state"] == "done" else BAD if about["state"] in ("stopped", "died", "broken") else "yellow"
    lines = [line((one_line(about["run"]), NAME), "  ", (about["state"], style), (f"  {about['folder']}", QUIET))]
    words = [f"{counted(about['rows_in'], 'row')} in", f"{count(about['rows_out'])} out"]
    words += [
        f"{count(about[k])} {name}" for k, name in (("rows_failed", "failed"), ("rows_dropped", "dropped")) if about[k]
    ]
    lines.append(line(f"{one_line(about['chain'])}: {', '.join(words)} in {seconds(about['seconds'])}"))
    if about["tags"]:
        lines.append(line(("tags    ", QUIET), ", ".join(one_line(tag) for tag in about["tags"])))
    if about["message"]:
        lines.append(line((one_line(about["message"]), style)))
    lines += [line(), *_node_table(about["nodes"]), line()]
    for engine in about["engines"]:
        model = one_line(engine.get("model") or ("the demo model" if engine.get("backend") == "embedded" else ""))
        lines.append(line(("engine  ", QUIET), f"{one_line(engine.get('name'))}  {engine.get('backend')}  {model}"))
    if about["command"]:
        lines.append(line(("typed   ", QUIET), one_line(shlex.join(_shortened(about["command"])))))
    for failure in about["failures"]:
        text = line((f"{failure['times']:,} x", BAD), f"  {one_line(failure['step'])} {failure['kind']}  ")
        lines.append(text.append(one_line(failure["message"], 300)))
    if about["failures"]:
        step = shlex.quote(one_line(about["failures"][0]["step"]))
        lines.append(line(f"next: chainette show {run_word(about['folder'])} {step} --failed"))
    return lines


def _shortened(command: list[str]) -> list[str]:
    import os

    return [os.path.basename(command[0]), *command[1:]]


def _node_table(nodes: list[dict[str, Any]]) -> list[Text]:
    from chainette.cli.screen import BAD, NAME, QUIET, line
    from chainette.cli.wording import count, one_line, seconds

    keys = ("rows_in", "rows_out", "failed", "dropped", "retried", "completion_tokens")
    head = ("step", "in", "out", "failed", "dropped", "retried", "tokens out", "time")
    rows = []
    for node in nodes:
        figures = [count(node[key]) if node.get(key) else "" for key in keys]
        rows.append([one_line(node["id"]), *figures, seconds(node["seconds"]) if node.get("seconds") else ""])
    kept = [i for i in range(len(head)) if i < 3 or any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in [list(head), *rows]) for i in kept}
    lines = [line(("  ".join(head[i].ljust(widths[i]) if not i else head[i].rjust(widths[i]) for i in kept), QUIET))]
    for row in rows:
        text = line((row[0].ljust(widths[0]), NAME))
        for i in kept[1:]:
            text.append(f"  {row[i].rjust(widths[i])}", style=BAD if i == 3 else "")
        lines.append(text)
    return lines
