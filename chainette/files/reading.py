"""A run folder as it is read: by the terminal, by `RunResult`, by anyone. Never writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from chainette.errors import RunFolderError, nearest
from chainette.files.call_lookup import Bounds, kin_calls
from chainette.files.names import INPUT_NODE, OPEN, folder_name
from chainette.files.notes import Notes
from chainette.files.parts import JsonlPart, Part, find_parts, is_own_file
from chainette.files.remote_names import as_path, is_copy, is_remote
from chainette.files.row_lookup import Kin, kin_of, neighbours
from chainette.files.runs import RunSummary, find_run, is_run_folder, list_runs, run_folders
from chainette.files.sampling import SampledCalls
from chainette.files.schema import Column, columns_in_csv, layout
from chainette.files.tailing import Tail
from chainette.files.views import FailuresView, RowsView, rows_of

if TYPE_CHECKING:
    from chainette.files.remote_reading import RemoteReader

__all__ = ["FailuresView", "RowsView", "RunReader", "RunSummary", "find_run", "list_runs"]


class RunReader:
    """One run folder. A running one may be read too: it is seen as it was when a view was first used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """`path` may be a URL: files are brought to this machine as they are asked for.

        Raises:
            RunFolderError: there is no run folder here; with the nearest name beside it.
        """
        self._remote = _remote(path)
        self._bounds: tuple[str, Bounds] | None = None
        self.place = str(path) if self._remote is None else self._remote.url
        """The folder as it is named, a URL where it is remote."""
        self.path = as_path(path) if self._remote is None else self._remote.fetch_documents()
        if not is_run_folder(self.path):
            if self.path.is_dir():
                raise RunFolderError(f"{self.path} is not a run folder: it has neither graph.json nor status.json")
            beside = [folder.name for folder in run_folders(self.path.parent)]
            hint = nearest(self.path.name, beside) or f"there are no runs in {self.path.parent}"
            raise RunFolderError(f"there is no run {self.path} ({hint})")

    def graph(self) -> dict[str, Any]:
        """What ran; empty when it was not written yet."""
        return self._document("graph.json")

    def status(self) -> dict[str, Any]:
        """How far it is; empty when it was not written yet."""
        return self._document("status.json")

    def _document(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunFolderError(f"cannot read {self.path / name}: {error}") from error
        return content if isinstance(content, dict) else {}

    @cached_property
    def _known(self) -> dict[str, str]:
        """Folder name -> node id, in the order the nodes ran."""
        ids = [str(node["id"]) for node in self.graph().get("execution_order", []) if "id" in node]
        known = {folder_name(node_id): node_id for node_id in ids}
        for below in ("steps", ".open/steps"):
            folder = self.path / below
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                known.setdefault(path.name, path.name)
        there = self._remote.names() if self._remote is not None else ()
        for name in sorted(name.removeprefix(".open/") for name in there):
            if name.startswith("steps/"):
                known.setdefault(name.split("/")[1], name.split("/")[1])
        return known

    def _parts(self, below: str, packed: list[Column] | None = None) -> list[Part]:
        self._bring(f"{below}/", f"{OPEN}/{below}/")
        return find_parts(self.path, below, packed)

    def parts(self, below: str) -> list[Part]:
        """The files below a folder of the run (`steps/qa`, `inputs`), in order."""
        return self._parts(below)

    def _bring(self, *below: str) -> None:
        if self._remote is not None:
            self._remote.fetch(*below)

    def step_ids(self) -> list[str]:
        """The nodes that ran, in order, whether or not they have files."""
        return list(self._known.values())

    def rows(self, node_id: str, model: Any = None, *, bare: bool = False) -> RowsView:
        """What a node made, in input order: dicts with `_id`, or instances of `model`.

        `bare` rows have no `_id`, and what was not an object is the value itself. A row that does not fit `model` (its
        JSON is not what the model takes, or the model is another one) is given as without a model.

        Raises:
            RunFolderError: the run has no such node.
        """
        self._check(node_id)
        packed = columns_in_csv([layout(model)]) if model is not None else []
        return RowsView(self._parts(f"steps/{folder_name(node_id)}", packed), model, bare=bare)

    def _check(self, node_id: str) -> None:
        if node_id not in self._known.values():
            raise RunFolderError(f'{self.path.name} has no step "{node_id}" ({nearest(node_id, self.step_ids())})')

    def inputs(self) -> RowsView:
        """The rows as they were read, each with its `_id`."""
        return RowsView(self._parts("inputs"))

    def flattened(self) -> RowsView:
        """A dict per final row with every step's fields."""
        return RowsView(self._parts("flattened"))

    def failures(self, node_id: str | None = None) -> FailuresView:
        """The rows that stopped, in the order of the nodes and, within a node, of the input.

        Raises:
            RunFolderError: the run has no such node.
        """
        if node_id is not None and node_id != INPUT_NODE:
            self._check(node_id)
        names = {folder_name(INPUT_NODE): INPUT_NODE, **self._known}
        wanted = names if node_id is None else {folder_name(node_id): node_id}
        self._bring("failed/")
        folder = self.path / "failed"
        others = sorted(path.stem for path in folder.glob("*.jsonl") if path.stem not in names)
        stems = [*wanted, *(others if node_id is None else ())]
        files = [folder / f"{stem}.jsonl" for stem in stems]
        parts = [JsonlPart(file) for file in files if is_own_file(self.path, file)]
        return FailuresView(parts, names)

    def row(self, node_id: str, row_id: str) -> dict[str, Any] | None:
        """A node's row by its id, in a loop that of the last turn; None when there is none.

        `chain_input` gives the row as it was read.
        """
        found = self.turns(node_id, row_id)
        return found[-1] if found else None

    def turns(self, node_id: str, row_id: str) -> list[dict[str, Any]]:
        """A node's rows of one id: one, or in a loop one for each turn that is kept, in order."""
        if node_id != INPUT_NODE:
            self._check(node_id)
        below = "inputs" if node_id == INPUT_NODE else f"steps/{folder_name(node_id)}"
        return rows_of(self._parts(below), row_id)

    def calls(self, node_id: str) -> Iterator[dict[str, Any]]:
        """Every finished call of a step, in the order they finished."""
        self._check(node_id)
        for part in self._parts(f"calls/{folder_name(node_id)}"):
            yield from part.rows(0, len(part))

    def sampled_calls(self, node_ids: Sequence[str], max_calls: int) -> SampledCalls:
        """The lines of `calls/` of these nodes: all, or an even sample of about `max_calls` without reading the rest.

        Raises:
            RunFolderError: they cannot be read.
        """
        self._bring("calls/")
        return SampledCalls(self.path, node_ids, max_calls)

    def kin(self, node_id: str, row_id: str, most: int = 20) -> list[dict[str, Any]]:
        """The row at a node, the rows it was made from and at most `most` of those made from it; see `row_lookup`.

        Quick in a node of millions. `chain_input` stands for the rows as they were read.
        """
        if node_id != INPUT_NODE:
            self._check(node_id)
        below = "inputs" if node_id == INPUT_NODE else f"steps/{folder_name(node_id)}"
        return kin_of(self._parts(below), self._kin(row_id, most))

    def neighbours(self, node_id: str, row_id: str) -> tuple[str | None, str | None]:
        """The ids of the rows before and after the row at a node."""
        if node_id != INPUT_NODE:
            self._check(node_id)
        below = "inputs" if node_id == INPUT_NODE else f"steps/{folder_name(node_id)}"
        return neighbours(self._parts(below), row_id, ordered=self._kin(row_id, 0).ordered)

    def kin_failures(self, node_id: str, row_id: str, most: int = 20) -> list[dict[str, Any]]:
        """As `kin`, the lines of `failed/`."""
        path = self.path / "failed" / f"{folder_name(node_id)}.jsonl"
        self._bring("failed/")
        return kin_of([JsonlPart(path)], self._kin(row_id, most)) if is_own_file(self.path, path) else []

    def kin_calls(self, node_id: str, row_id: str, most: int = 200) -> list[dict[str, Any]]:
        """As `kin`, the calls of a node in the order they finished."""
        self._check(node_id)
        parts = self._parts(f"calls/{folder_name(node_id)}")
        kin = self._kin(row_id, most)
        if sum(1 for _ in parts) < 2 or not kin.ordered:
            return list(kin_calls(parts, kin, None))
        if self._bounds is None or self._bounds[0] != row_id:
            options = self._facts.get("options") or {}
            sizes = int(options.get("chunk_size") or 0), int(options.get("max_lines_per_file") or 0)
            self._bounds = row_id, Bounds(self.path, row_id, *sizes)
        return list(kin_calls(parts, kin, self._bounds[1].of(node_id)))

    def notes(self) -> Notes:
        """What people have said of its rows; may be written to, also while the run is going.

        Raises:
            RunFolderError: the run is elsewhere, where no notes can be kept.
        """
        if self._remote is not None:
            error = RunFolderError(
                f"notes are kept beside a run on this machine, and {self.place} is a copy of another's"
            )
            error.add_note("next: copy the folder to a disk of this machine")
            raise error
        return Notes(self.path, lambda stem: self._known.get(stem, stem))

    def _kin(self, row_id: str, most: int) -> Kin:
        # A function over the whole run may give the rows in another order, and those of one input row apart.
        whole = any(node.get("scope") == "run" for node in self._facts.get("nodes") or [])
        placed = "options" in self._facts and (self._facts["options"] or {}).get("id_field") is None
        return Kin(row_id, most, ordered=placed and not whole, contiguous=not whole)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return self.graph()

    def events(self) -> Iterator[dict[str, Any]]:
        """What the run said, in order; of a run that goes on, what it has said so far. See docs/events.md."""
        self._bring("events.jsonl")
        tail = Tail(self.path / "events.jsonl")
        while lines := tail.lines():
            for line in lines:
                try:
                    yield from_json(line)
                except ValueError as error:
                    damaged = RunFolderError(f"{tail.path}: a damaged line before byte {tail.at}: {error}")
                    damaged.add_note(f"next: chainette resume {self.place}  (cuts off what is damaged)")
                    raise damaged from error


def _remote(path: str | os.PathLike[str]) -> RemoteReader | None:
    """What brings more of a folder: for a URL, or for a copy that `find_run` has made of one."""
    if not is_remote(path) and not is_copy(Path(path)):
        return None
    from chainette.files.remote_reading import reader_of

    return reader_of(path)
