"""Control flow in the graph: gates and gathers; loops are in `loops`. Adds nodes to a walk; runs nothing."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainette.chain import Control, Delay, Gather, Loop, Scan, Switch
from chainette.chain.asking import asked_words
from chainette.graph.cases import case_problems
from chainette.graph.compounds import (
    append_control,
    append_merge,
    asked_intake,
    change,
    name_of,
    outlined,
    see_after,
    see_compound,
    where_declared,
    where_of,
)
from chainette.graph.loops import add_loop, add_scan
from chainette.graph.nodes import JoinedBranch, Reference, Way
from chainette.graph.scope import Scope
from chainette.graph.signature import asked_facts, digest
from chainette.graph.types import fit, type_name

if TYPE_CHECKING:
    from chainette.graph.build import Walk


def add(walk: Walk, decl: Control, upstream: int, scope: Scope, outline: list[Any]) -> int:
    """Adds what `decl` says after `upstream`; returns the node whose rows come out of it."""
    if isinstance(decl, Switch):
        return _add_switch(walk, decl, upstream, scope, outline)
    if isinstance(decl, Loop):
        return add_loop(walk, decl, upstream, scope, outline)
    if isinstance(decl, Scan):
        return add_scan(walk, decl, upstream, scope, outline)
    if isinstance(decl, Delay):
        index = append_control(walk, decl, upstream, scope, facts=(decl.seconds,))
        outline.append(walk.nodes[index].id)
        return index
    assert isinstance(decl, Gather)
    return _add_gather(walk, decl, upstream, scope, outline)


def _add_switch(walk: Walk, decl: Switch, upstream: int, scope: Scope, outline: list[Any]) -> int:
    role = "pred" if decl.is_cond else "key"
    intake = asked_intake(walk, decl.key, upstream, where_declared(decl, scope), role)
    facts = (asked_facts(decl.key), [repr(case) for case in decl.cases])
    gate = append_control(walk, decl, upstream, scope, facts=facts, intake=intake)
    where = where_of(walk, gate)
    walk.problems += case_problems(decl, walk.nodes[upstream].output_type, where)
    ways: list[Way] = []
    inners: list[Scope] = []
    drawn: list[dict[str, Any]] = []
    cases = [*decl.cases, None]
    for (name, steps), case in zip(decl.ways, cases, strict=False):
        items: list[Any] = []
        drawn.append({"name": name, "items": items})
        inner = scope.aside()
        entry = walk.entry(f"{walk.nodes[gate].id}/{name}", gate, inner)
        change(walk, entry, signature=digest("way", walk.nodes[gate].signature, len(ways)))
        last = walk.line(steps, entry, inner, items, f'{where}, "{name}"') if steps else entry
        ways.append(Way(name, case, entry, last))
        inners.append(inner)
    outline.append(outlined(walk, gate, asked_words(decl.key), drawn))
    output = _common_type(walk, decl, ways, where)
    merge = append_merge(walk, gate, [way.last for way in ways], output, scope)
    change(walk, gate, ways=tuple(ways), out=merge, output_type=output)
    for inner in inners:
        see_after(inner, scope, always=False)
    return see_compound(walk, gate, merge, scope)


def _common_type(walk: Walk, decl: Switch, ways: Sequence[Way], where: str) -> Any:
    gives = {way.name: walk.nodes[way.last].output_type for way in ways}
    listed = ", ".join(f"{name} gives {type_name(type_)}" for name, type_ in gives.items())
    if decl.output_model is not None:
        for name, type_ in gives.items():
            if type_ is not Any and fit(type_, decl.output_model)[0] != "same":
                message = f'"{name}" gives {type_name(type_)}, which is not {type_name(decl.output_model)}'
                walk.say(where, message, "output_model is the union of what the ways give")
        return decl.output_model
    types_ = list(gives.values())
    if any(type_ is Any for type_ in types_):
        return Any
    first = types_[0]
    if any(type_ != first for type_ in types_):
        names = " | ".join(dict.fromkeys(type_name(type_) for type_ in types_))
        walk.say(where, f"its ways give different types: {listed}", f"output_model={names}, or one type for all")
    return first


def _add_gather(walk: Walk, decl: Gather, upstream: int, scope: Scope, outline: list[Any]) -> int:
    where = where_declared(decl, scope)
    if not scope.expands:
        message = "there is nothing to gather: no function that expands and no step with several samples before it"
        walk.say(where, message, "it stands on the same line as the expand, in the same branch or body")
        return upstream
    expand = scope.expands.pop()
    parent = walk.nodes[walk.nodes[expand].parent]
    element = walk.nodes[upstream].output_type
    listed = types.GenericAlias(list, (element,))
    index = append_control(walk, decl, upstream, scope, facts=(decl.alias, decl.missing))
    nodes = frozenset(range(expand, index))
    joined = JoinedBranch(decl.alias or "", walk.nodes[expand].id, upstream, "none", True, nodes, listed)
    change(
        walk, index, gather=expand, output_type=parent.output_type if decl.alias else listed,
        branches=(joined,) if decl.alias else (),
    )  # fmt: skip
    change(walk, expand, gather=index)
    where = where_of(walk, index)
    for name, reference in list(scope.names.items()):
        if reference.node in nodes:
            del scope.names[name]
            scope.hidden[name] = f"it was made before {where}, which makes one row of several"
    if decl.alias is not None:
        scope.names[decl.alias] = Reference("alias", listed, index, decl.alias, source=where)
    scope.names.setdefault(name_of(walk, index), Reference("value", walk.nodes[index].output_type, index, source=where))
    scope.many = bool(scope.expands)
    outline.append(walk.nodes[index].id)
    return index
