"""Which value of an arriving row a node works on: the main line's, a joined one, or a model made of both."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from chainette.chain import Apply
from chainette.chain.shape import gathered
from chainette.chain.taking import MAIN
from chainette.errors import Problem, nearest
from chainette.graph.nodes import Drawn, Intake, JoinedBranch, Node
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
            field = _only_list_field(main, wanted)
            if field is not None:
                return Intake("wrap", field, cast=True, source_type=main), []
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
    while nodes[upstream].kind in ("join", "gather", "branch", "cond", "switch", "delay"):
        found += [b for b in nodes[upstream].branches if all(b.alias != other.alias for other in found)]
        node = nodes[upstream]
        upstream = nodes[node.gather].parent if node.kind == "gather" else node.parent
    return found


def said_intake(
    nodes: Sequence[Node], upstream: int, wanted: Any, source: str | Mapping[str, str], where: str
) -> tuple[Intake, list[Problem]]:
    """The intake that a `Taking` says: one alias, or a field for each of several."""
    main = nodes[upstream].output_type
    known = {branch.alias: branch.type for branch in joined_before(nodes, upstream)} | {MAIN: main}
    sources = [source] if isinstance(source, str) else list(source.values())
    for alias in sources:
        if alias not in known:
            names = [name for name in known if name]
            return Intake(source_type=main), [Problem(where, f'no alias "{alias}" here', nearest(alias, names))]
    if isinstance(source, str):
        how, why = fit(known[source], wanted)
        if how == "misfit":
            message = f"takes {type_name(wanted)}, but gets {type_name(known[source])}: {why}"
            return Intake(source_type=main), [Problem(where, message)]
        if source == MAIN:
            return Intake(cast=how == "cast", source_type=main), []
        return Intake("alias", source, cast=how == "cast", source_type=known[source]), []
    fields = fields_of(wanted)
    if fields is None:
        return Intake(source_type=main), [
            Problem(where, f"takes {type_name(wanted)}, which has no fields to give by name")
        ]
    problems = []
    for name, alias in source.items():
        if name not in fields:
            problems.append(Problem(where, f'{type_name(wanted)} has no field "{name}"', nearest(name, fields)))
        elif fit(known[alias], fields[name])[0] == "misfit":
            why = fit(known[alias], fields[name])[1]
            problems.append(Problem(where, f'field "{name}": {why}'))
    drawn: dict[str, Drawn] = {name: ("main", "") if a == MAIN else ("alias", a) for name, a in source.items()}
    own = fields_of(main) or {}
    for name in fields:
        if name not in drawn and name in own and fit(own[name], fields[name])[0] != "misfit":
            drawn[name] = ("row", name)
        elif name not in drawn and wanted.model_fields[name].is_required():
            problems.append(Problem(where, f'nothing is given for the field "{name}" of {type_name(wanted)}'))
    ordered = {name: drawn[name] for name in fields if name in drawn}
    return Intake("fields", fields=ordered, cast=True, source_type=main), problems


def gathered_shape(decl: Apply, arriving: Any) -> Apply:
    """A function on lists behind a `gather` gets the list of each row, not the rows of its chunk."""
    if typing.get_origin(arriving) is not list or decl.shape.takes != "list":
        return decl
    wanted = decl.shape.input_type
    (element,) = typing.get_args(arriving)
    if wanted is not Any and (fit(arriving, wanted)[0] != "misfit" or fit(element, wanted)[0] == "misfit"):
        return decl
    return dataclasses.replace(decl, shape=gathered(decl.shape))


def _only_list_field(main: Any, wanted: Any) -> str | None:
    """The field of a model that a gathered list fills, where that is all it needs."""
    fields = fields_of(wanted)
    if fields is None or typing.get_origin(main) is not list:
        return None
    required = [name for name in fields if wanted.model_fields[name].is_required()]
    named = required or [name for name, type_ in fields.items() if typing.get_origin(type_) is list]
    if len(named) != 1 or typing.get_origin(fields[named[0]]) is not list or fit(main, fields[named[0]])[0] == "misfit":
        return None
    return named[0]


def _drawn_fields(wanted: Any, main: Any, joined: Sequence[JoinedBranch]) -> dict[str, Drawn] | None:
    """Field -> where it is drawn from, when every required field of `wanted` is there and at least one is an alias."""
    fields = fields_of(wanted)
    if fields is None:
        return None
    own = fields_of(main) or {}
    aliases = {branch.alias: branch for branch in joined}
    drawn: dict[str, Drawn] = {}
    for name, type_ in fields.items():
        if name in aliases and fit(aliases[name].type, type_)[0] != "misfit":
            drawn[name] = ("alias", name)
        elif name in own and fit(own[name], type_)[0] != "misfit":
            drawn[name] = ("row", name)
        elif wanted.model_fields[name].is_required():
            return None
    return drawn if any(what == "alias" for what, _ in drawn.values()) else None


def source_of(nodes: Sequence[Node], node: Node) -> str:
    """Where a node's rows come from, in words: the last one before it that made them."""
    while node.kind in ("join", "branch", "take", "delay", "merge") and not (node.kind == "merge" and node.head >= 0):
        node = nodes[node.parent]
    if node.kind == "merge":
        node = nodes[node.head]
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
