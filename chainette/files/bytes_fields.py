"""Bytes that were written as Base64 because they are no text, back into bytes. Knows where a type has bytes."""

from __future__ import annotations

import base64
import types
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from chainette.files.json_text import BASE64

Restorer = Callable[[Any], Any]


def restorer(type_: Any) -> Restorer | None:
    """What gives a row's data its bytes back, before it is validated; None for a type without bytes.

    A `str | bytes` stays the text that it is. A model that says itself how bytes become JSON is left to pydantic.
    """
    return _restorer(type_, {})


def _restorer(type_: Any, known: dict[type, Restorer | None]) -> Restorer | None:
    if type_ is bytes:
        return _bytes
    origin, args = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _restorer(args[0], known)
    if origin in (Union, types.UnionType):
        return None if str in args else _all_of([_restorer(arg, known) for arg in args])
    if origin in (list, set, frozenset, tuple, Sequence, Set) and args:
        return _of_items(_restorer(args[0], known))
    if origin in (dict, Mapping) and args:
        return _of_values(_restorer(args[1], known))
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return _of_model(type_, known)
    return None


def _of_model(type_: type[BaseModel], known: dict[type, Restorer | None]) -> Restorer | None:
    if type_ in known:
        # A model inside itself: what restores it is known by the time there is a value.
        return lambda value: value if (restore := known[type_]) is None else restore(value)
    known[type_] = None
    if "ser_json_bytes" in type_.model_config:
        return None
    if issubclass(type_, RootModel):
        known[type_] = _restorer(type_.model_fields["root"].annotation, known)
        return known[type_]
    found = ((name, _restorer(field.annotation, known)) for name, field in type_.model_fields.items())
    fields = {name: restore for name, restore in found if restore is not None}

    def restore_fields(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: fields[key](value) if key in fields else value for key, value in data.items()}

    known[type_] = restore_fields if fields else None
    return known[type_]


def _bytes(data: Any) -> Any:
    if isinstance(data, str) and data.startswith(BASE64):
        return base64.b64decode(data.removeprefix(BASE64), validate=True)
    return data


def _all_of(options: list[Restorer | None]) -> Restorer | None:
    restorers = [restore for restore in options if restore is not None]

    def restore_any(data: Any) -> Any:
        for restore in restorers:
            data = restore(data)
        return data

    return restore_any if restorers else None


def _of_items(restore: Restorer | None) -> Restorer | None:
    if restore is None:
        return None
    return lambda data: [restore(item) for item in data] if isinstance(data, list) else data


def _of_values(restore: Restorer | None) -> Restorer | None:
    if restore is None:
        return None
    return lambda data: {key: restore(value) for key, value in data.items()} if isinstance(data, dict) else data
