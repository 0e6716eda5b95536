"""What a function's source shows beyond doubt. Says no whenever it cannot tell; runs nothing."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_one_comprehension(fn: Any) -> bool:
    """Whether the body is `return [… for x in argument]` and nothing else that could drop or add a row."""
    function = _parsed(fn)
    if function is None:
        return False
    statements = [statement for statement in function.body if not isinstance(statement, ast.Expr)]
    last = statements[-1] if statements else None
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.ListComp):
        return False
    argument = function.args.args[0].arg
    loops = last.value.generators
    over = loops[0].iter
    straight = len(loops) == 1 and not loops[0].ifs and isinstance(over, ast.Name) and over.id == argument
    return straight and not _rebinds(function, argument)


def only_reads_fields(fn: Any) -> bool:
    """Whether the argument occurs only as `argument.field`, read and not called: then the function cannot change it,
    as long as its fields cannot be changed either."""
    function = _parsed(fn)
    if function is None:
        return False
    argument = function.args.args[0].arg
    called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    read = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in called
    }
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == argument]
    return all(id(node) in read for node in uses) and not any(
        isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(function)
    )


def _parsed(fn: Any) -> Function | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError):
        return None
    function = tree.body[0] if tree.body else None
    if not isinstance(function, Function) or not function.args.args or function.decorator_list:
        return None
    return function


def _rebinds(function: Function, name: str) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for node in ast.walk(function)
    )
