"""Which calls a run may take from a log, and which it has taken before. Knows logs; opens no run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainette.executor.past import Past
from chainette.files.call_index import CallIndex, logged_calls

_COPY = b'"reused":{'


def of_another(run: Path, name: str) -> CallIndex:
    """The answered calls of a run called `name`, each of them once.

    Raises:
        RunFolderError: the log cannot be read.
    """
    index = CallIndex.of(run, answered=True)
    if _was_made_again(run):
        _leave_out_copies(index, run, name)
    return index


def take_again(index: CallIndex, run: Path) -> None:
    """Takes from `index` the calls that the log of `run` says were taken.

    Raises:
        RunFolderError: a log cannot be read.
    """
    for node, record in logged_calls(run, containing=_COPY):
        if isinstance(record.get("reused"), dict):
            _take(index, node, record, record["reused"].get("_id"))


def of_its_own(run: Path, name: str, since: Mapping[str, int] | None) -> Past:
    """The log of a run that is made again, by a chain that changed: a call is taken where its key is the same.

    `since` says how many calls the log had when the run was begun again, per node; None where that is now.

    Raises:
        RunFolderError: the log cannot be read.
    """
    other = CallIndex.of(run, answered=True)
    _leave_out_copies(other, run, name)
    past = Past(other=other, other_run=name)
    if since is not None:
        past.own = CallIndex.of(run, since=since)
        for node, record in logged_calls(run, since=since):
            copied = record.get("reused")
            if copied is None and "error" not in record:
                _take(other, node, record, record["_id"])
            elif isinstance(copied, dict) and copied.get("run") == name:
                _take(other, node, record, copied.get("_id"))
    return past


def _leave_out_copies(index: CallIndex, run: Path, name: str) -> None:
    """A call that the run took from its own log for another row stands there twice."""
    for node, record in logged_calls(run, containing=_COPY):
        copied = record.get("reused")
        # Of several records of one row the index has one.
        if isinstance(copied, dict) and copied.get("run") == name and copied.get("_id") != record["_id"]:
            _take(index, node, record, record["_id"])


def _take(index: CallIndex, node: str, record: Mapping[str, Any], row_id: Any) -> None:
    key, attempt = record.get("key"), record.get("attempt")
    if isinstance(key, str) and isinstance(attempt, int) and isinstance(row_id, str):
        index.take(key, attempt, row_id, node_id=node)


def _was_made_again(run: Path) -> bool:
    try:
        graph = json.loads((run / "graph.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(graph, dict) and bool(graph.get("made_again"))
