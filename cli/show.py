"""`chainette show`: a run, the rows of a step, or one row on its whole way. Knows the reader, not the files."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    failed: Annotated[bool, typer.Option("--failed", help="The rows that stopped, and why.")] = False,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most N rows; 0 for all.")] = 20,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Show a run; the rows of a step; one row on its way through all steps."""
    from chainette.cli.output import write_json
    from chainette.files.reading import RunReader

    reader = RunReader(found_run(run, runs_dir))
    if step is not None and row is not None:
        from chainette.cli.journey import journey, journey_lines

        way = journey(reader, step, row)
        if as_json:
            write_json(way)
            return
        print_lines(journey_lines(way))
        return
    if step is None and not failed:
        about = summary_of(reader)
        if as_json:
            write_json(about)
            return
        print_lines(summary_lines(about))
        return
    _show_rows(reader, step, failed, limit, as_json)


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


def print_lines(lines: Iterable[Text], cut: bool = False) -> None:
    from chainette.cli.screen import console

    terminal = console(sys.stdout)
    for text in lines:
        if not sys.stdout.isatty() and terminal.color_system is None:
            # Ten times as quick as the console, which counts with a million rows.
            sys.stdout.write(text.plain + "\n")
            continue
        if cut:
            text.truncate(terminal.width, overflow="ellipsis")
        terminal.print(text, soft_wrap=True)


def _show_rows(reader: RunReader, step: str | None, failed: bool, limit: int, as_json: bool) -> None:
    from dataclasses import asdict

    from chainette.cli.output import write_json_rows
    from chainette.cli.screen import QUIET, line

    view: Any = reader.failures(step) if failed else rows_of(reader, step or INPUT)
    chosen = view[:limit] if limit else view
    found: Iterator[Any] = ({**asdict(f), "cause": list(f.cause)} for f in chosen) if failed else iter(chosen)
    if as_json:
        about = {"run": reader.path.name, "step": step, "failed": failed, "total": len(view)}
        write_json_rows(about, found)
        return
    if failed:
        print_lines((text for f in found for text in failure_lines(f, show_node=step is None)), cut=True)
    else:
        print_lines((row_line(r) for r in found), cut=True)
    if len(chosen) < len(view):
        print_lines([line((f"{len(chosen):,} of {len(view):,} rows; --limit 0 shows all", QUIET))])
    elif not view:
        what = "failed rows" if failed else "rows"
        why = "" if failed or step is None else _why_none(reader, step)
        print_lines([line((f"no {what}" + (f" at {step}{why}" if step else ""), QUIET))])


def _why_none(reader: RunReader, step: str) -> str:
    """Of a node that writes no rows, so that nobody takes its rows to be lost."""
    nodes: dict[str, dict[str, Any]] = {node["id"]: node for node in reader.graph().get("nodes", [])}
    node = nodes.get(step, {})
    if node.get("written", True):
        return ""
    return ": its rows are not written" if node["type"] in ("step", "apply") else f": a {node['type']} writes none"


def rows_of(reader: RunReader, step: str) -> Any:
    """The rows of a step, of the input or flattened; a step of that name comes first."""
    if step not in reader.step_ids():
        if step == INPUT:
            return reader.inputs()
        if step == FLATTENED:
            return reader.flattened()
    return reader.rows(step)


def row_line(row: dict[str, Any]) -> Text:
    """One row on one line."""
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import one_line, turn_words

    text = line((one_line(row.get("_id", "?")), NAME))
    if "_turn" in row:
        text.append(f"  turn {one_line(turn_words(row['_turn']))}", style=QUIET)
    for key, value in row.items():
        if key not in ("_id", "_turn"):
            text.append(f"  {one_line(key)}: ", style=QUIET).append(one_line(in_words(value), 2_000))
    return text


def in_words(value: Any) -> str:
    """Strings as they are, everything else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def failure_lines(failure: dict[str, Any], show_node: bool) -> list[Text]:
    """Why a row stopped, and the text that was refused."""
    from chainette.cli.screen import BAD, NAME, QUIET, line
    from chainette.cli.wording import counted, one_line, turn_words

    node = f"{one_line(failure['node_id'])}  " if show_node else ""
    text = line((one_line(failure["row_id"]), NAME), f"  {node}", (failure["kind"], BAD))
    text.append(f"  {one_line(failure['message'], 2_000)}")
    if failure.get("turns"):
        text.append(f"  (turn {turn_words(failure['turns'])})", style=QUIET)
    if failure["attempts"] > 1:
        text.append(f"  ({counted(failure['attempts'], 'attempt')})", style=QUIET)
    lines = [text]
    if failure["raw"] is not None:
        lines.append(line(("    answer  ", QUIET), one_line(failure["raw"], 2_000)))
    lines += [line(("    cause   ", QUIET), one_line(cause)) for cause in failure["cause"]]
    return lines


def summary_of(reader: RunReader) -> dict[str, Any]:
    """A run in one document: what its folder says of it, and its commonest failures."""
    from chainette.cli.failures import alike
    from chainette.files.runs import summarise

    graph, status = reader.graph(), reader.status()
    causes = alike((f.node_id, f.kind, f.message, 1) for f in reader.failures())
    kinds = {n["id"]: n for n in graph.get("execution_order", [])}
    return {
        "run": reader.path.name,
        "folder": reader.place,
        "state": summarise(reader.path).state,
        "chain": graph.get("chain", status.get("chain", "")),
        "message": status.get("message", ""),
        "started": status.get("started"),
        "seconds": status.get("seconds", 0.0),
        "rows_in": status.get("rows_in", 0),
        "rows_done": status.get("rows_done", 0),
        "rows_out": status.get("rows_out", 0),
        "rows_failed": status.get("rows_failed", 0),
        "rows_dropped": status.get("rows_dropped", 0),
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
