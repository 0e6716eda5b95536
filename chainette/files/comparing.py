"""What differs between two runs: the chain, and row by row what each node made. Reads run folders, never writes.

Memory does not grow with rows: both runs are read side by side, and what has to be looked up lies in a temporary file.
"""

from __future__ import annotations

import filecmp
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from chainette.errors import RunFolderError, nearest
from chainette.files.comparing_inputs import Pairing, RunInput
from chainette.files.comparing_rows import Below, Record, differing_fields, path_of, side_by_side
from chainette.files.graph_changes import Change, graph_changes
from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE, folder_name
from chainette.files.parts import Part, find_parts
from chainette.files.reading import RunReader
from chainette.files.runs import summarise

__all__ = ["Comparison", "Example", "Keep", "NodeComparison", "compare", "compare_rows", "node_of"]

Kind = Literal["changed", "added", "gone", "newly failed", "no longer failed", "failed otherwise"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row that differs: the row, or why it failed, in each of the runs."""

    kind: Kind
    before: Record | None = None
    after: Record | None = None
    failed_before: Record | None = None
    failed_after: Record | None = None
    fields: Sequence[str] = ()
    """With `changed`: the fields that differ."""


Keep = Callable[[Example], None]
"""Takes the rows that differ, in order."""


@dataclass(slots=True)
class NodeComparison:
    """One node in both runs; `chain_input` stands for the input rows."""

    id: str
    kind: str
    before_id: str | None = None
    """Its id in the run before; None where it is only in the run after."""
    after_id: str | None = None
    same: int = 0
    changed: int = 0
    added: int = 0
    """Rows that were not there before, and had not failed."""
    gone: int = 0
    """Rows that are not there now, and have not failed."""
    failed_before: int = 0
    failed_after: int = 0
    newly_failed: int = 0
    no_longer_failed: int = 0
    failed_otherwise: int = 0
    """Rows that fail in both, with another kind or message."""
    fields: Counter[str] = field(default_factory=Counter)
    """Field -> how many rows changed it."""
    tokens_before: tuple[int, int] = (0, 0)
    """Of prompts and of answers."""
    tokens_after: tuple[int, int] = (0, 0)
    examples: list[Example] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        rows = self.changed or self.added or self.gone
        return bool(rows or self.newly_failed or self.no_longer_failed or self.failed_otherwise)


@dataclass(slots=True)
class Comparison:
    """Two runs, the one before and the one after."""

    before: str
    after: str
    states: tuple[str, str]
    changes: list[Change]
    moved: int
    """Input rows that stand in another order; that alone is no difference."""
    nodes: list[NodeComparison]
    """The input, then every node in order, those that are only in the run before in their old places."""

    @property
    def differs(self) -> bool:
        """Whether any row or failure does. A chain that changed and made the same rows does not."""
        return any(node.differs for node in self.nodes)

    def public(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "before": {"run": self.before, "state": self.states[0]},
            "after": {"run": self.after, "state": self.states[1]},
            "differs": self.differs,
            "changes": [{**asdict(change), "message": str(change)} for change in self.changes],
            "moved": self.moved,
            "nodes": [_public(node) for node in self.nodes],
        }


def _public(node: NodeComparison) -> dict[str, Any]:
    tokens = {
        when: dict(zip(("prompt_tokens", "completion_tokens"), counts, strict=True))
        for when, counts in (("before", node.tokens_before), ("after", node.tokens_after))
    }
    told = asdict(node)
    del told["tokens_before"], told["tokens_after"]
    return {**told, "fields": dict(node.fields.most_common()), "differs": node.differs, "tokens": tokens}


def compare(before: RunReader, after: RunReader, *, step: str | None = None, examples: int | None = 3) -> Comparison:
    """Both runs row by row. At most `examples` rows of a kind are kept per node, all of them with None.

    `step` (a node's id, or `chain_input`) narrows it to one node. A run that is still going is taken as far as it is.

    Raises:
        RunFolderError: neither run has that step, or a file is damaged.
    """
    changes = graph_changes(before.graph(), after.graph())
    nodes = _nodes(before, after, changes)
    if step is not None:
        nodes = _only(nodes, step, before, after)
    try:
        moved = _fill(nodes, before, after, examples)
    except sqlite3.Error as error:
        runs = f"{before.path.name} with {after.path.name}"
        hint = "SQLITE_TMPDIR names a folder with more room"
        raise RunFolderError(f"cannot compare {runs}: their temporary file: {error} ({hint})") from error
    states = summarise(before.path).state, summarise(after.path).state
    return Comparison(before.path.name, after.path.name, states, changes, moved, nodes)


def node_of(before: RunReader, after: RunReader, step: str) -> NodeComparison:
    """One node in both runs, its rows not compared yet.

    Raises:
        RunFolderError: neither run has that step.
    """
    return _only(_nodes(before, after, graph_changes(before.graph(), after.graph())), step, before, after)[0]


def compare_rows(
    node: NodeComparison, before: RunReader, after: RunReader, keep: Keep, each: Callable[[], None]
) -> None:
    """Counts a node's rows and gives each that differs to `keep`; `each` is called at every input row, and may raise.

    Raises:
        RunFolderError: a file is damaged.
        sqlite3.Error: the temporary file cannot be written.
    """
    pairing = Pairing(RunInput(before), RunInput(after))
    try:
        if not (pairing.aligned and _same_files(before, after, node)):
            _compare(node, pairing, keep, each)
    finally:
        pairing.close()


def _fill(nodes: list[NodeComparison], before: RunReader, after: RunReader, examples: int | None) -> int:
    """Counts the nodes' rows and returns how many input rows moved."""
    pairing = Pairing(RunInput(before), RunInput(after))
    try:
        for node in nodes:
            if not (pairing.aligned and _same_files(before, after, node)):
                _compare(node, pairing, _keeper(node, examples))
        return pairing.moved
    finally:
        pairing.close()


def _keeper(node: NodeComparison, examples: int | None) -> Keep:
    """Puts the first `examples` of each kind to the node."""
    kept: Counter[str] = Counter()

    def keep(example: Example) -> None:
        if examples is None or kept[example.kind] < examples:
            kept[example.kind] += 1
            node.examples.append(example)

    return keep


def _nodes(before: RunReader, after: RunReader, changes: list[Change]) -> list[NodeComparison]:
    """What there is to compare, with tokens and without rows."""
    names = {c.before: c.after for c in changes if c.part == "graph" and isinstance(c.before, str) and c.after}
    ours, theirs = before.step_ids(), after.step_ids()
    new_names = [names.get(id, id) for id in ours]
    order: list[tuple[str | None, str | None]] = [
        (id, name if name in theirs else None) for id, name in zip(ours, new_names, strict=True)
    ]
    for at, id in enumerate(theirs):
        if id not in new_names:
            behind = theirs[at - 1] if at else None
            places = [place for place, pair in enumerate(order) if pair[1] == behind]
            order.insert(places[0] + 1 if places and behind is not None else 0, (None, id))
    kinds = {node["id"]: node["type"] for r in (before, after) for node in r.graph().get("execution_order") or []}
    nodes = [NodeComparison(INPUT_NODE, "input", INPUT_NODE, INPUT_NODE)]
    for pair in order:
        id = pair[1] or pair[0] or ""
        nodes.append(NodeComparison(id, kinds.get(id, ""), *pair))
        nodes[-1].tokens_before, nodes[-1].tokens_after = _tokens(before, pair[0]), _tokens(after, pair[1])
    return nodes


def _only(nodes: list[NodeComparison], step: str, before: RunReader, after: RunReader) -> list[NodeComparison]:
    chosen = [node for node in nodes if step in (node.id, node.before_id)]
    if not chosen:
        runs = f"{before.path.name} nor {after.path.name}"
        raise RunFolderError(f'neither {runs} has a step "{step}" ({nearest(step, [node.id for node in nodes])})')
    return chosen


def _tokens(reader: RunReader, node_id: str | None) -> tuple[int, int]:
    counts = (reader.status().get("nodes") or {}).get(node_id) or {}
    return int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)


def _same_files(before: RunReader, after: RunReader, node: NodeComparison) -> bool:
    """Whether the node's files are the same bytes; then its rows need only be counted."""
    if node.before_id is None or node.after_id is None:
        return False
    ours, theirs = _files(before, node.before_id), _files(after, node.after_id)
    if len(ours) != len(theirs):
        return False
    if not all(filecmp.cmp(a.path, b.path, shallow=False) for a, b in zip(ours, theirs, strict=True)):
        return False
    failed = len(before.failures(node.before_id)), len(after.failures(node.after_id))
    if any(failed):
        return False
    node.same = sum(len(part) for part in ours)
    return True


def _files(reader: RunReader, node_id: str) -> list[Part]:
    return find_parts(reader.path, "inputs" if node_id == INPUT_NODE else f"steps/{folder_name(node_id)}")


def _compare(node: NodeComparison, pairing: Pairing, keep: Keep, each: Callable[[], None] | None = None) -> None:
    formats = pairing.before.format != pairing.after.format
    for ours, theirs in side_by_side(pairing, node.before_id, node.after_id):
        if each is not None:
            each()
        for path in {**ours.rows, **theirs.rows}:
            before, after = ours.rows.get(path), theirs.rows.get(path)
            if before is not None and after is not None:
                fields = _changed_fields(before, after, formats)
                node.same += not fields
                node.changed += bool(fields)
                node.fields.update(fields)
                if fields:
                    keep(Example("changed", before, after, fields=fields))
            elif after is None and path_of(path) not in theirs.failures:
                node.gone += 1
                keep(Example("gone", before))
            elif before is None and path_of(path) not in ours.failures:
                node.added += 1
                keep(Example("added", None, after))
        _compare_failures(node, ours, theirs, keep)


def _changed_fields(before: Record, after: Record, formats: bool) -> list[str]:
    if encode({**before, "_id": after["_id"]}) == encode(after):
        return []
    return differing_fields(before, after, formats=formats)


def _compare_failures(node: NodeComparison, ours: Below, theirs: Below, keep: Keep) -> None:
    node.failed_before += len(ours.failures)
    node.failed_after += len(theirs.failures)
    for path in {**ours.failures, **theirs.failures}:
        was, is_ = ours.failures.get(path), theirs.failures.get(path)
        rows = ours.last(path), theirs.last(path)
        if was is None:
            node.newly_failed += 1
            keep(Example("newly failed", *rows, was, is_))
        elif is_ is None:
            node.no_longer_failed += 1
            keep(Example("no longer failed", *rows, was, is_))
        elif (was["kind"], was["message"]) != (is_["kind"], is_["message"]):
            node.failed_otherwise += 1
            keep(Example("failed otherwise", *rows, was, is_))
