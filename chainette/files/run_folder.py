"""What one run leaves on disk, and what of it is done. Knows nothing of engines, calls' meaning or the graph.

Three threads meet here: the reader's (`add_inputs`), the committer's (`add_chunk`) and the one that makes everything
durable once a second (`sync`). Calls and events are only put on a list by whoever says them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from chainette.errors import RunFolderError
from chainette.files.disk import Position, RollingFile, replace_file
from chainette.files.dumping import CannotHold, Dumped, Dumper, FlatColumn, flat_rows, id_rows
from chainette.files.json_text import CannotEncode, encode, encode_rows, plain
from chainette.files.names import INPUT_NODE, folder_name, new_run_id
from chainette.files.new_folder import check_empty, make_folder, new_folder, remove_empty
from chainette.files.run_lock import RunLock
from chainette.files.schema import Layout, layout
from chainette.files.sealing import seal
from chainette.rows import Failure, InputChunk, NodeChunk

__all__ = ["NodeOutput", "RunFolder"]

Format = Literal["jsonl", "parquet", "csv"]
OPEN = ".open"
"""Where the open parts of Parquet and CSV files grow, as JSONL."""
_CALLS_PER_FILE = 100_000
_ENDLESS = 1 << 62


@dataclass(frozen=True)
class NodeOutput:
    """What a node writes."""

    node_id: str
    type: Any = Any
    written: bool = True
    """Whether it has files under `steps/`; in the flattened rows it may stand either way."""
    columns_prefix: str = ""
    """What its columns are called in the flattened rows; its id without one."""


@dataclass(slots=True)
class _Node:
    output: NodeOutput
    dumper: Dumper
    layout: Layout
    flat_layout: Layout
    file: RollingFile | None
    failed: RollingFile


@dataclass(slots=True)
class _Pending:
    """What waits to be made durable, in the order it came."""

    calls: list[tuple[str, bytes]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    full_parts: list[tuple[Path, list[Layout]]] = field(default_factory=list)


class RunFolder:
    """A folder that one process writes. Made by `create`, told what to expect by `configure`."""

    def __init__(self, path: Path, run_id: str, lock: RunLock) -> None:
        self.path = path
        self.run_id = run_id
        self._lock = lock
        self._format: Format = "jsonl"
        self._nodes: dict[str, _Node] = {}
        self._pending = _Pending()
        self._syncing = threading.Lock()
        self._closed = False
        self._sealed = False
        self._seal_error: RunFolderError | None = None
        self._calls: dict[str, RollingFile] = {}
        self._events = RollingFile(path, path, _ENDLESS, name="events.jsonl")
        self._commits = RollingFile(path, path, _ENDLESS, name="commits.jsonl")
        self._inputs = RollingFile(path, path / "inputs", 100_000)
        self._flat: RollingFile | None = None
        self._flat_layouts: list[Layout] = []

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None, chain_name: str, *, runs_dir: str | os.PathLike[str] = "runs"
    ) -> RunFolder:
        """A new folder for a run: at `path`, or under `runs_dir` with the chain's name and the time.

        Raises:
            RunFolderError: `path` holds something already, another process writes it, or it cannot be made.
        """
        folder = new_folder(chain_name, runs_dir) if path is None else make_folder(path)
        run_id = folder.name if path is None else new_run_id(chain_name)
        lock = RunLock(folder)
        try:
            check_empty(folder)
        except BaseException:
            lock.release()
            raise
        return cls(folder, run_id, lock)

    def configure(
        self,
        nodes: Sequence[NodeOutput],
        *,
        format: Format = "jsonl",
        max_lines_per_file: int = 100_000,
        flattened: bool = True,
        input_type: Any = Any,
    ) -> None:
        """Say what will be written. `input_type` is that of the values in `InputChunk`.

        Raises:
            RunFolderError: two nodes would share a folder, or the format is unknown.
        """
        if format not in ("jsonl", "parquet", "csv"):
            raise RunFolderError(f'no such format: "{format}" (jsonl, parquet or csv)')
        if max_lines_per_file < 1:
            raise RunFolderError(f"{max_lines_per_file} lines a file (at least 1)")
        self._format = format
        parts = self.path if format == "jsonl" else self.path / OPEN
        names: dict[str, str] = {}
        for output in [*nodes, NodeOutput(INPUT_NODE, input_type, written=False)]:
            if output.node_id in self._nodes:
                continue
            name = folder_name(output.node_id)
            other = names.setdefault(name.casefold(), output.node_id)
            if other != output.node_id:
                raise RunFolderError(f'"{other}" and "{output.node_id}" would share the folder {name} (rename one)')
            self._nodes[output.node_id] = self._node(output, parts / "steps" / name, max_lines_per_file)
        self._inputs = RollingFile(self.path, self.path / "inputs", max_lines_per_file)
        if flattened:
            self._flat = RollingFile(self.path, parts / "flattened", max_lines_per_file)

    def _node(self, output: NodeOutput, folder: Path, max_lines: int) -> _Node:
        return _Node(
            output,
            Dumper(output.type, exact=output.node_id != INPUT_NODE),
            layout(output.type),
            layout(output.type, prefix=output.columns_prefix or output.node_id),
            RollingFile(self.path, folder, max_lines) if output.written else None,
            RollingFile(self.path, self.path / "failed", _ENDLESS, name=f"{folder.name}.jsonl"),
        )

    def write_graph(self, graph: Mapping[str, Any]) -> None:
        replace_file(self.path / "graph.json", _document(graph))

    def write_status(self, status: Mapping[str, Any]) -> None:
        replace_file(self.path / "status.json", _document(status))

    def add_inputs(self, chunk: InputChunk) -> None:
        """Write rows as they were read. From the reader's thread, in order."""
        rows = id_rows(chunk.ids, Dumped(chunk.raw))
        self._inputs.append(encode_rows(rows), len(rows))
        self._pending.commits.append(self._commit(None, chunk.index, self._inputs.position))

    def add_chunk(
        self,
        index: int,
        nodes: Sequence[NodeChunk],
        final_ids: Sequence[str],
        flat: Mapping[str, Sequence[int]],
        inputs: InputChunk,
        *,
        whole: bool = True,
    ) -> None:
        """Write what the nodes made of one chunk. From one thread, in the order of the chunks.

        With `whole=False`, what was finished of a chunk when the run stopped: its rows are there to be read, without
        commit records, so a later run cuts them off and makes the chunk again.

        `flat` says for each column of the flattened rows, per final row, which of that node's values it holds, -1 for
        none; `chain_input` counts in `inputs.values`.

        Raises:
            RunFolderError: the disk is full or the like, or a value that `unwritable` has a reason against.
        """
        dumped: dict[str, Dumped] = {}
        commits: list[dict[str, Any]] = []
        failed_inputs = [value for value in inputs.values if type(value) is Failure]
        if failed_inputs and all(chunk.node_id != INPUT_NODE for chunk in nodes):
            nodes = [NodeChunk(INPUT_NODE, [], [], failed_inputs), *nodes]
        for chunk in nodes:
            node = self._nodes.get(chunk.node_id) or self._only_failing(chunk.node_id)
            if node.file is not None or chunk.node_id in flat:
                dumped[chunk.node_id] = _dump(node, chunk)
            if node.file is not None:
                rows = id_rows(chunk.ids, dumped[chunk.node_id])
                node.file.append(_lines(node, rows), len(rows))
                commits.append(self._commit(chunk.node_id, index, node.file.position))
            if chunk.failures:
                node.failed.append(encode_rows([_failure(f) for f in chunk.failures]), len(chunk.failures))
                commits.append(self._commit(chunk.node_id, index, node.failed.position))
        if self._flat is not None:
            self._add_flat(self._flat, final_ids, flat, inputs, dumped)
            commits.append(self._commit(None, index, self._flat.position))
        if whole:
            self._pending.commits.extend(commits)
        # After the commits: whoever finds a full part here finds the commits of all its rows too.
        self._pending.full_parts.extend(self._take_full_parts())

    def _only_failing(self, node_id: str) -> _Node:
        """A node that was not announced, such as a join: it makes no rows of its own, but rows may stop at it."""
        output = NodeOutput(node_id, written=False)
        self._nodes[node_id] = self._node(output, self.path / folder_name(node_id), 1)
        return self._nodes[node_id]

    def _add_flat(
        self,
        file: RollingFile,
        final_ids: Sequence[str],
        flat: Mapping[str, Sequence[int]],
        inputs: InputChunk,
        dumped: Mapping[str, Dumped],
    ) -> None:
        if not self._flat_layouts:
            self._flat_layouts = [self._nodes[node_id].flat_layout for node_id in flat]
        columns = []
        for node_id, positions in flat.items():
            node = self._nodes[node_id]
            values = node.dumper.dump(inputs.values) if node_id == INPUT_NODE else dumped[node_id]
            name = node.output.columns_prefix or node_id
            columns.append(FlatColumn(name, values, positions, node.flat_layout.missing))
        rows = flat_rows(final_ids, columns)
        file.append(encode_rows(rows), len(rows))

    def _commit(self, node_id: str | None, index: int, position: Position) -> dict[str, Any]:
        file = position.path.relative_to(self.path).as_posix()
        return {"step": node_id, "chunk": index, "file": file, "bytes": position.size, "rows": position.rows}

    def _take_full_parts(self) -> list[tuple[Path, list[Layout]]]:
        taken: list[tuple[Path, list[Layout]]] = []
        for file, layouts in self._sealable():
            taken += [(path, layouts) for path in file.rolled]
            file.rolled = []
        return taken

    def _sealable(self) -> list[tuple[RollingFile, list[Layout]]]:
        if self._format == "jsonl":
            return []
        files = [(n.file, [n.layout]) for n in self._nodes.values() if n.file is not None]
        if self._flat is not None:
            files.append((self._flat, self._flat_layouts))
        return files

    def log_call(self, node_id: str, record: bytes) -> None:
        """One finished call, as one JSON object. Takes no time; on disk after the next `sync`."""
        self._pending.calls.append((node_id, record))

    def log_event(self, record: bytes) -> None:
        """One event, as one JSON object. As `log_call`."""
        self._pending.events.append(record)

    def sync(self) -> None:
        """Make all that was added before this call durable. Waits for the disk.

        Raises:
            RunFolderError: the disk is full, the folder is gone or may not be written.
        """
        with self._syncing:
            if not self._closed:
                self._sync()

    def _sync(self) -> None:
        self._write_logs()
        full_parts = list(self._pending.full_parts)
        commits = list(self._pending.commits)
        for file in self._data_files():
            file.make_durable()
        if commits:
            self._commits.append(encode_rows(commits), len(commits))
            del self._pending.commits[: len(commits)]
            self._commits.make_durable()
        for part, layouts in full_parts:
            self._seal(part, layouts)
            del self._pending.full_parts[:1]
            self._write_logs()

    def _data_files(self) -> list[RollingFile]:
        files = [self._inputs, *(n.failed for n in self._nodes.values())]
        files += [n.file for n in self._nodes.values() if n.file is not None]
        return files if self._flat is None else [*files, self._flat]

    def _write_logs(self) -> None:
        calls = list(self._pending.calls)
        by_node: dict[str, list[bytes]] = {}
        for node_id, record in calls:
            by_node.setdefault(node_id, []).append(record)
        written = set()
        try:
            for node_id, records in by_node.items():
                if node_id not in self._calls:
                    folder = self.path / "calls" / folder_name(node_id)
                    self._calls[node_id] = RollingFile(self.path, folder, _CALLS_PER_FILE)
                self._calls[node_id].append(b"\n".join(records) + b"\n", len(records))
                written.add(node_id)
        finally:
            self._pending.calls[: len(calls)] = [call for call in calls if call[0] not in written]
        events = list(self._pending.events)
        if events:
            self._events.append(b"\n".join(events) + b"\n", len(events))
            del self._pending.events[: len(events)]
        for file in (*self._calls.values(), self._events):
            file.make_durable()

    def _seal(self, part: Path, layouts: list[Layout]) -> None:
        if self._format == "jsonl" or not part.exists():
            return
        target = self.path / part.relative_to(self.path / OPEN).with_suffix(f".{self._format}")
        try:
            seal(part, target, self._format, layouts)
        except RunFolderError as error:
            # The rows are safe in the open part: the run goes on, and says so at its end.
            self._seal_error = self._seal_error or error

    def seal(self) -> None:
        """Turn open Parquet and CSV parts into files. No rows are added after it; calls, events and status still are.

        Raises:
            RunFolderError: something could not be written, or a value does not fit its column.
        """
        with self._syncing:
            self._sync()
            self._seal_open_parts()
        if self._seal_error is not None:
            raise self._seal_error

    def _seal_open_parts(self) -> None:
        if self._sealed:
            return
        self._sealed = True
        open_parts = [(file.close(), layouts) for file, layouts in self._sealable()]
        for part, layouts in open_parts:
            if part is not None:
                self._seal(part, layouts)
        remove_empty(self.path / OPEN)

    def close(self, *, seal: bool) -> None:
        """Make everything durable and give the folder back. With `seal`, open Parquet and CSV parts become files.

        Raises:
            RunFolderError: something could not be written or sealed; the folder is given back all the same.
        """
        with self._syncing:
            if self._closed:
                return
            try:
                self._sync()
                if seal:
                    self._seal_open_parts()
            finally:
                self._closed = True
                for file in (*self._data_files(), *self._calls.values(), self._events, self._commits):
                    file.close()
                self._lock.release()
        if self._seal_error is not None:
            raise self._seal_error


def _document(content: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(content, default=plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return encode(content) + b"\n"


def _dump(node: _Node, chunk: NodeChunk) -> Dumped:
    try:
        return node.dumper.dump(chunk.values)
    except CannotHold as error:
        raise RunFolderError(f'{chunk.node_id}, row "{chunk.ids[error.index]}": {error}') from error


def _lines(node: _Node, rows: list[dict[str, Any]]) -> bytes:
    try:
        return encode_rows(rows, exact=True)
    except CannotEncode as error:
        raise RunFolderError(f'{node.output.node_id}, row "{error.row_id}": {error}') from error


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "_id": failure.row_id,
        "kind": failure.kind,
        "message": failure.message,
        "attempts": failure.attempts,
        "raw": failure.raw,
        "cause": list(failure.cause),
    }
