"""Deals the rows that a function over the whole run gave back out over the chunks, in the function's order. Each row
goes with all that it was made from, over the disk, so that no more than a chunk or two are in memory at once.

Knows chunks at rest and places; calls nothing of the user's but what casts a value.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from chainette.errors import ChainetteError
from chainette.executor.commit import sink_split
from chainette.executor.flat_flow import flatten_rows, restored_rows
from chainette.executor.flow import Flow
from chainette.executor.run_scope_outcome import NEW, GivenBack
from chainette.files.held import HeldPieces
from chainette.graph import Graph, Node
from chainette.graph.reach import find
from chainette.rows import DealtRow, Failure, Row

BASE = 1 << 40
"""Of the orders of rows behind the first barrier: no input row has such a position."""


@dataclass(slots=True)
class Hand:
    """What one chunk gets, and what became of its own rows."""

    made: list[Row]
    failures: list[tuple[tuple[int, ...], Failure]]
    origins: dict[int, int]
    """`order[0]` -> position of the input row, -1 for a new row."""
    begun: dict[tuple[int, int], float]
    """(Chain, `order[0]`) -> when the row's time began, counted from when the chunk is under way again."""
    done: int
    failed: int
    """Of its own rows."""


@dataclass(slots=True)
class _Loose:
    """Rows on their way from one chunk to another."""

    ranks: list[int]
    ids: list[str]
    origins: list[int]
    asides: list[dict[int, Any]]
    begun: list[list[tuple[int, float]]]
    rows: Any


@dataclass(slots=True)
class _Ends:
    """Per chunk, in order: how many of its rows came back, and how many of them were no values."""

    done: array[int] = field(default_factory=lambda: array("q"))
    failed: array[int] = field(default_factory=lambda: array("q"))


class Deal:
    """One dealing. `starts` has the place of each chunk's first row, and how many rows there were."""

    def __init__(
        self,
        graph: Graph,
        node: Node,
        which: tuple[int, str],
        starts: Sequence[int],
        made: GivenBack,
        folder: Path,
    ) -> None:
        """`which` barrier of the chain it is, and how the ids of new rows begin."""
        self._graph = graph
        self._node = node
        number, self._new_id = which
        self._base = BASE * (number + 1)
        self._starts = starts
        self._made = made
        self._chunks = len(starts) - 1
        self._bounds = [len(made) * chunk // max(self._chunks, 1) for chunk in range(self._chunks + 1)]
        self._ends = _Ends()
        self._pieces = HeldPieces(folder)
        self._in_memory: dict[int, _Loose] = {}
        self._targets = array("q")
        self._of_target: Any = None
        self._new_before: Any = None
        """Per rank how many new rows have a lower one."""
        self._asides = [
            (other, split)
            for other in graph.nodes[: node.index]
            if other.written and (split := sink_split(graph, other)) is not None
        ]

    def split(self, flows: Iterator[Flow], dealt: Callable[[Any], None]) -> None:
        """Takes the rows of every chunk, in order, to pieces for the chunks that they go to. `dealt` gets the positions
        of the input rows behind them."""
        import numpy as np

        places = np.array(self._made.places, np.int64)
        self._new_before = np.concatenate(([0], np.cumsum(places == NEW)))
        by_place = np.argsort(places, kind="stable")
        places = places[by_place]
        failed = np.array(self._made.failed, np.int64)
        for chunk, flow in enumerate(flows):
            start = self._starts[chunk]
            here = slice(*np.searchsorted(places, [start, self._starts[chunk + 1]]))
            ranks, own = by_place[here], places[here]
            good = np.unique(own[~np.isin(ranks, failed)])
            self._ends.done.append(len(good))
            self._ends.failed.append(len(np.setdiff1d(own, good)))
            dealt(self._split(flow, ranks, own, start))
        targets = np.array(self._targets, np.int64)
        by_target = np.argsort(targets, kind="stable")
        self._of_target = (by_target, targets[by_target])

    def _split(self, flow: Flow, ranks: Any, places: Any, start: int) -> Any:
        import numpy as np

        arrived = arrived_at(flow, self._node)
        ids = _ids(arrived, places, start)
        asides, begun = self._asides_of(flow), _begun(flow)
        targets = np.searchsorted(self._bounds, ranks, side="right") - 1
        origins = np.array([_origin(arrived[place - start]) for place in places], np.int64)
        for target in np.unique(targets):
            which = np.flatnonzero(targets == target)
            rows = [arrived[places[at] - start] for at in which]
            loose = _Loose(
                ranks=[int(ranks[at]) for at in which],
                ids=[ids[at] for at in which],
                origins=[int(origins[at]) for at in which],
                asides=[asides(row) for row in rows],
                begun=[begun.get(row.order[0], []) for row in rows],
                rows=flatten_rows(rows),
            )
            self._keep(loose)
            self._targets.append(int(target))
        return origins

    def _keep(self, loose: _Loose) -> None:
        try:
            self._pieces.put(loose)
        except ChainetteError:
            raise
        except Exception:  # what a class of the user's may raise when it is pickled; that was said when it was parked
            self._in_memory[len(self._pieces)] = loose
            self._pieces.put(None)

    def _asides_of(self, flow: Flow) -> Callable[[Row], dict[int, Any]]:
        """From a row to what became of it in branches that end before this."""
        graph = self._graph
        known = [
            (node.index, split, {row.order: row.value for row in flow.rows[node.rows_at]})
            for node, split in self._asides
        ]

        def asides(row: Row) -> dict[int, Any]:
            found = {}
            for index, split, by_order in known:
                before = find(graph, row, split)
                if before is not None and before.order in by_order:
                    found[index] = by_order[before.order]
            return found

        return asides

    def hand(self, chunk: int, take: Callable[[Row], Any]) -> Hand:
        """What the chunk at this position gets. `take` gives the value a row went in with, as it comes out."""
        import numpy as np

        start, stop = self._bounds[chunk : chunk + 2]
        rows: dict[int, DealtRow] = {}
        hand = Hand([], [], {}, {}, self._ends.done[chunk], self._ends.failed[chunk])
        others = dict(self._made.values(start, stop))
        pieces, targets = self._of_target
        for number in pieces[slice(*np.searchsorted(targets, [chunk, chunk + 1]))]:
            self._put(self._in_memory.get(number) or self._pieces.read(int(number)), others, rows, hand, take)
        for rank in range(start, stop):
            if self._made.places[rank] == NEW:
                hand.origins[self._base + rank] = -1
                rows[rank] = self._row(rank, f"{self._new_id}{self._new_before[rank]}", others[rank], None)
            row = rows[rank]
            if type(row.value) is Failure:
                hand.failures.append((row.order, replace(row.value, row_id=row.id)))
            else:
                hand.made.append(row)
        return hand

    def _put(
        self,
        loose: _Loose,
        others: dict[int, Any],
        rows: dict[int, DealtRow],
        hand: Hand,
        take: Callable[[Row], Any],
    ) -> None:
        for position, parent in enumerate(restored_rows(loose.rows)):
            rank = loose.ranks[position]
            value = others[rank] if rank in others else take(parent)
            row = rows[rank] = self._row(rank, loose.ids[position], value, parent)
            row.aside = loose.asides[position]
            hand.origins[self._base + rank] = loose.origins[position]
            for chain, since_s in loose.begun[position]:
                hand.begun[chain, self._base + rank] = since_s

    def _row(self, rank: int, id: str, value: Any, parent: Row | None) -> DealtRow:
        row = DealtRow(id, (self._base + rank,), value, self._node.index, parent)
        row.aside = {}
        return row

    def close(self) -> None:
        self._pieces.close()
        self._made.close()


def arrived_at(flow: Flow, node: Node) -> list[Row]:
    """The rows of a chunk that wait at a barrier, in order."""
    return sorted(flow.pending[node.index], key=attrgetter("order"))


def _ids(arrived: Sequence[Row], places: Any, start: int) -> list[str]:
    """A row that came back several times has children; `places` are in order."""
    import numpy as np

    _, firsts, times = np.unique(places, return_index=True, return_counts=True)
    ids: list[str] = []
    for first, count in zip(firsts.tolist(), times.tolist(), strict=True):
        id = arrived[int(places[first]) - start].id
        ids += [id] if count == 1 else [f"{id}.{number}" for number in range(count)]
    return ids


def _origin(row: Row) -> int:
    """The position of the input row it comes from, -1 for none."""
    while row.parent is not None:
        row = row.parent
    return row.order[0] if row.node == 0 else -1


def _begun(flow: Flow) -> dict[int, list[tuple[int, float]]]:
    """`order[0]` -> per chain with a deadline how long before the chunk came to rest the row's time began, negative."""
    found: dict[int, list[tuple[int, float]]] = {}
    for (chain, position), since_s in flow.begun.items():
        found.setdefault(position, []).append((chain, since_s - flow.settled_s))
    return found
