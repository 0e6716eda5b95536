"""`retry`: which rows of an earlier run are made again, and what of them stays. Starts nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainette.chain import Chain
from chainette.errors import ChainError, Problem, RunFolderError, nearest
from chainette.executor.past import Past
from chainette.files import RowValidator, RunFolder, folder_name
from chainette.files.call_index import CallIndex
from chainette.files.failed_chunks import FailedChunk, failed_chunks
from chainette.files.healing import begin
from chainette.files.inputs import recorded_input
from chainette.files.pieces import RawChunk
from chainette.files.reading import RunReader
from chainette.files.recorded_inputs import as_read
from chainette.files.recovery import Recovered
from chainette.graph import INPUT_ID, Graph
from chainette.graph.run_scope import is_barrier
from chainette.graph.scans import is_row_scan
from chainette.rows import Absent, Again, Failure, InputChunk, source_of
from chainette.run.earlier import Earlier
from chainette.run.opening import Opening
from chainette.run.options import RunOptions
from chainette.run.record import graph_record
from chainette.run.result import RunResult

_SHAPE = ("graph", "output", "last step", "branches", "keep", "input schema", "input", "columns")
"""Changes that no single row can be healed with: the files themselves would be others."""


def open_retry(chain: Chain, options: RunOptions) -> Opening | RunResult:
    """The failed rows of a run, to be made again in their places; of a run without any, its result.

    Raises:
        ChainError: chain, model or parameters changed (each part is named), or no such step; nodes came or went, which
            even `force` does not heal. Nothing was written.
        PlanError: the engines do not fit on the devices.
        RunFolderError: there is no such run, or a process is at work in it.
    """
    assert options.retry is not None
    earlier = Earlier.found(options.retry, options.runs_dir)
    path, old = earlier.path, earlier.graph
    checked, options = earlier.checked(chain, options)
    chosen = _Chosen(checked.graph, options)
    record = graph_record(checked, options, earlier.inputs, earlier.run_id)
    changes = earlier.changes(record, "retry", "heal the failed rows with the new ones", force=options.force)
    if any(change.part in _SHAPE for change in changes):
        problems = [Problem("", str(change)) for change in changes if change.part in _SHAPE]
        hint = f"chainette resume {path.name} --force makes all rows again, with the calls that still fit"
        raise ChainError([*problems, Problem(path.name, "retry puts rows into files as they are", hint)])
    if not any(any(map(chosen, chunk.failures)) for chunk in _failed(checked.graph, path)):
        return earlier.result(checked)
    _refuse_barriers(checked.graph, path, old)
    record |= {name: old[name] for name in ("command", "call", "tags", "resumed", "made_again") if name in old}
    record["options"]["reuse"] = old["options"].get("reuse")
    said = {"command": list(options.command), "step": options.retry_step, "kind": options.retry_kind}
    record["retried"] = [*old.get("retried", []), said]
    folder = RunFolder.reopen(path, earlier.run_id, "heal")
    chunks, past = _Rows(checked.graph, options, path, chosen).chunks, _past(path, folder, said)
    return Opening(checked, folder, options, record, earlier.status, recorded_input(path), chunks, past, heals=True)


def _refuse_barriers(graph: Graph, path: Path, old: Mapping[str, Any]) -> None:
    """
    Raises:
        RunFolderError: a function saw all rows at once or what the rows before carried, so a healed row could change
            what became of any other.
    """
    seen = next((node for node in graph.nodes if is_barrier(node) or is_row_scan(node)), None)
    if seen is None:
        return
    target = (old.get("call") or {}).get("target") or "…"
    does = "works on all rows of the run at once" if is_barrier(seen) else "carries a value from row to row"
    raise RunFolderError(
        f'{seen.kind} "{seen.id}" {does}, so rows cannot be healed in their places; '
        f"a new run makes only the failed calls again: chainette run {target} -i … --reuse {path.name}"
    )


def _past(path: Path, folder: RunFolder, said: Mapping[str, Any]) -> Callable[[Recovered], Past]:
    def past(before: Recovered) -> Past:
        begun = begin(path, {"calls": folder.calls_logged(), "time": time.time(), **said})
        healed = CallIndex.of(path, since=begun["calls"])
        return Past(own=CallIndex.of(path), healed=healed, costs_counted=True)

    return past


def _failed(graph: Graph, path: Path) -> Iterator[FailedChunk]:
    ids = [INPUT_ID, *(node.id for node in graph.shown)]
    return failed_chunks(path, ids, {id: folder_name(id) for id in ids})


class _Chosen:
    """Which failures are to be healed."""

    def __init__(self, graph: Graph, options: RunOptions) -> None:
        known = [INPUT_ID, *(node.id for node in graph.shown)]
        if options.retry_step is not None and options.retry_step not in known:
            raise ChainError(Problem("step", f'no "{options.retry_step}"', nearest(options.retry_step, known)))
        self._step = options.retry_step
        self._kind = options.retry_kind

    def __call__(self, failure: Failure) -> bool:
        return self._step in (None, failure.node_id) and self._kind in (None, failure.kind)


class _Rows:
    """The failed input rows, chunk by chunk, among rows that are left as they are."""

    def __init__(self, graph: Graph, options: RunOptions, path: Path, chosen: _Chosen) -> None:
        self._graph = graph
        self._options = options
        self._path = path
        self._chosen = chosen
        self._below: dict[str, set[str]] = {}

    def chunks(self, before: Recovered) -> Iterator[InputChunk]:
        validate = RowValidator(self._graph.input_type, keep_bad=True)
        rows = RunReader(self._path).inputs()
        for failed in _failed(self._graph, self._path):
            if failed.index > before.chunk:
                return
            if any(map(self._chosen, failed.failures)):
                stored = list(rows[failed.first : failed.first + failed.rows])
                yield self._chunk(failed, stored, validate)

    def _chunk(self, failed: FailedChunk, stored: list[dict[str, Any]], validate: RowValidator) -> InputChunk:
        ids = [row["_id"] for row in stored]
        raw = RawChunk([as_read(row, plain=self._graph.input_type is Any) for row in stored], failed.first)
        chunk = replace(validate.chunk(raw, failed.index), ids=ids)
        by_position: dict[int, list[Failure]] = {}
        position_of = {id: position for position, id in enumerate(ids)}
        for failure in failed.failures:
            by_position.setdefault(source_of(failure.row_id, position_of), []).append(failure)
        anew: set[tuple[str, str]] = set()
        kept: dict[tuple[str, str], Failure] = {}
        healed = set()
        for position, failures in by_position.items():
            chosen = self._with_causes(failures)
            if chosen:
                healed.add(position)
            for failure in failures:
                place = (failure.node_id, failure.row_id)
                if failure in chosen:
                    anew |= {place, (failure.node_id, self._asked(failure))}
                else:
                    kept[place] = failure
        for position in range(len(ids)):
            value = chunk.values[position]
            if position not in by_position:
                chunk.values[position] = Absent
            elif type(value) is Failure:  # as it was, for the place that it names is not to be seen here
                before = [failure for failure in by_position[position] if failure.node_id == INPUT_ID]
                chunk.values[position] = before[0] if before else replace(value, row_id=ids[position])
        chunk.again = Again(frozenset(anew), kept, frozenset(healed))
        return chunk

    def _with_causes(self, failures: list[Failure]) -> list[Failure]:
        """Those that were chosen; with a failure at a join, all the row's, for it stands on one of them; and those
        that stand on a chosen one, as a prompt does on a branch that has no value."""
        chosen = [failure for failure in failures if self._chosen(failure)]
        if any(failure.kind == "join" for failure in chosen):
            return failures
        return [f for f in failures if f in chosen or any(self._stands_on(f, cause) for cause in chosen)]

    def _stands_on(self, failure: Failure, cause: Failure) -> bool:
        one, other = f"{failure.row_id}.", f"{cause.row_id}."
        if not (one.startswith(other) or other.startswith(one)):
            return False
        return failure.node_id in self._below.setdefault(cause.node_id, _below(self._graph, cause.node_id))

    def _asked(self, failure: Failure) -> str:
        """The row that was asked at the step, where the failure is that of one of its samples."""
        node = self._graph.by_id(failure.node_id)
        many = node is not None and node.kind == "step" and node.step.samples > 1
        return failure.row_id.rpartition(".")[0] if many else failure.row_id


def _below(graph: Graph, node_id: str) -> set[str]:
    """The nodes that rows of this one come to."""
    node = graph.by_id(node_id)
    found: set[int] = set()
    ahead = [node.index] if node is not None else []
    while ahead:
        targets = {edge.target for edge in graph.edges[ahead.pop()]} - found
        found |= targets
        ahead += targets
    return {graph.nodes[index].id for index in found}
