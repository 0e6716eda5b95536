"""Functions over the whole run in the graph: where they may stand, and what is in reach behind them. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainette.chain import Apply
from chainette.errors import Problem
from chainette.graph.nodes import Node
from chainette.graph.types import fit


def run_scope_problems(nodes: Sequence[Node], node: Node) -> list[Problem]:
    if node.main and not node.loops:
        return []
    return [
        Problem(
            f'apply "{node.id}"',
            "a function over the whole run stands on the main line, not in a branch, a loop or one side of a cond",
            "put it before or after",
        )
    ]


def lost_names(node: Node, names: Iterable[str]) -> dict[str, str]:
    """The names of what was made before a function that gives nothing but new rows, which have no past, and why."""
    if not makes_new_rows(node):
        return {}
    why = f'it was made before apply "{node.id}", which makes new rows of all rows of the run'
    return dict.fromkeys(names, why)


def makes_new_rows(node: Node) -> bool:
    """Whether none of what comes back can be a row that went in: it is one value for all, or of another type."""
    shape = node.apply.shape
    if shape.reduces:
        return True
    if shape.one_for_one or not shape.declared or Any in (shape.input_type, shape.output_type):
        return False
    return fit(shape.input_type, shape.output_type)[0] != "same"


def barriers(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that wait for all rows of the run, in order."""
    return [node for node in nodes if is_barrier(node)]


def is_barrier(node: Node) -> bool:
    return isinstance(node.decl, Apply) and node.decl.scope == "run"
