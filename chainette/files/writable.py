"""Whether a file can hold a value as what it is, and if not, why. Knows types and JSON, neither rows nor files."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic_core import to_jsonable_python

from chainette.files.json_text import MAX_DEPTH

_LEAVES = frozenset((str, int, bool, type(None), datetime, date, time, timedelta, UUID, Decimal, bytes, bytearray))
_LEAVES_AND_FLOATS = _LEAVES | {float}
_CONTAINERS = (list, tuple, set, frozenset, dict, Sequence, Set, Mapping)
_ORDERED = (list, tuple, dict)
_INFINITY = float("inf")
_KEYS = (str, int, float, type(None), Enum, date, time, timedelta, UUID, Decimal, bytes, tuple)
_TOO_DEEP = f"nests more than {MAX_DEPTH} levels deep, or holds itself"


def unwritable(value: Any) -> str | None:
    """Why a file cannot hold `value`, naming the place within (`pages[2].score: inf cannot be …`), or None.

    Reads values without changing them. A model whose fields are all text, integers, dates and the like
    costs one look-up.
    """
    kind: Any = type(value)
    look = _look(kind)
    if not look.dumps:
        if not look.names:
            return None
        if not look.inside:
            return None if _floats_are_finite(value.__dict__, look.names) else _said(_model(value, look, 0))
    try:
        return _said(_reason(value, 0))
    except RecursionError:
        return _TOO_DEEP
    except Exception as error:  # the value's own code: a property, a `__len__`, an `__iter__`
        return f"{_name(value)} cannot be written: {type(error).__name__}: {error}"


def plain_type(type_: Any) -> bool:
    """Whether no value of this type needs a look: text, integers, dates, enums, and lists and models of those."""
    try:
        return _grade(type_, ()) is _PLAIN
    except TypeError:  # no type at all
        return False


def is_json(value: Any) -> bool:
    """Whether JSON gives the value back as what it is, also when nobody says its type: text, numbers, booleans, None,
    and lists and dicts of those."""
    kind = type(value)
    if kind is list:
        return all(map(is_json, value))
    if kind is dict:
        return all(type(key) is str and is_json(inner) for key, inner in value.items())
    return kind in (str, int, float, bool, type(None))


def says_it_all(type_: Any) -> bool:
    """Whether pydantic's dump of this type to JSON is the same in every run: no sets or bytes, nor what may be one."""
    return _says_it_all(type_, ())


def _says_it_all(type_: Any, trail: tuple[Any, ...]) -> bool:
    if get_origin(type_) is Literal or type_ in trail:
        return True
    if args := [arg for arg in get_args(type_) if arg is not Ellipsis]:
        if get_origin(type_) is Annotated:
            args = args[:1]
        outer = get_origin(type_) in (*_ORDERED, Annotated, Union, types.UnionType)
        return outer and all(_says_it_all(arg, trail) for arg in args)
    if isinstance(type_, type) and issubclass(type_, BaseModel) and type_.model_config.get("extra") != "allow":
        computed = [field.return_type for field in type_.model_computed_fields.values()]
        fields = [*(field.annotation for field in type_.model_fields.values()), *computed]
        return all(_says_it_all(field, (*trail, type_)) for field in fields)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return True
    return type_ is None or type_ is float or (isinstance(type_, type) and type_ in _LEAVES - {bytes, bytearray})


class _Reason(NamedTuple):
    place: str
    why: str
    final: bool = False
    """Whether to ask no serialiser: it would use the value up."""


def _said(reason: _Reason | None) -> str | None:
    if reason is None:
        return None
    place, why, _ = reason
    place = place.removeprefix(".")
    return f"{place if len(place) <= 80 else place[:79] + '…'}: {why}" if place else why


def _under(place: str, reason: _Reason | None) -> _Reason | None:
    return None if reason is None else reason._replace(place=place + reason.place)


def _floats_are_finite(fields: Mapping[str, Any], names: Sequence[str]) -> bool:
    for name in names:
        value = fields.get(name)
        if value is not None and (value == _INFINITY or value == -_INFINITY):
            return False
    return True


_PLAIN, _FLOAT, _INSIDE, _DUMP = range(4)
"""Needs no look · may be an infinity · may be anything inside · is what its serialiser makes of it."""


class _Look(NamedTuple):
    """What to look at in a value of a class."""

    names: tuple[str, ...] = ()
    """Of a model: the fields."""
    inside: bool = True
    """Whether there is more to them than one float each."""
    dumps: bool = False


@lru_cache(maxsize=4096)
def _look(type_: type) -> _Look:
    if type_ in _LEAVES:
        return _Look()
    if not issubclass(type_, BaseModel):
        return _Look(dumps=True)
    return _model_look(type_, ())


def _model_look(type_: type[BaseModel], trail: tuple[Any, ...]) -> _Look:
    found = type_.__pydantic_decorators__
    own_schema = any("__get_pydantic_core_schema__" in vars(cls) for cls in type_.__mro__ if cls is not BaseModel)
    config = type_.model_config
    if (
        (found.model_serializers or found.field_serializers or found.computed_fields or own_schema)
        or config.get("extra") == "allow"
        or any(key.startswith("ser_json") or key == "json_encoders" for key in config)
    ):
        return _Look(dumps=True)
    grades: dict[str, int] = {}
    for name, field in type_.model_fields.items():
        if getattr(field, "exclude_if", None) or any(map(_serialises, field.metadata)):
            return _Look(dumps=True)
        if not field.exclude:
            grades[name] = _grade(field.annotation, (*trail, type_))
    if _DUMP in grades.values():
        return _Look(dumps=True)
    names = tuple(name for name, grade in grades.items() if grade is not _PLAIN)
    return _Look(names, inside=any(grade is _INSIDE for grade in grades.values()))


def _serialises(metadata: Any) -> bool:
    return hasattr(metadata, "__get_pydantic_core_schema__") and not isinstance(
        metadata, (AfterValidator, BeforeValidator)
    )


def _grade(type_: Any, trail: tuple[Any, ...]) -> int:
    origin, args = get_origin(type_), get_args(type_)
    if origin is None:
        return _class_grade(type_, trail)
    if origin is Literal:
        return _PLAIN
    if origin is Annotated:
        return _DUMP if any(map(_serialises, args[1:])) else _grade(args[0], trail)
    if origin in (Union, types.UnionType):
        return max(_grade(arg, trail) for arg in args)
    if origin in _CONTAINERS:
        worst = max((_grade(arg, trail) for arg in args if arg is not Ellipsis), default=_INSIDE)
        return _INSIDE if worst is _FLOAT else worst
    return _DUMP


def _class_grade(type_: Any, trail: tuple[Any, ...]) -> int:
    if type_ is None or (isinstance(type_, type) and type_ in _LEAVES):
        return _PLAIN
    if type_ is float:
        return _FLOAT
    if type_ is Any or type_ is object or type_ in _CONTAINERS or type_ in trail:
        return _INSIDE
    if isinstance(type_, type) and issubclass(type_, Enum):
        return _PLAIN if all(type(member.value) in _LEAVES for member in type_) else _INSIDE
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        look = _model_look(type_, trail)
        return _INSIDE if look.dumps or look.names else _PLAIN
    return _DUMP


def _reason(value: Any, depth: int) -> _Reason | None:
    kind: Any = type(value)
    if kind in _LEAVES:
        return None
    if kind is float:
        infinite = value == _INFINITY or value == -_INFINITY
        return _Reason("", f"{value} cannot be written as JSON (which has no infinity)") if infinite else None
    if depth > MAX_DEPTH:
        return _Reason("", _TOO_DEEP)
    if kind is list:
        return _items(value, depth)
    if kind is dict:
        return _mapping(value, depth)
    if isinstance(value, BaseModel):
        return _model(value, _look(kind), depth)
    return _other(value, depth)


def _items(items: Any, depth: int) -> _Reason | None:
    if set(map(type, items)) <= _LEAVES_AND_FLOATS and _INFINITY not in items and -_INFINITY not in items:
        return None
    for number, item in enumerate(items):
        if reason := _reason(item, depth + 1):
            return _under(f"[{number}]", reason)
    return None


def _mapping(values: Mapping[Any, Any], depth: int) -> _Reason | None:
    if set(map(type, values)) - {str}:
        for key in values:
            if not isinstance(key, _KEYS):
                return _Reason("", f"a key of type {_name(key)} cannot be written as JSON")
        if len({key if isinstance(key, str) else str(key) for key in values}) < len(values):
            return _Reason("", "two of the keys are the same text, as JSON has it")
    found = values.values()
    if set(map(type, found)) <= _LEAVES_AND_FLOATS and _INFINITY not in found and -_INFINITY not in found:
        return None
    for key, value in values.items():
        if reason := _reason(value, depth + 1):
            return _under(f".{key}" if isinstance(key, str) else f"[{_name(key)}]", reason)
    return None


def _model(value: BaseModel, look: _Look, depth: int) -> _Reason | None:
    if look.dumps:
        return _as_dumped(value, lambda mode: value.model_dump(mode=mode, by_alias=False, warnings=False), depth)
    for name in look.names:
        if reason := _reason(value.__dict__.get(name), depth + 1):
            return _under(f".{name}", reason)
    return None


def _as_dumped(value: Any, dump: Callable[[str], Any], depth: int) -> _Reason | None:
    """Of a value that is written as what its serialiser makes of it. Some make something else for JSON alone."""
    try:
        reason = _reason(dump("python"), depth + 1)
    except Exception as error:  # the serialiser's own, or pydantic's
        reason = _Reason("", f"{_name(value)} cannot be written: {error}")
    if reason is not None and not reason.final:
        try:
            return _reason(dump("json"), depth + 1)
        except Exception:  # as above
            return reason
    return reason


def _other(value: Any, depth: int) -> _Reason | None:
    if isinstance(value, Enum):
        return _reason(value.value, depth)
    if isinstance(value, float):
        return _reason(float(value), depth)
    if isinstance(value, (str, int, memoryview)):
        return None
    if isinstance(value, (type, Iterator)):
        return _no_json(value)
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, (Set, tuple)):
        return _items(value, depth)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return _reason(value.tolist(), depth + 1)
    if isinstance(value, Sequence):
        return _items(list(value), depth)
    try:
        found = to_jsonable_python(value, by_alias=False)
    except Exception:  # pydantic's, or the value's own
        if dataclasses.is_dataclass(value):
            return _mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth)
        return _no_json(value)
    return _reason(found, depth + 1)


def _no_json(value: Any) -> _Reason:
    kind = f"the class {value.__qualname__}" if isinstance(value, type) else _name(value)
    return _Reason("", f"{kind} cannot be written as JSON", final=isinstance(value, Iterator))


def _name(value: Any) -> str:
    return type(value).__qualname__
