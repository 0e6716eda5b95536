"""What a function's annotations say about rows: how many go in and come out, and of which type. Calls nothing."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chainette.chain.source import is_one_comprehension, only_reads_fields
from chainette.errors import ChainError, Problem

Takes = Literal["row", "list"]
Makes = Literal["one", "maybe", "many", "list"]

_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, tuple)
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
)


@dataclass(frozen=True)
class Shape:
    """How a function is called and what it gives back."""

    takes: Takes
    makes: Makes
    """`one`: a row for a row; `maybe`: None drops it; `many`: any number of children; `list`: a list for the list."""
    input_type: Any
    """`Any` where nothing is said."""
    output_type: Any
    is_async: bool
    one_for_one: bool
    """A list function that gives one row for each it got, in order."""
    reads_only: bool
    """Its source shows that it does no more to its argument than read fields, so it needs no copy of its own."""
    declared: bool
    """False: no annotation, so what comes back is taken to be of the type that went in, or whatever it is."""

    @property
    def words(self) -> str:
        from_, to = type_name(self.input_type), type_name(self.output_type)
        left = f"list[{from_}]" if self.takes == "list" else from_
        right = {"one": to, "maybe": f"{to} | None", "many": f"list[{to}]", "list": f"list[{to}]"}[self.makes]
        return f"{left} -> {right}"


def type_name(type_: Any) -> str:
    """The type as a person would write it."""
    if type_ is Any:
        return "Any"
    if typing.get_origin(type_) is None and hasattr(type_, "__name__"):
        return str(type_.__name__)
    return str(type_).replace("typing.", "")


def read_shape(
    fn: Callable[..., Any],
    where: str,
    input_model: Any,
    output_model: Any,
    promised: str | None,
    namespace: Mapping[str, Any],
) -> Shape:
    """The shape of `fn`. `namespace` holds names its annotations may mean beside those of its module.

    Raises:
        ChainError: it cannot be called with one argument, or the annotations contradict what was promised.
    """
    target = _routine(fn)
    parameter = _only_parameter(fn, where)
    hints = _hints(target, where, namespace)
    taken = hints.get(parameter.name, inspect.Parameter.empty)
    given = hints.get("return", inspect.Parameter.empty)
    is_generator = inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)
    is_async = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
    if given is type(None):
        raise ChainError(Problem(where, "returns nothing", "return the row, or None of `T | None` to drop it"))
    takes, input_type = _takes(taken, input_model)
    makes, output_type = _makes(given, output_model, takes, is_generator)
    if promised is not None:
        takes, makes = _promise(promised, takes, makes, where)
    declared = given is not inspect.Parameter.empty or output_model is not None
    return Shape(
        takes=takes,
        makes=makes,
        input_type=input_type,
        output_type=output_type if declared else input_type,
        is_async=is_async,
        one_for_one=makes == "list" and (promised == "map" or is_one_comprehension(fn)),
        reads_only=only_reads_fields(fn),
        declared=declared,
    )


def _routine(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial or an object with `__call__`: where annotations and source are."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn):
        return fn
    method: Callable[..., Any] = type(fn).__call__
    return method


def _only_parameter(fn: Callable[..., Any], where: str) -> inspect.Parameter:
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return inspect.Parameter("items", inspect.Parameter.POSITIONAL_ONLY)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    required = [p for p in parameters[1:] if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not positional or required:
        names = ", ".join(p.name for p in parameters)
        raise ChainError(Problem(where, f"must take one argument, the row or the list of rows, not ({names})"))
    return positional[0]


def _hints(target: Any, where: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target, localns={**namespace, **getattr(target, "__globals__", {})})
    except NameError as error:
        raise ChainError(
            Problem(where, f"annotation cannot be read: {error}", "define the model at the top of the module")
        ) from None
    except TypeError:
        return {}
    except Exception as error:  # a string annotation is code of the user's
        raise ChainError(Problem(where, f"annotation cannot be read: {type(error).__name__}: {error}")) from None


def _takes(annotation: Any, input_model: Any) -> tuple[Takes, Any]:
    if annotation is inspect.Parameter.empty:
        return "list", _element(input_model) if _is_list(input_model) else (Any if input_model is None else input_model)
    if _is_list(annotation):
        element = _element(annotation)
        return "list", input_model if element is Any and input_model is not None else element
    return "row", annotation


def _makes(annotation: Any, output_model: Any, takes: Takes, is_generator: bool) -> tuple[Makes, Any]:
    listed: Makes = "list" if takes == "list" else "many"
    if annotation is inspect.Parameter.empty:
        element = Any if output_model is None else output_model
        return (listed if takes == "list" or is_generator else "one"), element
    if _is_list(annotation) or typing.get_origin(annotation) in _STREAMS or annotation in _STREAMS:
        element = _element(annotation)
        return listed, output_model if element is Any and output_model is not None else element
    if takes == "row":
        arms = typing.get_args(annotation) if _is_union(annotation) else ()
        kept = tuple(arm for arm in arms if arm is not type(None))
        if len(kept) < len(arms):
            lists = [arm for arm in kept if _is_list(arm)]
            if len(kept) == 1 and lists:
                return "many", _element(lists[0])
            return "maybe", kept[0] if len(kept) == 1 else typing.Union[kept]  # noqa: UP007
        return "one", annotation
    return "list", annotation


def _promise(promised: str, takes: Takes, makes: Makes, where: str) -> tuple[Takes, Makes]:
    if promised == "list" or (promised == "map" and takes == "list"):
        return "list", "list"
    if promised == "map":
        return "row", "one" if makes == "many" else makes
    if promised == "expand":
        return "row", "many"
    raise ChainError(Problem(where, f'shape "{promised}"', "known: list, map, expand"))


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_list(annotation: Any) -> bool:
    if typing.get_origin(annotation) is tuple:  # tuple[A, B] is one value, tuple[A, ...] is a list
        return typing.get_args(annotation)[-1:] == (Ellipsis,)
    return annotation in _LISTS or typing.get_origin(annotation) in _LISTS


def _element(annotation: Any) -> Any:
    args = typing.get_args(annotation)
    return args[0] if args else Any
