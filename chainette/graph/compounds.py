"""What gates and heads have in common in the graph: their nodes, what they ask, the names there are after them.

Adds nodes to a walk; does not know which rows go where.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainette.chain import Control
from chainette.chain.asking import asked_type
from chainette.errors import nearest
from chainette.graph.intake import choose_intake
from chainette.graph.nodes import Intake, Reference
from chainette.graph.scope import Scope, identifier
from chainette.graph.signature import digest
from chainette.graph.types import fields_of, type_name

if TYPE_CHECKING:
    from chainette.graph.build import Walk


def append_control(
    walk: Walk, decl: Control, upstream: int, scope: Scope, *, facts: Sequence[Any], intake: Intake | None = None
) -> int:
    before = walk.nodes[upstream]
    node = walk.between(
        typing.cast("Any", decl.kind),
        walk.take_id(decl, scope),
        upstream,
        scope,
        decl=decl,
        intake=intake or Intake(source_type=before.output_type),
        visible=dict(scope.names),
        hidden=dict(scope.hidden),
        signature=digest(decl.kind, before.signature, *facts),
    )
    return walk.append(node, upstream)


def append_merge(walk: Walk, head: int, sources: Sequence[int], type_: Any, scope: Scope) -> int:
    nodes = walk.nodes
    signatures = [nodes[source].signature for source in sources]
    node = walk.between(
        "merge",
        f"{nodes[head].id}//out",
        head,
        scope,
        input_type=type_,
        output_type=type_,
        depth=max(nodes[source].depth for source in sources),
        signature=digest("merge", nodes[head].signature, signatures),
        head=head,
    )
    return walk.append(node, *sources)


def change(walk: Walk, index: int, **changes: Any) -> None:
    walk.nodes[index] = dataclasses.replace(walk.nodes[index], **changes)


def asked_intake(walk: Walk, asked: Any, upstream: int, where: str, role: str) -> Intake:
    """What the function that is asked gets of an arriving row, by its annotation; of a field, that there is one."""
    before = walk.nodes[upstream]
    if isinstance(asked, str):
        known = fields_of(before.output_type)
        if known is not None and asked not in known:
            message = f'{role}: {type_name(before.output_type)} has no field "{asked}"'
            walk.say(where, message, nearest(asked, known))
        return Intake(source_type=before.output_type)
    wanted = asked_type(asked)
    intake, problems = choose_intake(walk.nodes, upstream, wanted, f"{where} {role}")
    walk.problems += problems
    return intake


def see_after(inner: Scope, scope: Scope, *, always: bool) -> None:
    """What was made in a way or a body is there after it; None for rows that did not pass there."""
    for name, reference in inner.names.items():
        if name in scope.names or reference.what == "turn":
            continue
        type_ = reference.type if always else or_none(reference.type)
        scope.names[name] = dataclasses.replace(reference, type=type_)
        scope.hidden.pop(name, None)
    scope.many = scope.many or inner.many
    for name, why in inner.hidden.items():
        scope.hidden.setdefault(name, why)


def see_compound(walk: Walk, head: int, merge: int, scope: Scope) -> int:
    node = walk.nodes[head]
    scope.names[name_of(walk, head)] = Reference("value", node.output_type, merge, source=where_of(walk, head))
    return merge


def name_of(walk: Walk, index: int) -> str:
    return identifier(walk.nodes[index].id)


def or_none(type_: Any) -> Any:
    return type_ if type_ is Any else typing.Optional[type_]  # noqa: UP045


def where_declared(decl: Control, scope: Scope) -> str:
    return f'{decl.kind} "{scope.prefix}{decl.id}"'


def where_of(walk: Walk, index: int) -> str:
    return f'{walk.nodes[index].kind} "{walk.nodes[index].id}"'


def outlined(walk: Walk, index: int, label: str, ways: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    node = walk.nodes[index]
    return {"compound": node.id, "kind": node.kind, "label": label, "ways": list(ways)}
