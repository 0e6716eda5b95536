"""What a function's source shows beyond doubt. Says no whenever it cannot tell; runs nothing."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import tokenize
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


def innermost(fn: Any) -> Any:
    """The function or class behind partials."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def is_one_comprehension(fn: Any) -> bool:
    """Whether the function returns `[… for x in argument]` and does nothing before but calls that at most count it."""
    function = _parsed(fn)
    if function is None:
        return False
    *before, last = function.body
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.ListComp):
        return False
    argument = function.args.args[0].arg
    loops = last.value.generators
    counted = {
        id(node.args[0])
        for statement in before
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len" and node.args
    }
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == argument]
    others = [node for node in uses if node is not loops[0].iter and id(node) not in counted]
    only_calls = all(isinstance(statement, ast.Expr) for statement in before)
    return only_calls and len(loops) == 1 and not loops[0].ifs and loops[0].iter in uses and not others


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
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and not node.attr.startswith("_")
        and id(node) not in called
    }
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == argument]
    return all(id(node) in read for node in uses) and not any(
        isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(function)
    )


def _parsed(fn: Any) -> Function | None:
    """The source of a plain function. What is bound, wrapped, decorated or an object may do more than it shows."""
    if not inspect.isfunction(fn) or hasattr(fn, "__wrapped__"):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # no file, or one that is no Python
        return None
    function = tree.body[0] if tree.body else None
    if not isinstance(function, Function) or not function.args.args or function.decorator_list:
        return None
    return function
