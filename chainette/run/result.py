"""What `chain.run` gives back: lazy views of the run folder. Reads nothing until it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainette.errors import RunFolderError, nearest
from chainette.files.reading import RunReader
from chainette.graph import Graph
from chainette.graph.types import is_model
from chainette.rows import Failure


@dataclass(frozen=True)
class RunResult:
    """A run that has ended. The views are sequences over the files: a million rows cost nothing until they are read."""

    folder: Path
    state: str
    """`done`, `stopped` or `interrupted`."""
    rows_in: int
    rows_out: int
    rows_failed: int
    """Input rows with a failure anywhere below them."""
    rows_dropped: int
    stats: Mapping[str, Any]
    """What `status.json` holds: counts, tokens and seconds per node."""
    message: str = ""
    allowed_failed: bool = True
    """Whether no more rows failed than `max_failed` allows."""
    url: str | None = None
    """Where a remote run is; `folder` is its copy on this machine."""
    nothing_to_do: bool = False
    """Nothing was left to do when it was asked to go on."""
    _graph: Graph | None = field(default=None, repr=False)
    _observed: Mapping[str, set[type]] = field(default_factory=dict, repr=False)

    @property
    def run_id(self) -> str:
        return str(self.stats["run_id"]) if self.url is not None else self.folder.name

    @property
    def place(self) -> str:
        """What the folder is called: its path, or URL."""
        return self.url or str(self.folder)

    @property
    def outputs(self) -> Sequence[Any]:
        """The last node's models, in input order. After a join, or a last node that is not written: flattened rows."""
        last = self._the_graph().result
        return self.steps[last.id] if last.written else self._reader().flattened()

    @property
    def steps(self) -> Mapping[str, Sequence[Any]]:
        """Every step's and apply's rows by id."""
        return _Steps(self)

    @property
    def failed(self) -> Sequence[Failure]:
        """The rows that stopped, with their reasons, node by node."""
        return self._reader().failures()

    @property
    def flattened(self) -> Sequence[Any]:
        """A dict per final row with every step's fields."""
        return self._reader().flattened()

    def _reader(self) -> RunReader:
        return RunReader(self.folder)

    def _the_graph(self) -> Graph:
        if self._graph is None:
            raise RunFolderError(
                f"{self.folder}: the chain is not known; read it with chainette.files.reading.RunReader"
            )
        return self._graph

    def _model(self, node_id: str) -> Any:
        seen = self._observed.get(node_id)
        if seen is not None:
            only = next(iter(seen)) if len(seen) == 1 else None
            return only if is_model(only) else None
        node = self._the_graph().by_id(node_id)
        type_ = node.output_type if node is not None else None
        return None if type_ is Any else type_


class _Steps(Mapping[str, Sequence[Any]]):
    def __init__(self, result: RunResult) -> None:
        self._result = result
        self._ids = [node.id for node in result._the_graph().nodes if node.written]

    def __getitem__(self, id: str) -> Sequence[Any]:
        if id not in self._ids:
            raise KeyError(f'no step "{id}" with output; {nearest(id, self._ids)}')
        model = self._result._model(id)
        return self._result._reader().rows(id, model, bare=model is None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<steps {', '.join(self._ids)}>"
