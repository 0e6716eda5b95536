"""What the nodes of a run write: typed rows, failures and the flattened rows, each in files of its own.

Makes lines of a chunk and appends them; when they are on disk, and what is whole, is the run folder's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chainette.errors import RunFolderError
from chainette.files.disk import Position, RollingFile
from chainette.files.dumping import CannotHold, Dumped, Dumper, FlatColumn, Turn, flat_rows, id_rows
from chainette.files.json_text import CannotEncode, encode_rows
from chainette.files.ledger import FLATTENED, Mark
from chainette.files.names import INPUT_NODE, OPEN, folder_name
from chainette.files.schema import Column, Layout, columns_in_csv, in_loops, layout
from chainette.files.views import failure_record
from chainette.rows import Absent, Failure, InputChunk, NodeChunk

Format = Literal["jsonl", "parquet", "csv"]
_ENDLESS = 1 << 62


@dataclass(frozen=True)
class NodeOutput:
    """What a node writes."""

    node_id: str
    type: Any = Any
    written: bool = True
    """Whether it has files under `steps/`; in the flattened rows it may stand either way."""
    loops: int = 0
    """How many loops it lies in, one inside the other; each row in its files has the turn of each."""
    columns_prefix: str = ""
    """What its columns are called in the flattened rows; its id without one."""


@dataclass(frozen=True)
class OutputOptions:
    """How rows are written."""

    format: Format = "jsonl"
    max_lines: int = 100_000
    flattened: bool = True
    input_type: Any = Any

    def __post_init__(self) -> None:
        if self.format not in ("jsonl", "parquet", "csv"):
            raise RunFolderError(f'no such format: "{self.format}" (jsonl, parquet or csv)')
        if self.max_lines < 1:
            raise RunFolderError(f"{self.max_lines} lines a file (at least 1)")


@dataclass(slots=True)
class MadeChunk:
    """What became of one chunk, in input order."""

    inputs: InputChunk
    nodes: Sequence[NodeChunk]
    final_ids: Sequence[str]
    flat: Mapping[str, Sequence[int]]
    """Per column of the flattened rows and final row, which of that node's values it holds, -1 for none; `chain_input`
    counts in `inputs.values`."""


@dataclass(slots=True)
class Lines:
    """Lines for one file, ready to be appended."""

    step: str | None
    """The node; None for the flattened rows."""
    file: RollingFile
    stream: str
    ids: Sequence[str]
    """The row of each line."""
    block: bytes


@dataclass(slots=True)
class _Node:
    output: NodeOutput
    dumper: Dumper
    layout: Layout
    flat_layout: Layout
    file: RollingFile | None
    failed: RollingFile


class Outputs:
    """The files of all nodes below one folder."""

    def __init__(self, root: Path, nodes: Sequence[NodeOutput], options: OutputOptions) -> None:
        """
        Raises:
            RunFolderError: two nodes would share a folder.
        """
        self._root = root
        self._options = options
        self._nodes: dict[str, _Node] = {}
        self._streams: dict[str, tuple[str | None, RollingFile]] = {}
        self._flat_layouts: list[Layout] = []
        self._full: list[tuple[Path, list[Layout]]] = []
        parts = root if options.format == "jsonl" else root / OPEN
        names: dict[str, str] = {}
        for output in [*nodes, NodeOutput(INPUT_NODE, options.input_type, written=False)]:
            if output.node_id in self._nodes:
                continue
            name = folder_name(output.node_id)
            other = names.setdefault(name.casefold(), output.node_id)
            if other != output.node_id:
                raise RunFolderError(f'"{other}" and "{output.node_id}" would share the folder {name} (rename one)')
            self._nodes[output.node_id] = self._node(output, parts / "steps" / name)
        self._flat = RollingFile(root, parts / FLATTENED, options.max_lines) if options.flattened else None
        if self._flat is not None:
            self._streams[FLATTENED] = (None, self._flat)

    def _node(self, output: NodeOutput, folder: Path) -> _Node:
        node = _Node(
            output,
            Dumper(output.type, exact=output.node_id != INPUT_NODE),
            in_loops(layout(output.type), output.loops),
            layout(output.type, prefix=output.columns_prefix or output.node_id),
            RollingFile(self._root, folder, self._options.max_lines) if output.written else None,
            RollingFile(self._root, self._root / "failed", _ENDLESS, name=f"{folder.name}.jsonl"),
        )
        self._streams[f"failed/{folder.name}"] = (output.node_id, node.failed)
        if node.file is not None:
            self._streams[f"steps/{folder.name}"] = (output.node_id, node.file)
        return node

    def lines(self, made: MadeChunk) -> Iterator[Lines]:
        """The chunk's lines, file by file.

        Raises:
            RunFolderError: a value that `unwritable` has a reason against.
        """
        dumped: dict[str, Dumped] = {}
        nodes = made.nodes
        failed_inputs = [value for value in made.inputs.values if type(value) is Failure]
        if failed_inputs and all(chunk.node_id != INPUT_NODE for chunk in nodes):
            nodes = [NodeChunk(INPUT_NODE, [], [], failed_inputs), *nodes]
        for chunk in nodes:
            node = self._nodes.get(chunk.node_id) or self._only_failing(chunk.node_id)
            name = folder_name(chunk.node_id)
            if node.file is not None or chunk.node_id in made.flat:
                dumped[chunk.node_id] = _dump(node, chunk)
            if node.file is not None:
                block = _block(node, id_rows(chunk.ids, _own(chunk, dumped[chunk.node_id]), _turns(node, chunk)))
                yield Lines(chunk.node_id, node.file, f"steps/{name}", chunk.ids, block)
            if chunk.failures:
                block = encode_rows([failure_record(failure) for failure in chunk.failures])
                ids = [failure.row_id for failure in chunk.failures]
                yield Lines(chunk.node_id, node.failed, f"failed/{name}", ids, block)
        if self._flat is not None:
            yield Lines(None, self._flat, FLATTENED, made.final_ids, self._flat_block(made, dumped))

    def append(self, step: str | None, file: RollingFile, block: bytes, rows: int) -> list[Position]:
        """Where each part that became full ends, and at last where the lines do.

        Raises:
            RunFolderError: the disk is full or the like.
        """
        file.append(block, rows)
        rolled, file.rolled = file.rolled, []
        if rolled and self._options.format != "jsonl" and file.parts:
            layouts = self._flat_layouts if step is None else [self._nodes[step].layout]
            self._full += [(position.path, layouts) for position in rolled]
        return [*rolled, file.position]

    def take_full_parts(self) -> list[tuple[Path, list[Layout]]]:
        """Parts to be sealed, with what stands in them."""
        taken, self._full = self._full, []
        return taken

    def _only_failing(self, node_id: str) -> _Node:
        """A node that was not announced, such as a join: it makes no rows of its own, but rows may stop at it."""
        output = NodeOutput(node_id, written=False)
        self._nodes[node_id] = self._node(output, self._root / folder_name(node_id))
        return self._nodes[node_id]

    def _flat_block(self, made: MadeChunk, dumped: Mapping[str, Dumped]) -> bytes:
        if not self._flat_layouts:
            self._flat_layouts = [self._nodes[node_id].flat_layout for node_id in made.flat]
        columns = []
        has_dealt_inputs = any(chunk.node_id == INPUT_NODE and chunk.beside for chunk in made.nodes)
        for node_id, positions in made.flat.items():
            node = self._nodes[node_id]
            is_as_read = node_id == INPUT_NODE and not has_dealt_inputs
            values = node.dumper.dump(_present(made.inputs)) if is_as_read else dumped[node_id]
            name = node.output.columns_prefix or node_id
            columns.append(FlatColumn(name, values, positions, node.flat_layout.missing))
        return encode_rows(flat_rows(made.final_ids, columns))

    def describe_flat(self, node_ids: Sequence[str]) -> None:
        """Which nodes make up the flattened rows, in order, where no chunk has told it yet."""
        self._flat_layouts = [self._nodes[node_id].flat_layout for node_id in node_ids]

    def open_parts(self) -> list[tuple[Path, list[Layout]]]:
        """Closes every file. Returns the parts that can be sealed and are not full."""
        parts: list[tuple[Path, list[Layout]]] = []
        for file, layouts in self._rolling():
            part = file.close()
            if part is not None and self._options.format != "jsonl":
                parts.append((part, layouts))
        return parts

    def _rolling(self) -> list[tuple[RollingFile, list[Layout]]]:
        files = [(node.file, [node.layout]) for node in self._nodes.values() if node.file is not None]
        return files if self._flat is None else [*files, (self._flat, self._flat_layouts)]

    def files(self) -> list[RollingFile]:
        """All of them."""
        return [*(file for file, _ in self._rolling()), *(node.failed for node in self._nodes.values())]

    def restore(self, marks: Mapping[str, Mark]) -> None:
        """Goes on behind these marks. Full parts that were not sealed are `take_full_parts`'s again."""
        for stream, mark in marks.items():
            found = self.file_of(stream)
            if found is not None:
                file = found[1]
                file.restore(int(Path(mark.file).stem) if file.parts else 0, mark.bytes, mark.rows)
        if self._options.format != "jsonl":
            for file, layouts in self._rolling():
                self._full += [(part, layouts) for part in file.parts_before()]

    def file_of(self, stream: str) -> tuple[str | None, RollingFile] | None:
        """The node and the file of a stream; None for a node that is not there any more."""
        if stream.startswith("failed/") and stream not in self._streams:
            self._only_failing(stream.removeprefix("failed/"))
        return self._streams.get(stream)

    def in_csv(self) -> dict[str, list[Column]]:
        """Per stream the columns that CSV holds as text."""
        columns = {
            f"steps/{folder_name(id)}": columns_in_csv([node.layout]) for id, node in self._nodes.items() if node.file
        }
        return {**columns, FLATTENED: columns_in_csv(self._flat_layouts)}


def _present(inputs: InputChunk) -> list[Any]:
    if inputs.again is None:
        return inputs.values
    return [None if value is Absent else value for value in inputs.values]


def _turns(node: _Node, chunk: NodeChunk) -> Sequence[Turn] | None:
    if not node.output.loops:
        return None
    assert chunk.turns is not None, f"{chunk.node_id} lies in a loop, and its rows do not say in which turn"
    return chunk.turns


def _own(chunk: NodeChunk, dumped: Dumped) -> Dumped:
    """Without the values of other chunks' rows."""
    return Dumped(dumped.values[: len(chunk.ids)], dumped.names) if chunk.beside else dumped


def _dump(node: _Node, chunk: NodeChunk) -> Dumped:
    try:
        return node.dumper.dump([*chunk.values, *chunk.beside] if chunk.beside else chunk.values)
    except CannotHold as error:
        raise RunFolderError(f'{chunk.node_id}, row "{chunk.ids[error.index]}": {error}') from error


def _block(node: _Node, rows: list[dict[str, Any]]) -> bytes:
    try:
        return encode_rows(rows, exact=True)
    except CannotEncode as error:
        raise RunFolderError(f'{node.output.node_id}, row "{error.row_id}": {error}') from error
