"""Finds, from a row, what an earlier node made of it. Walks parents; never counts positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chainette.graph.nodes import Drawn, Graph, Intake, Node, Reference
from chainette.graph.types import cast_to
from chainette.rows import JoinedRow, Row, TurnRow


def find(graph: Graph, row: Row, node: int) -> Row | None:
    """The row of `node` that `row` was made from; None when a joined branch has none for it."""
    here: Row | list[Row] | None = row
    while here is not None and not isinstance(here, list):
        if here.node == node:
            return here
        inside: Row | list[Row] | None = None
        if isinstance(here, JoinedRow):
            for branch in graph.nodes[here.node].branches:
                if node in branch.nodes:
                    inside = here.aliases[branch.alias]
                    break
            else:
                here = here.parent
                continue
            here = inside
        else:
            here = here.parent
    return None


def alias_row(row: Row, alias: str) -> Row | list[Row] | None:
    """What the nearest join behind `row` has under `alias`."""
    here: Row | None = row
    while here is not None:
        if isinstance(here, JoinedRow) and alias in here.aliases:
            return here.aliases[alias]
        here = here.parent
    return None


def turns_of(graph: Graph, row: Row, entry: int) -> tuple[int, ...]:
    """In which turn of the body behind `entry` the row is, or was last; `(0,)` for one that made none."""
    found = find(graph, row, entry)
    return found.turns if isinstance(found, TurnRow) else (0,)


def turns_around(row: Row | None, depth: int) -> tuple[int, ...]:
    """In which turn of each of the `depth` loops around it a row is, the outermost first."""
    while row is not None and not isinstance(row, TurnRow):
        row = row.parent
    return row.turns[:depth] if row is not None else ()  # that of a loop which the row has left has more


def values_of(found: Row | list[Row] | None) -> Any:
    """The value of one row, the values of several, None of none."""
    if found is None:
        return None
    return [row.value for row in found] if isinstance(found, list) else found.value


def getter(graph: Graph, reference: Reference) -> Callable[[Row], Any]:
    """A function from a row to what `reference` stands for, seen from that row."""
    node, alias = reference.node, reference.alias
    if reference.what == "row_id":
        return lambda row: row.id
    if reference.what == "alias":

        def by_alias(row: Row) -> Any:
            joined = find(graph, row, node)
            return values_of(joined.aliases[alias]) if isinstance(joined, JoinedRow) else None

        return by_alias
    if reference.what in ("turn", "turns"):
        return lambda row: turns_of(graph, row, node)[-1]
    if reference.what == "reasoning":
        return lambda row: getattr(find(graph, row, node), "reasoning", None)

    def by_node(row: Row) -> Any:
        found = find(graph, row, node)
        return None if found is None else found.value

    return by_node


def taker(node: Node) -> Callable[[Row], Any]:
    """A function from an arriving row to the value the node works on.

    Raises (when called):
        pydantic.ValidationError: the value cannot be cast to what the node takes.
    """
    intake = node.intake
    cast = cast_to(node.input_type)
    if intake.how == "value":
        return (lambda row: cast(row.value)) if intake.cast else (lambda row: row.value)
    if intake.how == "alias":
        alias = intake.alias
        if intake.cast:
            return lambda row: cast(values_of(alias_row(row, alias)))
        return lambda row: values_of(alias_row(row, alias))
    if intake.how == "wrap":
        field = intake.alias
        return lambda row: cast({field: row.value})
    return _composed(intake, cast)


def _composed(intake: Intake, cast: Callable[[Any], Any]) -> Callable[[Row], Any]:
    fields: Mapping[str, Drawn] = intake.fields

    def compose(row: Row) -> Any:
        drawn = {}
        for name, (what, source) in fields.items():
            if what == "alias":
                drawn[name] = values_of(alias_row(row, source))
            else:
                drawn[name] = row.value if what == "main" else field_of(row.value, source)
        return cast(drawn)

    return compose


def field_of(value: Any, name: str) -> Any:
    """Of a model or a dict.

    Raises:
        Exception: there is none, or a property of the user's raised.
    """
    return value[name] if isinstance(value, dict) else getattr(value, name)
