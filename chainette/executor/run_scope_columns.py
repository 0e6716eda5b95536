"""The flattened rows of a chunk whose final rows came from other chunks: what earlier nodes made of them is in no file
of this chunk, so the values go along beside those that are. Knows rows and columns, no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainette.graph import INPUT_ID, Graph, Node
from chainette.graph.reach import find
from chainette.graph.run_scope import barriers
from chainette.rows import DealtRow, NodeChunk, Row


def with_dealt(
    graph: Graph,
    flat: Mapping[str, Sequence[int]],
    chunks: list[NodeChunk],
    final: Sequence[Row],
    columns: Sequence[Node],
) -> dict[str, Sequence[int]]:
    """The columns of nodes before the last barrier, anew; `chunks` get the values of the rows that were dealt."""
    border = barriers(graph.nodes)[-1].index
    by_id = {chunk.node_id: chunk for chunk in chunks}
    found = dict(flat)
    for node in (graph.nodes[0], *columns):
        if node.index >= border:
            continue
        chunk = by_id.get(node.id)
        if chunk is None:
            chunk = NodeChunk(node.id, [], [])
            chunks.append(chunk)
        first = len(chunk.values)
        found[node.id], chunk.beside = _beside(graph, node, final, first)
    input_chunk = next(chunk for chunk in chunks if chunk.node_id == INPUT_ID)
    chunks.sort(key=lambda chunk: chunk is not input_chunk)
    return found


def _beside(graph: Graph, node: Node, final: Sequence[Row], first: int) -> tuple[list[int], list[Any]]:
    """Per final row the position of its value, counted from `first`, -1 for none; and the values."""
    positions: list[int] = []
    values: list[Any] = []
    known: dict[int, int] = {}
    for row in final:
        made = find(graph, row, node.rows_at)
        if made is not None:
            if id(made) not in known:
                known[id(made)] = first + len(values)
                values.append(made.value)
            positions.append(known[id(made)])
            continue
        dealt = _dealt_with(row, node.index)
        positions.append(-1 if dealt is None else first + len(values))
        values += [] if dealt is None else [dealt.aside[node.index]]
    return positions, values


def _dealt_with(row: Row, node: int) -> DealtRow | None:
    """The row as it was dealt when what became of it at `node` was known."""
    here: Row | None = row
    while here is not None:
        if isinstance(here, DealtRow) and node in here.aside:
            return here
        here = here.parent
    return None
