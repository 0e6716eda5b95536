"""What a scan carries, read from its declaration: types of the carry and of the outputs. Calls nothing."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainette.chain import Apply, Scan, ScanItem
from chainette.chain.asking import is_asked, is_async
from chainette.chain.shape import Shape
from chainette.graph.nodes import Node


@dataclass(frozen=True, slots=True)
class Carried:
    """The types of what goes from turn to turn."""

    carry: Any
    output: Any
    pairs: bool
    """A turn gives (carry, output); otherwise what it gives is both."""


class ScanFunction:
    """A function of (carry, item) as one of a row."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", "body")
        self.__wrapped__ = function

    def __call__(self, item: Any) -> Any:
        return self.function(item.carry, item.item)

    def __repr__(self) -> str:
        return f"ScanFunction({self.__name__})"


def carried_by(decl: Scan) -> Carried:
    """As far as the declaration tells; `Any` where it does not."""
    hints = _hints(decl.function)
    names = _names(decl.function)
    carry = hints.get(names[0], Any) if names else Any
    if carry is Any:
        carry = _type_of_init(decl.init)
    given = hints.get("return", Any)
    if typing.get_origin(given) is tuple and len(typing.get_args(given)) == 2:
        first, second = typing.get_args(given)
        return Carried(carry if carry is not Any else first, second, pairs=True)
    return Carried(carry, carry if carry is not Any else given, pairs=False)


def _type_of_init(init: Any) -> Any:
    if is_asked(init):
        return _hints(init).get("return", Any)
    return type(init) if init is not None else Any


def is_row_scan(node: Node) -> bool:
    """Whether it goes through the rows, so that what becomes of one hangs on all before it."""
    return isinstance(node.decl, Scan) and node.decl.over is None


def body_apply(decl: Scan) -> Apply:
    """The body of a scan with a function, as a node."""
    assert decl.function is not None
    given = _hints(decl.function).get("return", Any)
    shape = Shape(
        takes="row",
        makes="one",
        input_type=ScanItem,
        output_type=given,
        is_async=is_async(decl.function),
        one_for_one=False,
        reads_only=False,
        declared=True,  # what nothing is said of is anything, and never the item that went in
    )
    return Apply(fn=ScanFunction(decl.function), id=f"{decl.id}_body", named=False, shape=shape, yield_output=False)


def _names(fn: Any) -> list[str]:
    try:
        return list(inspect.signature(fn).parameters) if fn is not None else []
    except (TypeError, ValueError):
        return []


def _hints(fn: Any) -> dict[str, Any]:
    if fn is None:
        return {}
    target = fn if hasattr(fn, "__code__") else getattr(fn, "func", type(fn).__call__)
    try:
        return typing.get_type_hints(target)
    except Exception:  # names that are not there: then nothing is said
        return {}
