"""Which of a loop's turns are kept in the files of its body's steps. Knows rows and declarations; reads no files."""

from __future__ import annotations

from collections.abc import Sequence

from chainette.chain import Loop, Scan
from chainette.files.views import turn_of
from chainette.graph import Graph, Node
from chainette.graph.reach import find, turns_around
from chainette.rows import Order, Row


def kept_turns(graph: Graph, node: Node, rows: list[Row]) -> list[Row]:
    """The rows of a node in loops that its file has, in input order and then by turn."""
    for level, head in enumerate(node.loops):
        decl = graph.nodes[head].decl
        assert isinstance(decl, Loop | Scan)
        if decl.keep == "last":
            rows = _last_of(graph, rows, level, graph.nodes[head].ways[0].entry)
    loops = len(node.loops)
    return sorted(rows, key=lambda row: (row.order, turns_around(row, loops)))


def turns_column(rows: Sequence[Row], loops: int) -> list[int | list[int]]:
    """Per row the turn it is from, as files have it."""
    return [turn_of(turns_around(row, loops)) for row in rows]


def _last_of(graph: Graph, rows: Sequence[Row], level: int, entry: int) -> list[Row]:
    """Of what each row that entered a loop made there, what it made last."""
    last: dict[tuple[Order, Order], int] = {}
    places = []
    for row in rows:
        turns = turns_around(row, level + 1)
        began = find(graph, row, entry)
        assert began is not None
        key = (began.order, turns[:level])
        places.append((key, turns[level]))
        last[key] = max(last.get(key, 0), turns[level])
    return [row for row, (key, turn) in zip(rows, places, strict=True) if turn == last[key]]
