"""Predicates and keys: functions of a row, or of a row and its context. Calls nothing."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainette.chain.source import innermost
from chainette.errors import ChainError, Problem


def takes_context(fn: Callable[..., Any], where: str, role: str) -> bool:
    """Whether `fn` takes (row, context) and not only (row).

    Raises:
        ChainError: neither.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin that tells nothing of itself
        return False
    positional = [
        p
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    for arguments in ((1,), (1, 2)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        if len(positional) <= len(arguments):
            return len(arguments) == 2
    names = ", ".join(signature.parameters)
    raise ChainError(Problem(where, f"{role} must take (row) or (row, context), not ({names})"))


def takes_carry(fn: Callable[..., Any], where: str) -> None:
    """
    Raises:
        ChainError: a scan's function that cannot be called with (carry, item).
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin that tells nothing of itself
        return
    try:
        signature.bind(1, 2)
    except TypeError:
        names = ", ".join(signature.parameters)
        raise ChainError(Problem(where, f"body must take (carry, item), not ({names})")) from None


def is_async(fn: Any) -> bool:
    """Whether calling it gives something to wait for."""
    fn = innermost(fn)
    call: Any = type(fn).__call__
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


def is_asked(given: Any) -> bool:
    """Whether a first carry is asked of a function, and not the value itself, which may be a class."""
    return callable(given) and not isinstance(given, type)


def asked_words(asked: Any) -> str:
    """`field "lang"`, `is_good`, `lambda (flow.py:12)`."""
    if isinstance(asked, str):
        return f'field "{asked}"'
    asked = innermost(asked)
    name = str(getattr(asked, "__name__", type(asked).__name__))
    code = getattr(asked, "__code__", None)
    if name != "<lambda>" or code is None:
        return name
    return f"lambda ({Path(code.co_filename).name}:{code.co_firstlineno})"


def asked_type(fn: Any) -> Any:
    """The type of the row that a predicate or key is asked about, by its annotation."""
    target, hints = _hints(fn)
    names = [name for name in getattr(getattr(target, "__code__", None), "co_varnames", ()) if name != "self"]
    return hints.get(names[0], Any) if names else Any


def returned_type(fn: Any) -> Any:
    """The type of what a predicate or key gives, by its annotation."""
    return _hints(fn)[1].get("return", Any)


def _hints(fn: Any) -> tuple[Any, dict[str, Any]]:
    """The function behind `fn`, and its annotations."""
    target = fn if hasattr(fn, "__code__") else getattr(fn, "func", type(fn).__call__)
    try:
        return target, typing.get_type_hints(target)
    except Exception:  # names that are not there, or no annotations at all: then nothing is said
        return target, {}
