"""Loops and scans in the graph: a head, its body, and the way back. Adds nodes to a walk; runs nothing."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from chainette.chain import Apply, Loop, Scan, ScanItem, Scanned
from chainette.chain.asking import asked_words, is_asked
from chainette.errors import Problem, nearest
from chainette.graph.compounds import (
    append_control,
    append_merge,
    asked_intake,
    change,
    name_of,
    or_none,
    outlined,
    see_after,
    see_compound,
    where_declared,
    where_of,
)
from chainette.graph.nodes import Intake, Node, Reference, Way
from chainette.graph.scans import Carried, body_apply, carried_by
from chainette.graph.scope import Scope
from chainette.graph.signature import asked_facts, digest
from chainette.graph.types import fields_of, fit, type_name

if TYPE_CHECKING:
    from chainette.graph.build import Walk


def add_loop(walk: Walk, decl: Loop, upstream: int, scope: Scope, outline: list[Any]) -> int:
    before = walk.nodes[upstream]
    facts = (asked_facts(decl.until), decl.max_iterations, decl.at_least_once, decl.feed)
    head = append_control(walk, decl, upstream, scope, facts=facts)
    where = where_of(walk, head)
    begins = before.output_type
    items: list[Any] = []
    entry, inner = _open_body(walk, head, scope)
    last = walk.line(decl.steps, entry, inner, items, f"{where}, its body")
    gives = walk.nodes[last].output_type
    outline.append(outlined(walk, head, f"until {asked_words(decl.until)}", [{"name": "body", "items": items}]))
    _close_body(walk, entry, last, inner, begins)
    how, why = fit(gives, begins) if decl.feed == "result" else ("same", "")
    if how == "misfit":
        message = f"a turn gives {type_name(gives)}, but the next one begins with {type_name(begins)}: {why}"
        hint = f"make the last step give {type_name(begins)}, or begin each turn with what entered"
        walk.say(where, message, f'{hint}: while_loop(…, feed="input")')
    intake = _until_intake(walk, decl, upstream, last, where)
    output = (
        gives if decl.at_least_once or (how == "same" and fit(gives, begins)[0] == "same") else _either(begins, gives)
    )
    if begins == gives:
        output = begins
    merge = _close_head(walk, Way("body", None, entry, last), output, scope, intake=intake)
    see_after(inner, scope, always=decl.at_least_once)
    see_compound(walk, head, merge, scope)
    scope.names[f"{name_of(walk, head)}_turns"] = Reference("turns", int, entry, source=f"the turns of {where}")
    return merge


def is_asked_one_by_one(node: Node) -> bool:
    """Whether it is a function on lists that never sees more than one row, and may give something else for several."""
    if not isinstance(node.decl, Apply) or not node.loops:
        return False
    return node.decl.shape.takes == "list" and not node.decl.shape.one_for_one


def _until_intake(walk: Walk, decl: Loop, upstream: int, last: int, where: str) -> Intake:
    """The predicate is asked of what enters and of what a turn gives; it must be able to take both."""
    asked = [last] if decl.at_least_once else [upstream, last]
    intakes = [asked_intake(walk, decl.until, index, where, "until") for index in asked]
    return dataclasses.replace(intakes[0], cast=any(intake.cast for intake in intakes))


def _either(one: Any, other: Any) -> Any:
    if Any in (one, other):
        return Any
    return one if one == other else typing.Union[one, other]  # noqa: UP007


def _open_body(walk: Walk, head: int, scope: Scope) -> tuple[int, Scope]:
    """The node by which rows enter the body, and what is in reach behind it."""
    inner = scope.aside(loops=(*scope.loops, head))
    entry = walk.entry(f"{walk.nodes[head].id}/body", head, inner)
    inner.names["turn"] = Reference("turn", int, entry, source=f"the turn of {where_of(walk, head)}")
    return entry, inner


def _close_head(walk: Walk, way: Way, output: Any, scope: Scope, **changes: Any) -> int:
    """The node where rows come out of the head whose body `way` is; the head with all that was still to be known."""
    head = walk.nodes[way.entry].parent
    merge = append_merge(walk, head, [head], output, scope)
    signature = digest(walk.nodes[head].signature, walk.nodes[way.last].signature)
    change(walk, head, ways=(way,), out=merge, output_type=output, signature=signature, **changes)
    change(walk, merge, signature=digest("merge", signature))
    return merge


def _close_body(walk: Walk, entry: int, last: int, inner: Scope, type_: Any) -> None:
    """The node that ends a turn; and each name of the body is there from the second turn on, wherever it stands."""
    head = walk.nodes[entry].parent
    node = walk.between("turn", f"{walk.nodes[head].id}//turn", last, inner, output_type=type_, head=head)
    turn = walk.append(node, last)
    where = where_of(walk, head)
    body = range(entry + 1, turn)
    made = {name: ref for name, ref in inner.names.items() if ref.node in body}
    for index in body:
        visible = walk.nodes[index].visible
        if not isinstance(visible, dict) or walk.nodes[index].kind in ("branch", "turn", "merge"):
            continue
        for name, reference in made.items():
            if name not in visible:
                source = f"{reference.source} of the turn before in {where}"
                visible[name] = dataclasses.replace(reference, type=or_none(reference.type), source=source)
    for index in body:
        if is_asked_one_by_one(walk.nodes[index]) and walk.nodes[index].loops[-1] == head:
            message = f"stands in {where}, where rows are at different turns: it gets them one by one"
            walk.say(f'apply "{walk.nodes[index].id}"', message, severity="note")


def add_scan(walk: Walk, decl: Scan, upstream: int, scope: Scope, outline: list[Any]) -> int:
    before = walk.nodes[upstream]
    where = where_declared(decl, scope)
    item_type, problem = _item_type(before.output_type, decl, where)
    walk.problems += [problem] if problem is not None else []
    if decl.over is None and scope.loops:
        walk.say(
            where, "goes through the rows in order, and rows in a loop are in none", "over a list field, or before it"
        )
    if decl.over is None and is_asked(decl.init):
        walk.say(where, "init must be a value where the scan goes through the rows: there is no row yet")
    carried = carried_by(decl)
    walk.problems += _init_problems(decl, carried, where)
    facts = (decl.over, asked_facts(decl.init), asked_facts(decl.function) if decl.function is not None else "")
    head = append_control(walk, decl, upstream, scope, facts=facts)
    where = where_of(walk, head)
    items: list[Any] = []
    entry, inner = _open_body(walk, head, scope)
    enters = _of(ScanItem, carried.carry, item_type)
    change(walk, entry, input_type=enters, output_type=enters)
    body = (body_apply(decl),) if decl.function is not None else decl.body
    last = walk.line(body, entry, inner, items, f"{where}, its body")
    outline.append(outlined(walk, head, _over_words(decl), [{"name": "body", "items": items}]))
    if inner.many:
        walk.say(where, "its body makes several rows of one", "gather() at its end")
    _close_body(walk, entry, last, inner, enters)
    carried = _checked_carry(walk, carried, walk.nodes[last].output_type, where)
    output = carried.output if decl.over is None else _of(Scanned, carried.carry, carried.output)
    merge = _close_head(walk, Way("body", None, entry, last), output, scope, carried=carried)
    return see_compound(walk, head, merge, scope)


def _init_problems(decl: Scan, carried: Carried, where: str) -> list[Problem]:
    """Whether a first carry that is a value fits what the body takes."""
    if is_asked(decl.init) or carried.carry is Any:
        return []
    try:
        TypeAdapter(carried.carry).validate_python(decl.init)
    except Exception as error:  # pydantic raises several kinds, and so does a type's own schema hook
        first = str(error).splitlines()[0]
        message = f"init is {type(decl.init).__name__}, but the carry is {type_name(carried.carry)} ({first})"
        return [Problem(where, message, "init and the body's carry are of one type")]
    return []


def _of(model: Any, *types_: Any) -> Any:
    """The generic model with these types."""
    return model[types_]


def _item_type(row: Any, decl: Scan, where: str) -> tuple[Any, Problem | None]:
    if decl.over is None:
        return row, None
    known = fields_of(row)
    if known is None:
        return Any, None
    if decl.over not in known:
        return Any, Problem(where, f'{type_name(row)} has no field "{decl.over}"', nearest(decl.over, known))
    type_ = known[decl.over]
    if typing.get_origin(type_) in (list, tuple, Sequence) or type_ is list:
        args = typing.get_args(type_)
        return (args[0] if args else Any), None
    if type_ is Any:
        return Any, None
    return Any, Problem(
        where, f'its field "{decl.over}" is {type_name(type_)}, not a list', "over=None goes through rows"
    )


def _checked_carry(walk: Walk, carried: Carried, gives: Any, where: str) -> Carried:
    """What the body gives is the next carry; where nothing else says what a carry is, that does."""
    if carried.pairs:
        return carried
    if fit(gives, carried.carry)[0] == "misfit":
        why = fit(gives, carried.carry)[1]
        message = f"its body gives {type_name(gives)}, but the carry is {type_name(carried.carry)}: {why}"
        walk.say(where, message, "init and the body's output are of one type")
    return dataclasses.replace(carried, output=carried.carry if carried.carry is not Any else gives)


def _over_words(decl: Scan) -> str:
    return "over the rows" if decl.over is None else f"over {decl.over}"
