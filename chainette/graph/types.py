"""Whether what leaves one node can enter the next. Judges types, never values."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter

from chainette.chain.shape import type_name

__all__ = ["cast_to", "fields_of", "fit", "is_model", "type_name"]

# Pairs that pydantic casts in lax mode for at least some values; the values decide when the row comes.
_CASTS: dict[type, tuple[type, ...]] = {
    int: (float, bool),
    float: (int,),
    bool: (int, float),
    str: (int, float, bool, bytes),
    bytes: (str,),
}


def is_model(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def fields_of(type_: Any) -> dict[str, Any] | None:
    """Field names to types of a model; None where the fields are not known."""
    if is_model(type_):
        return {name: field.annotation for name, field in type_.model_fields.items()}
    return None


def fit(source: Any, target: Any) -> tuple[str, str]:
    """How a value of `source` enters a node that takes `target`.

    Returns (`same`, ""), (`cast`, "") or (`misfit`, why).
    """
    if target is Any or source is target or source == target:
        return "same", ""
    if source is Any:
        return "cast", ""
    source, target = _bare(source), _bare(target)
    if isinstance(source, type) and isinstance(target, type):
        return _fit_classes(source, target)
    source_arms, target_arms = _arms(source), _arms(target)
    if len(source_arms) > 1 or len(target_arms) > 1:
        return _fit_unions(source_arms, target_arms)
    return _fit_generics(source, target)


def _bare(type_: Any) -> Any:
    while typing.get_origin(type_) is typing.Annotated:
        type_ = typing.get_args(type_)[0]
    return type_


def _arms(type_: Any) -> tuple[Any, ...]:
    return typing.get_args(type_) if typing.get_origin(type_) in (typing.Union, types.UnionType) else (type_,)


def _fit_classes(source: type, target: type) -> tuple[str, str]:
    if issubclass(source, target):
        return "same", ""
    if is_model(source) and is_model(target):
        return _fit_models(source, target)
    if is_model(source) and issubclass(target, dict):
        return "misfit", f"{type_name(source)} is a model, not a dict"
    if is_model(target):
        return ("cast", "") if issubclass(source, dict) else ("misfit", f"{type_name(source)} has no fields")
    if target in _CASTS.get(source, ()):
        return "cast", ""
    if source in _CASTS and target in _CASTS:
        return "misfit", f"{type_name(source)} is not {type_name(target)}"
    if is_model(source):
        return "misfit", f"a {type_name(source)} is not {type_name(target)}"
    return "cast", ""


def _fit_models(source: Any, target: Any) -> tuple[str, str]:
    wanting, wrong = [], []
    for name, field in target.model_fields.items():
        names = {name, *([field.alias] if field.alias else [])}
        if isinstance(field.validation_alias, str):
            names.add(field.validation_alias)
        found = next((source.model_fields[n] for n in names if n in source.model_fields), None)
        if found is None:
            if field.is_required():
                wanting.append(name)
            continue
        how, why = fit(found.annotation, field.annotation)
        if how == "misfit":
            wrong.append(f"{name}: {why}")
    extra = set(source.model_fields) - set(target.model_fields)
    if target.model_config.get("extra") == "forbid" and extra:
        wrong.append(f"{', '.join(sorted(extra))} not allowed in {type_name(target)}")
    if wanting:
        wrong.insert(0, f"{type_name(source)} has no {', '.join(wanting)}")
    return ("misfit", "; ".join(wrong)) if wrong else ("cast", "")


def _fit_unions(source: tuple[Any, ...], target: tuple[Any, ...]) -> tuple[str, str]:
    ways = []
    for arm in source:
        fits = [fit(arm, wanted)[0] for wanted in target]
        ways.append("same" if "same" in fits else "cast" if "cast" in fits else "misfit")
    if all(way == "same" for way in ways):
        return "same", ""
    if any(way != "misfit" for way in ways):
        return "cast", ""
    left, right = (" | ".join(map(type_name, arms)) for arms in (source, target))
    return "misfit", f"{left} is not {right}"


def _fit_generics(source: Any, target: Any) -> tuple[str, str]:
    from_, to = typing.get_origin(source) or source, typing.get_origin(target) or target
    if to is typing.Literal or from_ is typing.Literal:
        return "cast", ""
    if isinstance(from_, type) and isinstance(to, type):
        if is_model(from_) != is_model(to) and not issubclass(from_, dict):
            return "misfit", f"{type_name(source)} is not {type_name(target)}"
        plain = (str, int, float, bool)
        if (from_ in plain) != (to in plain):
            return "misfit", f"{type_name(source)} is not {type_name(target)}"
        args, wanted = typing.get_args(source), typing.get_args(target)
        if from_ is to and len(args) == len(wanted):
            ways = [fit(a, w) for a, w in zip(args, wanted, strict=True)]
            wrong = next((why for how, why in ways if how == "misfit"), None)
            if wrong is not None:
                return "misfit", wrong
            return ("same" if all(how == "same" for how, _ in ways) else "cast"), ""
    return "cast", ""


def cast_to(target: Any) -> Callable[[Any], Any]:
    """A function that makes an instance of `target` of a value, as pydantic does.

    Raises (when called):
        pydantic.ValidationError: the value cannot be cast.
    """
    if target is Any:
        return lambda value: value
    adapter: TypeAdapter[Any] = TypeAdapter(target)
    validate = adapter.validate_python
    if not isinstance(target, type):
        return lambda value: validate(value, from_attributes=True)

    def cast(value: Any) -> Any:
        return value if isinstance(value, target) else validate(value, from_attributes=True)

    return cast
