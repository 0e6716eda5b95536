"""Checks a parsed template against the names and fields that are in reach. Renders nothing."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes

from chainette.errors import Problem, nearest
from chainette.graph import Graph, Node, type_name
from chainette.graph.types import fields_of, is_model


def names_in(
    environment: Environment, source: str, graph: Graph, node: Node, where: str
) -> tuple[set[str], list[Problem]]:
    """The outer names a template uses, and what is wrong with them."""
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        return set(), [Problem(where, f"line {error.lineno}: {error.message}", "Jinja2 syntax")]
    wrong_calls = list(_call_problems(environment, tree, where))
    if wrong_calls:  # Jinja2's own search for names stops at them
        return set(), wrong_calls
    own = fields_of(node.input_type) or {}
    declared = {*own, *node.visible}
    used = meta.find_undeclared_variables(tree)
    used -= set(environment.globals) - declared
    problems = [p for name in sorted(used) if (p := _name_problem(name, own, node, where)) is not None]
    problems += _field_problems(tree, used, {**own, **_outer_types(graph, node, own)}, where)
    problems += _unreachable(tree, declared, where)
    return used, problems


def _name_problem(name: str, own: Mapping[str, Any], node: Node, where: str) -> Problem | None:
    if name in own:
        hidden = node.visible.get(name)
        if hidden is None:
            return None
        message = f'"{name}" is the field of {type_name(node.input_type)}; it hides {hidden.source}'
        return Problem(where, message, severity="warning")
    if name in node.visible or name in ("row_id", "chain_input"):
        return None
    if name in node.hidden:
        return Problem(where, f'"{name}" is out of reach: {node.hidden[name]}')
    return Problem(where, f'no name "{name}" here', nearest(name, [*own, *node.visible, "chain_input", "row_id"]))


def _outer_types(graph: Graph, node: Node, own: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the names in reach that no field of the row hides."""
    known = {"chain_input": graph.input_type, "row_id": str}
    known |= {name: reference.type for name, reference in node.visible.items()}
    return {name: type_ for name, type_ in known.items() if name not in own}


def _unreachable(tree: nodes.Template, declared: set[str], where: str) -> Iterator[Problem]:
    """Templates stand alone, and some names are Jinja2's own whatever a model calls its fields."""
    for found in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        message = f"line {found.lineno}: a template cannot load another"
        yield Problem(where, message, "put its text here")
    names = {name.name for name in tree.find_all(nodes.Name)}
    for name in sorted(declared & names & {"self", "loop", "super", "caller", "varargs", "kwargs"}):
        yield Problem(where, f'"{name}" is Jinja2\'s own name; a field called so cannot be reached', "an alias, say")


def _field_problems(tree: nodes.Template, used: set[str], types: Mapping[str, Any], where: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for access in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(access)
        if path is None or path[0] not in used:
            continue
        type_ = types.get(path[0], Any)
        for depth, part in enumerate(path[1:], 1):
            known = fields_of(_some(type_))
            place = ".".join(path[:depth])
            if known is None:
                plain = type_ in (str, int, float, bool) and not hasattr(type_, part)
                if plain and isinstance(access, nodes.Getattr):
                    text = f"{{{{ {place}.{part} }}}}: {place} is a {type_name(type_)}"
                    if text not in seen:
                        seen.add(text)
                        yield Problem(where, text, f"{{{{ {place} }}}}")
                elif _is_list(type_) and isinstance(access, nodes.Getattr) and not hasattr(list, part):
                    text = f"{{{{ {place}.{part} }}}}: {place} is a {type_name(type_)}"
                    if text not in seen:
                        seen.add(text)
                        yield Problem(where, text, f"{{% for item in {place} %}} or {place}[0]")
                break
            if part not in known:
                text = f'{place} has no field "{part}"'
                if not hasattr(_some(type_), part) and text not in seen:
                    seen.add(text)
                    yield Problem(where, text, nearest(part, known))
                break
            type_ = known[part]


def _call_problems(environment: Environment, tree: nodes.Template, where: str) -> Iterator[Problem]:
    for found in tree.find_all((nodes.Filter, nodes.Test)):
        known = environment.filters if isinstance(found, nodes.Filter) else environment.tests
        if found.name not in known:
            kind = "filter" if isinstance(found, nodes.Filter) else "test"
            yield Problem(where, f'line {found.lineno}: no {kind} "{found.name}"', nearest(found.name, known))


def _path(access: nodes.Node) -> list[str] | None:
    """`["qa", "answer"]` of `qa.answer` or `qa["answer"]`; None when the root is no plain name."""
    parts: list[str] = []
    while True:
        if isinstance(access, nodes.Getattr):
            parts.append(access.attr)
            access = access.node
        elif isinstance(access, nodes.Getitem):
            if not isinstance(access.arg, nodes.Const) or not isinstance(access.arg.value, str):
                return None
            parts.append(access.arg.value)
            access = access.node
        elif isinstance(access, nodes.Name):
            return [access.name, *reversed(parts)]
        else:
            return None


def _some(type_: Any) -> Any:
    """`T` of `T | None`: a None is found when the row comes."""
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(type_) if arm is not type(None)]
        return arms[0] if len(arms) == 1 and is_model(arms[0]) else Any
    return type_


def _is_list(type_: Any) -> bool:
    return type_ is list or typing.get_origin(type_) is list
