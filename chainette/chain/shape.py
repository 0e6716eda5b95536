"""What a function's annotations say about rows: how many go in and come out, and of which type. Calls nothing."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from chainette.chain.drop import Drop
from chainette.chain.source import innermost, is_one_comprehension, only_reads_fields
from chainette.errors import ChainError, Problem

Takes = Literal["row", "list"]
Makes = Literal["one", "maybe", "many", "list"]

_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, tuple)
_PASSED_THROUGH = (collections.abc.Iterable, collections.abc.Iterator)
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
    """`one`: a row for a row; `maybe`: None or a `Drop` drops it; `many`: any number of children; `list`: a list for
    the list."""
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
    returned: Any = inspect.Parameter.empty
    """The annotation of what it returns, as it was read."""
    taken: Any = inspect.Parameter.empty
    """The annotation of its argument, as it was read."""

    @property
    def wants_list(self) -> bool:
        """A function on lists that asks for all rows in memory, and not only to go through them."""
        return (typing.get_origin(self.taken) or self.taken) not in _PASSED_THROUGH

    @property
    def reduces(self) -> bool:
        """A function on lists that says it makes one value of all."""
        if self.takes != "list" or self.returned is inspect.Parameter.empty or self.returned is Any:
            return False
        return not (_is_list(self.returned) or (typing.get_origin(self.returned) or self.returned) in _STREAMS)

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
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is None and hasattr(type_, "__name__"):
        return str(type_.__name__)
    if origin in (typing.Union, types.UnionType):
        return " | ".join("None" if arm is type(None) else type_name(arm) for arm in args)
    if isinstance(origin, type) and args and all(isinstance(arg, type) or typing.get_origin(arg) for arg in args):
        return f"{origin.__name__}[{', '.join(map(type_name, args))}]"
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
    if given in (type(None), Drop):
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
        returned=given,
        taken=taken,
    )


def gathered(shape: Shape) -> Shape:
    """The shape of a function on lists that gets the gathered list of one row, and not the rows of a chunk."""
    said = shape.output_type if shape.declared and shape.returned is inspect.Parameter.empty else None
    makes, output_type = _makes(shape.returned, said, "row", is_generator=False)
    listed = list if shape.input_type is Any else types.GenericAlias(list, (shape.input_type,))
    return replace(
        shape,
        takes="row",
        makes=makes,
        input_type=listed,
        output_type=output_type if shape.declared else Any,
        one_for_one=False,
    )


def class_of(fn: Any) -> type | None:
    """The class itself, where `fn` is one or a partial of one."""
    fn = innermost(fn)
    return fn if inspect.isclass(fn) else None


def _routine(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial, a class or an object with `__call__`: where annotations and source are."""
    fn = innermost(fn)
    if inspect.isroutine(fn):
        return fn
    method: Callable[..., Any] = (fn if inspect.isclass(fn) else type(fn)).__call__
    return method


def _check_class(fn: Callable[..., Any], cls: type, where: str) -> None:
    """
    Raises:
        ChainError: an instance could not be built, or not be called.
    """
    if not any("__call__" in vars(base) for base in cls.__mro__):
        message = f"{cls.__name__} has no __call__, which gets the row or the list of rows"
        raise ChainError(Problem(where, message, "def __call__(self, row: T) -> U"))
    try:
        inspect.signature(fn).bind()
    except ValueError:  # a class that tells nothing of itself
        return
    except TypeError as error:
        hint = f"functools.partial({cls.__name__}, ...)"
        raise ChainError(Problem(where, f"{cls.__name__} cannot be built: {error}", hint)) from None


def _only_parameter(fn: Callable[..., Any], where: str) -> inspect.Parameter:
    cls = class_of(fn)
    try:
        if cls is not None:
            _check_class(fn, cls, where)
            parameters = list(inspect.signature(_routine(fn)).parameters.values())[1:]
        else:
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
    if _is_list(annotation) or (typing.get_origin(annotation) or annotation) in _PASSED_THROUGH:
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
        kept = tuple(arm for arm in arms if arm is not type(None) and arm is not Drop)
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
    """The type of what is in the list; a `Drop` in it stands for a row that is not."""
    args = typing.get_args(annotation)
    if not args:
        return Any
    kept = tuple(arm for arm in typing.get_args(args[0]) if arm is not Drop) if _is_union(args[0]) else ()
    if not kept or len(kept) == len(typing.get_args(args[0])):
        return args[0]
    return kept[0] if len(kept) == 1 else typing.Union[kept]  # noqa: UP007
