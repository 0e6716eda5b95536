"""`apply`: Python in the chain. Reads annotations; does not know the types around the function and calls nothing."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from chainette.chain.shape import Shape, read_shape
from chainette.errors import ChainError, Problem

ShapeName = Literal["list", "map", "expand"]


@dataclass(frozen=True, eq=False)
class Apply:
    """A function as a node. Made by `apply(fn)`."""

    fn: Callable[..., Any]
    id: str
    named: bool
    """False: the id is the function's name, and is numbered when it occurs twice."""
    shape: Shape
    name: str = ""
    emoji: str = ""
    yield_output: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Apply({self.id!r}, {self.shape.words})"


def apply(
    fn: Callable[..., Any],
    *,
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    input_model: Any = None,
    output_model: Any = None,
    shape: ShapeName | None = None,
    yield_output: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Apply:
    """A Python function as a node of the chain.

    The annotations say the shape: `list[T] -> list[U]` works on a chunk, `T -> U` on a row, `T -> U | None` filters,
    `T -> list[U]` or a generator expands; without annotations it gets the chunk as a list. `async def` runs
    concurrently within a chunk, a plain function in a thread. A function may be called again on rows it has seen
    (after a crash, or to learn which row came from which), so it should not count on being called once.

    `input_model` and `output_model` stand in for annotations that are not there. `shape="map"` promises that a list
    function gives one row for each it got, in order (an embedder, say).

    Raises:
        ChainError: the function cannot be called with one argument, or its annotations say nothing usable.
    """
    if not callable(fn):
        raise ChainError(Problem("apply", f"needs a function, not {fn!r}"))
    where = f'apply "{id or _name_of(fn)}"'
    if inspect.isclass(fn):
        raise ChainError(
            Problem(where, "a class is built once per worker; that comes with a later version", "apply(SomeClass())")
        )
    # Models made inside a function are found where the apply stands, as pydantic does for its fields.
    namespace = sys._getframe(1).f_locals
    return Apply(
        fn=fn,
        id=id or _name_of(fn),
        named=id is not None,
        shape=read_shape(fn, where, input_model, output_model, shape, namespace),
        name=name,
        emoji=emoji,
        yield_output=yield_output,
        metadata=MappingProxyType(dict(metadata or {})),
    )


def _name_of(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return "apply" if name == "<lambda>" else str(name)
