"""Where a run begins: in a new folder, or where an earlier one ended. Decides what may go on; starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainette.errors import ChainError, InputError, Problem, RunFolderError
from chainette.executor.past import Past
from chainette.files import RowValidator, RunFolder, check_input, open_input
from chainette.files.call_index import CallIndex
from chainette.files.graph_changes import graph_changes
from chainette.files.inputs import Input, recorded_input
from chainette.files.reading import RunReader, find_run
from chainette.files.recorded_inputs import RecordedSource, is_complete
from chainette.files.recovery import Recovered
from chainette.files.remote_names import is_remote, shown_url
from chainette.files.remote_reading import local_copy
from chainette.files.runs import meant_run
from chainette.graph import Graph
from chainette.graph.types import fields_of
from chainette.rows import InputChunk
from chainette.run.checking import Checked
from chainette.run.id_guard import IdGuard
from chainette.run.options import RunOptions
from chainette.run.record import chunk_size_of, graph_record
from chainette.run.result import RunResult
from chainette.run.taking import of_another, of_its_own, take_again


@dataclass
class Opening:
    """All that a run is told before its first row."""

    folder: RunFolder
    options: RunOptions
    graph: dict[str, Any]
    """`graph.json`, to be written."""
    status: dict[str, Any]
    """`status.json` as the run was left; empty for a new one."""
    source: Input
    chunks: Callable[[Recovered], Iterator[InputChunk]]
    past: Callable[[Recovered], Past | None]
    forced: bool = False
    """Everything is made again, with the calls that still fit."""
    heals: bool = False
    """Only failed rows of an earlier run are made again, in their places."""


def open_new(checked: Checked, inputs: Any, options: RunOptions) -> Opening:
    """
    Raises:
        InputError, RunFolderError: nothing was written.
    """
    source = _source(checked, inputs, options)
    reused = _reused_run(options.reuse, options.runs_dir) if options.reuse is not None else None
    path = None if options.output_dir is None else Path(options.output_dir)
    folder = RunFolder.create(path, checked.graph.chain.name, runs_dir=Path(options.runs_dir))
    record = graph_record(checked, options, source.describe(), folder.run_id)
    if reused is not None:
        record["options"]["reuse"] = reused.place

    def past(before: Recovered) -> Past | None:
        return None if reused is None else Past(other=reused.calls(), other_run=reused.name)

    return Opening(folder, options, record, {}, source, _chunks(checked, source, options, folder.path), past)


@dataclass(frozen=True)
class _ReusedRun:
    """An earlier run whose calls are taken."""

    path: Path
    place: str
    """What it is called: its absolute path, or URL."""

    @property
    def name(self) -> str:
        return Path(self.place).name

    def calls(self) -> CallIndex:
        return of_another(self.path, self.name)


def _reused_run(name: str | os.PathLike[str], runs_dir: str | os.PathLike[str]) -> _ReusedRun:
    """
    Raises:
        RunFolderError: no run or several are meant, or a remote one cannot be brought.
    """
    meant = meant_run(name, runs_dir)
    if isinstance(meant, str):
        return _ReusedRun(local_copy(meant, "calls/"), shown_url(meant))
    return _ReusedRun(meant, os.path.abspath(meant))


def found_run(name: str | os.PathLike[str], options: RunOptions) -> Path:
    """
    Raises:
        RunFolderError: no run or several are meant.
    """
    return find_run(os.fspath(name), os.fspath(options.runs_dir))


def open_again(checked: Checked, inputs: Any, options: RunOptions) -> Opening | RunResult:
    """The folder of a run that ended before its last row; of one that is done, its result.

    Raises:
        ChainError: chain, model, input or parameters changed; each part is named. Nothing was written.
        RunFolderError: there is no such run, or a process is at work in it.
    """
    assert options.resume is not None
    path = found_run(options.resume, options)
    reader = RunReader(path)
    old, status = reader.graph(), reader.status()
    if not old:
        raise RunFolderError(f"{path} has no graph.json: its run ended before it began (type the `run` command again)")
    options = inherited(options, old)
    is_done = status.get("state") == "done"
    source = None if is_done and inputs is None else _source_again(checked, inputs, options, path)
    described = source.describe() if source is not None else {"kind": "recorded"}
    run_id = str(old.get("run_id", path.name))
    record = graph_record(checked, options, old["inputs"] if described["kind"] == "recorded" else described, run_id)
    changes = graph_changes(old, record)
    if changes and not options.force:
        hint = "bring the old ones back, or take the new ones, and the calls that still fit, with --force"
        raise ChainError([*(Problem("", str(change)) for change in changes), Problem(path.name, "cannot go on", hint)])
    if is_done and not changes:
        return finished_result(checked, path, status)
    source = source or _source_again(checked, inputs, options, path)
    forced = bool(changes) or bool(old.get("made_again"))
    record = _continued(record, old, options, anew=bool(changes))
    folder = RunFolder.reopen(path, run_id)
    if changes:
        folder.forget(inputs=source.describe().get("kind") != "recorded")
    chunks = _chunks(checked, source, options, path)
    past = _past_again(folder, record, None if changes else old["made_again"]) if forced else _past_of(path, record)
    return Opening(folder, options, record, status, source, chunks, past, forced)


_INHERITED = (
    *("chunk_size", "limit", "columns", "id_field", "format", "max_lines_per_file", "flattened", "params", "reuse"),
    *("max_failed", "engines"),
)


def inherited(options: RunOptions, old: Mapping[str, Any]) -> RunOptions:
    """The options of the earlier run, where nothing else is said now."""
    recorded = dict(old.get("options", {}))
    if not (old.get("call") or {}).get("target"):
        recorded.pop("params", None)  # told as texts, which from Python they need not have been
    plain = RunOptions()
    taken = {
        name: recorded[name]
        for name in _INHERITED
        if recorded.get(name) is not None and getattr(options, name) == getattr(plain, name)
    }
    return replace(options, **taken)


def finished_result(checked: Checked, path: Path, status: Mapping[str, Any]) -> RunResult:
    """Of a run that was done before."""
    return RunResult(
        folder=path,
        state="done",
        rows_in=int(status.get("rows_in", 0)),
        rows_out=int(status.get("rows_out", 0)),
        rows_failed=int(status.get("rows_failed", 0)),
        rows_dropped=int(status.get("rows_dropped", 0)),
        stats=status,
        was_done=True,
        _graph=checked.graph,
    )


def _continued(record: dict[str, Any], old: dict[str, Any], options: RunOptions, *, anew: bool) -> dict[str, Any]:
    """The new `graph.json` of an old run: what it was called with stays, unless it is made again."""
    kept = ("command", "call") if old.get("call") and not anew else ()
    record |= {name: old[name] for name in kept}
    record["options"]["reuse"] = old.get("options", {}).get("reuse")
    record["resumed"] = [*old.get("resumed", []), {"command": list(options.command), "versions": record["versions"]}]
    return record


def _past_again(
    folder: RunFolder, record: dict[str, Any], since: Mapping[str, int] | None
) -> Callable[[Recovered], Past]:
    """Of a run that is made again: its own log. `since` says how much of it is from before; None: all."""

    def past(before: Recovered) -> Past:
        record["made_again"] = since if since is not None else folder.calls_logged()
        return of_its_own(folder.path, folder.path.name, since)

    return past


def _past_of(path: Path, record: dict[str, Any]) -> Callable[[Recovered], Past]:
    def past(before: Recovered) -> Past:
        reused = record["options"].get("reuse")
        if reused is not None and not is_remote(reused) and not Path(reused).is_dir():
            raise RunFolderError(f"the run whose calls are reused is gone: {reused} (bring it back, or --force)")
        found = Past(own=CallIndex.of(path, since=before.floor))
        if reused is not None:
            again = _reused_run(reused, "")
            found.other, found.other_run = again.calls(), again.name
            take_again(found.other, path)
        return found

    return past


def _source_again(checked: Checked, inputs: Any, options: RunOptions, path: Path) -> Input:
    """The input of an earlier run: what is given now, else what it read, where it read all of it."""
    if inputs is None or (isinstance(inputs, str) and inputs == "-"):
        if is_complete(path):
            return recorded_input(path)
        if inputs is None:
            raise InputError(
                f"{path.name} had not read its whole input, and where the rest is is not known; give the same input "
                f"again: chain.run(inputs, resume=…), or … | chainette resume {path.name} -i -"
            )
    return _source(checked, inputs, options)


def _source(checked: Checked, inputs: Any, options: RunOptions) -> Input:
    """The input; what can be checked cheaply is checked now."""
    input_type = checked.graph.input_type
    fields = list(fields_of(input_type) or {})
    source = open_input(inputs, columns=options.columns, model_fields=fields, limit=options.limit)
    if source.cheap and source.rereadable:
        # What spoils a whole file is raised by this in any case; bad rows only count when none may fail.
        problems = check_input(source, lambda: RowValidator(input_type, id_field=options.id_field, keep_bad=True))
        if problems and options.max_failed is None:
            raise InputError("\n".join(problems))
    return source


def _chunks(
    checked: Checked, source: Input, options: RunOptions, run: Path
) -> Callable[[Recovered], Iterator[InputChunk]]:
    graph = checked.graph

    def chunks(before: Recovered) -> Iterator[InputChunk]:
        validate = RowValidator(graph.input_type, id_field=options.id_field, keep_bad=options.max_failed is not None)
        guard = IdGuard() if options.id_field is not None and _expands(graph) else None
        done = before.count.rows
        if done and options.id_field is not None:
            ids = list(RecordedSource(run).ids(done))
            validate.remember(ids)
            if guard is not None:
                guard.check(ids)
        for index, raw in enumerate(source.chunks(chunk_size_of(graph, options), done), before.chunk + 1):
            chunk = validate.chunk(raw, index)
            if guard is not None:
                guard.check(chunk.ids)
            yield chunk

    return chunks


def _expands(graph: Graph) -> bool:
    """Whether a node may make several rows of one."""
    return any(
        node.step.samples > 1 if node.kind == "step" else node.kind == "apply" and node.apply.shape.makes in _SEVERAL
        for node in graph.nodes
    )


_SEVERAL = ("many", "list")
