"""Which value of an arriving row a node works on: the main line's, a joined one, or a model made of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainette.errors import Problem
from chainette.graph.nodes import Intake, JoinedBranch, Node
from chainette.graph.types import fields_of, fit, type_name


def choose_intake(nodes: Sequence[Node], upstream: int, wanted: Any, where: str) -> tuple[Intake, list[Problem]]:
    """How rows of `upstream` become what a node that takes `wanted` works on.

    In this order: the main line's type, a joined type, a model whose fields are the aliases and the row's own, a cast.
    """
    before = nodes[upstream]
    main = before.output_type
    joined = joined_before(nodes, upstream)
    how, why = fit(main, wanted)
    if how == "same" or not joined:
        if how == "misfit":
            return Intake(source_type=main), [_misfit(nodes, where, before, wanted, why, joined)]
        return Intake(cast=how == "cast", source_type=main), []
    ways = {branch.alias: fit(branch.type, wanted)[0] for branch in joined}
    same = [branch for branch in joined if ways[branch.alias] == "same"]
    if same:
        problems = []
        if len(same) > 1:
            names = ", ".join(f'"{branch.alias}"' for branch in same)
            message = f'{names} all are {type_name(wanted)}; the row is that of "{same[0].alias}"'
            problems.append(Problem(where, message, "templates reach all of them by alias", "warning"))
        return Intake("alias", same[0].alias, source_type=same[0].type), problems
    fields = _drawn_fields(wanted, main, joined)
    if fields is not None:
        return Intake("fields", fields=fields, cast=True, source_type=main), []
    if how == "cast":
        return Intake(cast=True, source_type=main), []
    castable = [branch for branch in joined if ways[branch.alias] == "cast"]
    if castable:
        return Intake("alias", castable[0].alias, cast=True, source_type=castable[0].type), []
    return Intake(source_type=main), [_misfit(nodes, where, before, wanted, why, joined)]


def joined_before(nodes: Sequence[Node], upstream: int) -> list[JoinedBranch]:
    """The branches joined by the groups directly before, the nearest group first."""
    found: list[JoinedBranch] = []
    while nodes[upstream].kind in ("join", "branch"):
        found += [b for b in nodes[upstream].branches if all(b.alias != other.alias for other in found)]
        upstream = nodes[upstream].parent
    return found


def _drawn_fields(wanted: Any, main: Any, joined: Sequence[JoinedBranch]) -> dict[str, str] | None:
    """Field -> `alias` or `row`, when every required field of `wanted` is there and at least one is an alias."""
    fields = fields_of(wanted)
    if fields is None:
        return None
    own = fields_of(main) or {}
    aliases = {branch.alias: branch for branch in joined}
    drawn: dict[str, str] = {}
    for name, type_ in fields.items():
        if name in aliases and fit(aliases[name].type, type_)[0] != "misfit":
            drawn[name] = "alias"
        elif name in own and fit(own[name], type_)[0] != "misfit":
            drawn[name] = "row"
        elif wanted.model_fields[name].is_required():
            return None
    return drawn if "alias" in drawn.values() else None


def source_of(nodes: Sequence[Node], node: Node) -> str:
    """Where a node's rows come from, in words: the last one before it that made them."""
    while node.kind in ("join", "branch"):
        node = nodes[node.parent]
    return "the chain's input" if node.kind == "input" else f'{node.kind} "{node.id}"'


def _misfit(
    nodes: Sequence[Node], where: str, before: Node, wanted: Any, why: str, joined: Sequence[JoinedBranch]
) -> Problem:
    source = source_of(nodes, before)
    message = f"takes {type_name(wanted)}, but {source} gives {type_name(before.output_type)}: {why}"
    hint = ""
    if joined:
        hint = "joined: " + ", ".join(f"{branch.alias} ({type_name(branch.type)})" for branch in joined)
    return Problem(where, message, hint)
