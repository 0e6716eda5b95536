"""Copies a value before a user's function gets it, so that a function that changes its argument changes nobody else's:
not the file of the step before, not the branch beside it, not what the caller handed in. Knows types, not rows."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

Copier = Callable[[Any], Any]

_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), enum.Enum, uuid.UUID, decimal.Decimal)
_IMMUTABLE_TIMES = (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo)
_PLAIN = (*_IMMUTABLE, *_IMMUTABLE_TIMES)


class OwnCopy:
    """Gives each value's own copy: as shallow as its type allows, since this is done for every row."""

    def __init__(self, *, reads_only: bool = False) -> None:
        """With `reads_only` the function only reads fields: what has none that could be changed is given as it is."""
        self._by_type: dict[type, Copier] = {}
        self._reads_only = reads_only

    def __call__(self, value: Any) -> Any:
        type_ = type(value)
        copier = self._by_type.get(type_)
        if copier is None:
            copier = self._each if type_ is list else copier_of(type_)
            if self._reads_only and copier is _shallow:
                copier = _same
            self._by_type[type_] = copier
        return copier(value)

    def _each(self, values: list[Any]) -> list[Any]:
        """A gathered list: as shallow as its items allow."""
        return [self(value) for value in values]


def copier_of(type_: type) -> Copier:
    """The cheapest way to copy instances of `type_` so that nothing mutable is shared."""
    if issubclass(type_, _PLAIN):
        return _same
    if issubclass(type_, BaseModel):
        flat = all(_is_immutable(field.annotation) for field in type_.model_fields.values())
        own = (
            type_.__copy__ is not BaseModel.__copy__
            or type_.__private_attributes__
            or type_.model_config.get("extra") == "allow"
        )
        if flat and not own:
            return _shallow if not type_.model_config.get("frozen") else _same
    return copy.deepcopy


def _same(value: Any) -> Any:
    return value


def _shallow(model: Any, put: Callable[[Any, str, Any], None] = object.__setattr__) -> Any:
    """`model.__copy__()` without its general cases: a third of its time."""
    cls = model.__class__
    made = cls.__new__(cls)
    put(made, "__dict__", model.__dict__.copy())
    put(made, "__pydantic_fields_set__", model.__pydantic_fields_set__.copy())
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


def _is_immutable(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(_is_immutable(arm) for arm in typing.get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, _PLAIN)
