"""A run that ended, as its folder tells: what it was, what of it differs now, what it left. Writes no rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainette.chain import Chain
from chainette.errors import ChainError, Problem, RunFolderError
from chainette.files import RunFolder
from chainette.files.graph_changes import Change, graph_changes
from chainette.files.names import HEALING
from chainette.files.reading import RunReader, find_run
from chainette.files.run_lock import OWNER
from chainette.graph import build
from chainette.run.checking import Checked, check
from chainette.run.options import RunOptions
from chainette.run.result import RunResult

_INHERITED = (
    *("chunk_size", "limit", "columns", "id_field", "format", "max_lines_per_file", "flattened", "params"),
    "max_failed",
)


@dataclass(frozen=True)
class Earlier:
    """An earlier run."""

    path: Path
    graph: Mapping[str, Any]
    status: Mapping[str, Any]

    @classmethod
    def found(cls, name: str | os.PathLike[str], runs_dir: str | os.PathLike[str]) -> Earlier:
        """
        Raises:
            RunFolderError: no run or several are meant, or it ended before it began.
        """
        path = find_run(os.fspath(name), os.fspath(runs_dir))
        reader = RunReader(path)
        graph = reader.graph()
        if not graph:
            raise RunFolderError(
                f"{path} has no graph.json: nobody knows what ran there (type the `run` command again)"
            )
        if not isinstance(graph.get("nodes"), list) or not isinstance(graph.get("options"), dict):
            raise RunFolderError(f"{path / 'graph.json'} was damaged: nobody knows what ran (run anew with --reuse)")
        try:
            status = reader.status()
        except RunFolderError:  # it follows from the other files, and is written again
            status = {}
        return cls(path, graph, status)

    @property
    def run_id(self) -> str:
        return str(self.graph.get("run_id", self.path.name))

    @property
    def inputs(self) -> dict[str, Any]:
        """How its input was found."""
        return dict(self.graph.get("inputs") or {})

    @property
    def is_done(self) -> bool:
        return self.status.get("state") == "done"

    def checked(self, chain: Chain, options: RunOptions) -> tuple[Checked, RunOptions]:
        """`chain` with the run's options, where nothing else is said now, and these.

        Raises:
            ChainError, PlanError: see `Checked.require`, and `check`.
        """
        options = self._inherited(options)
        chain = chain.for_params(options.params)
        engines = {**self._engines(chain), **options.engines}
        options = replace(options, engines=engines, engines_file=options.engines_file or self._engines_file())
        checked = check(chain, options)
        checked.require()
        return checked, options

    def _engines(self, chain: Chain) -> dict[str, str]:
        """Those that were said for steps that are still there."""
        recorded = self.graph["options"].get("engines")
        if not recorded:
            return {}
        here = {node.id for node in build(chain)[0].steps}
        return {id: name for id, name in recorded.items() if id in here}

    def _engines_file(self) -> str | None:
        call = self.graph.get("call")
        said = call.get("engines_file") if isinstance(call, dict) else None
        path = os.path.join(str(call.get("cwd") or ""), said) if isinstance(call, dict) and said else None
        return path if path is not None and os.path.isfile(path) else None

    def _inherited(self, options: RunOptions) -> RunOptions:
        recorded = dict(self.graph["options"])
        call = self.graph.get("call")
        if not isinstance(call, dict) or not call.get("target"):
            recorded.pop("params", None)  # told as texts, which from Python they need not have been
        plain = RunOptions()
        taken = {
            name: recorded[name]
            for name in _INHERITED
            if recorded.get(name) is not None and getattr(options, name) == getattr(plain, name)
        }
        return replace(options, **taken)

    def changes(self, record: Mapping[str, Any], what: str, instead: str, *, force: bool) -> list[Change]:
        """What of `record`, which would run now, makes other rows.

        Raises:
            ChainError: it would, and that is not forced; names each part. `what` cannot be done, and `instead` is what
                `--force` does.
        """
        changes = graph_changes(self.graph, record)
        if changes and not force:
            problems = [Problem("", str(change)) for change in changes]
            hint = f"bring the old ones back, or {instead}: --force"
            raise ChainError([*problems, Problem(self.path.name, f"cannot {what}", hint)])
        return changes

    def result(self, checked: Checked) -> RunResult:
        """What it left. What a process that was killed at its very end left lying about is put away.

        Raises:
            RunFolderError: a process is at work in it.
        """
        if (self.path / OWNER).exists() or (self.path / HEALING).exists():
            RunFolder.reopen(self.path, self.run_id).close(seal=False)
        status = self.status
        return RunResult(
            folder=self.path,
            state=str(status.get("state", "")),
            rows_in=int(status.get("rows_in", 0)),
            rows_out=int(status.get("rows_out", 0)),
            rows_failed=int(status.get("rows_failed", 0)),
            rows_dropped=int(status.get("rows_dropped", 0)),
            stats=status,
            nothing_to_do=True,
            _graph=checked.graph,
        )
