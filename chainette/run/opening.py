"""Where a run begins: in a new folder, or where an earlier one ended. Decides what may go on; starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainette.chain import Chain
from chainette.errors import RunFolderError
from chainette.executor.past import Past
from chainette.files import RunFolder
from chainette.files.call_index import CallIndex
from chainette.files.inputs import Input
from chainette.files.recovery import Recovered
from chainette.files.remote_names import is_remote, shown_url
from chainette.files.runs import meant_run
from chainette.rows import InputChunk
from chainette.run.checking import Checked
from chainette.run.earlier import Earlier
from chainette.run.options import RunOptions
from chainette.run.record import graph_record
from chainette.run.result import RunResult
from chainette.run.sources import chunks_of, source_again, source_of
from chainette.run.taking import of_another, of_its_own, take_again


@dataclass
class Opening:
    """All that a run is told before its first row."""

    checked: Checked
    folder: RunFolder
    options: RunOptions
    graph: dict[str, Any]
    """`graph.json`, to be written."""
    status: Mapping[str, Any]
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
    source = source_of(checked, inputs, options)
    options = replace(options, id_field=options.id_field or source.id_field)
    reused = _reused_run(options.reuse, options.runs_dir) if options.reuse is not None else None
    path = None if options.output_dir is None else Path(options.output_dir)
    folder = RunFolder.create(path, checked.graph.chain.name, runs_dir=Path(options.runs_dir))
    record = graph_record(checked, options, source.describe(), folder.run_id)
    if reused is not None:
        record["options"]["reuse"] = reused.place

    def past(before: Recovered) -> Past | None:
        return None if reused is None else Past(other=reused.calls(), other_run=reused.name)

    return Opening(checked, folder, options, record, {}, source, chunks_of(checked, source, options, folder.path), past)


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
        from chainette.files.remote_reading import local_copy

        return _ReusedRun(local_copy(meant, "calls/"), shown_url(meant))
    return _ReusedRun(meant, os.path.abspath(meant))


def open_again(chain: Chain, inputs: Any, options: RunOptions) -> Opening | RunResult:
    """The folder of a run that ended before its last row; of one that is done, its result.

    Raises:
        ChainError, PlanError: chain, model, input or parameters changed (each part is named), or do not fit together.
            Nothing was written.
        RunFolderError: there is no such run, or a process is at work in it.
    """
    assert options.resume is not None
    earlier = Earlier.found(options.resume, options.runs_dir)
    path, old = earlier.path, earlier.graph
    checked, options = earlier.checked(chain, options)
    source = None if earlier.is_done and inputs is None else source_again(checked, inputs, options, path)
    described = earlier.inputs if source is None or source.is_recorded else source.describe()
    record = graph_record(checked, options, described, earlier.run_id)
    earlier.changes(record, "go on", "take the new ones, and the calls that still fit", force=options.force)
    anew = options.force
    if earlier.is_done and not anew:
        return earlier.result(checked)
    source = source or source_again(checked, inputs, options, path)
    record = _continued(record, old, options, anew=anew)
    folder = RunFolder.reopen(path, earlier.run_id)
    if anew:
        folder.forget(inputs=not source.is_recorded)
    chunks = chunks_of(checked, source, options, path)
    forced = anew or bool(old.get("made_again"))
    past = _past_again(folder, record, None if anew else old["made_again"]) if forced else _past_of(path, record)
    return Opening(checked, folder, options, record, earlier.status, source, chunks, past, forced)


def _continued(record: dict[str, Any], old: Mapping[str, Any], options: RunOptions, *, anew: bool) -> dict[str, Any]:
    """The new `graph.json` of an old run: what it was called with stays, unless it is made again."""
    kept = ("command", "call") if old.get("call") and not anew else ()
    record |= {name: old[name] for name in kept}
    record["options"]["reuse"] = None if options.force else old.get("options", {}).get("reuse")
    record |= {"tags": [*dict.fromkeys([*old["tags"], *options.tags])]} if old.get("tags") else {}
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
            raise RunFolderError(
                f"the run whose calls are reused is gone: {reused} (bring it back, or make its calls again: --force)"
            )
        found = Past(own=CallIndex.of(path, since=before.floor))
        if reused is not None:
            again = _reused_run(reused, "")
            found.other, found.other_run = again.calls(), again.name
            take_again(found.other, path)
        return found

    return past
