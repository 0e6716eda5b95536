"""Values of one type as what JSON can say, many at a time, and as the lines of a step's and the flattened files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic_core import from_json

from chainette.files.json_text import encode, plain
from chainette.rows import Failure

_AS_THEY_ARE = (str, int, bool, float, type(None))


@dataclass(slots=True)
class Dumped:
    """JSON-able values; `names` are the keys that each of them has, in order, where all are alike."""

    values: list[Any]
    names: tuple[str, ...] | None = None


class Dumper:
    """Knows how the values of one type are written. Of values without a declared type it looks at their classes."""

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._many = _adapter(type_)
        self._names = _closed_fields(type_)
        self._by_dict = self._names is not None and _needs_no_dumping(type_)
        self._by_class: dict[type, Dumper] = {}

    def dump(self, values: list[Any]) -> Dumped:
        """One JSON-able value per value; a `Failure` among them becomes None."""
        classes = set(map(type, values))
        if self._by_dict and classes == {self._type}:
            return Dumped([value.__dict__ for value in values], self._names)
        if self._type is Any and len(classes) == 1:
            (only,) = classes
            if issubclass(only, BaseModel):
                if only not in self._by_class:
                    self._by_class[only] = Dumper(only)
                return self._by_class[only].dump(values)
        if Failure in classes:
            values = [None if type(value) is Failure else value for value in values]
        try:
            dumped: list[Any] = self._many.dump_python(values, mode="json", by_alias=False, warnings=False)
        except Exception:  # a serialiser of the user's own, or a value that is not of the declared type
            dumped = [self._dump_one(value) for value in values]
        return Dumped(dumped, self._names)

    def _dump_one(self, value: Any) -> Any:
        try:
            return self._many.dump_python([value], mode="json", by_alias=False, warnings=False, fallback=plain)[0]
        except Exception:  # as above
            return from_json(encode(value))


def _adapter(type_: Any) -> TypeAdapter[list[Any]]:
    try:
        return TypeAdapter(list[type_])
    except Exception:  # a class that pydantic has no schema for
        return TypeAdapter(list[Any])


def _closed_fields(type_: Any) -> tuple[str, ...] | None:
    if not (isinstance(type_, type) and issubclass(type_, BaseModel)) or issubclass(type_, RootModel):
        return None
    if type_.model_config.get("extra") == "allow" or type_.__pydantic_decorators__.model_serializers:
        return None
    fields = type_.model_fields.items()
    if any(f.exclude or getattr(f, "exclude_if", None) for _, f in fields):
        return None
    return (*(name for name, _ in fields), *type_.model_computed_fields)


def _needs_no_dumping(type_: type[BaseModel]) -> bool:
    """Whether a value's `__dict__` is what a dump would give: only text and numbers, and nothing of its own."""
    found = type_.__pydantic_decorators__
    members = [member for cls in type_.__mro__ if cls is not BaseModel for member in vars(cls).items()]
    if any(name == "__get_pydantic_core_schema__" or isinstance(m, cached_property) for name, m in members):
        return False
    if found.field_serializers or found.computed_fields or set(type_.model_config) - {"extra", "frozen", "strict"}:
        return False
    return all(
        f.annotation in _AS_THEY_ARE and all(type(m).__module__ == "annotated_types" for m in f.metadata)
        for f in type_.model_fields.values()
    )


def id_rows(ids: Sequence[str], dumped: Dumped) -> list[dict[str, Any]]:
    """The rows of a step's file: `_id` and the fields, or `_id` and `value`."""
    pairs = zip(ids, dumped.values, strict=True)
    if dumped.names is not None:
        try:
            return [{"_id": row_id, **value} for row_id, value in pairs]
        except TypeError:  # a value that is not of the declared type
            pairs = zip(ids, dumped.values, strict=True)
    return [_id_row(row_id, value) for row_id, value in pairs]


def _id_row(row_id: str, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        return {"_id": row_id, "value": value}
    if "_id" in value:
        value = {("_source_id" if key == "_id" else key): value[key] for key in value}
    return {"_id": row_id, **value}


@dataclass(slots=True)
class FlatColumn:
    """One node's share of the flattened rows."""

    name: str
    dumped: Dumped
    positions: Sequence[int]
    """Where in `dumped` each final row finds its value, -1 for none."""
    missing: dict[str, Any]
    """What stands in a row without a value: nulls, where the type says under which names."""


def flat_rows(final_ids: Sequence[str], columns: Sequence[FlatColumn]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"_id": row_id} for row_id in final_ids]
    for column in columns:
        if column.dumped.names and len(column.dumped.names) > 1:
            _add_fields(rows, column, column.dumped.names)
        else:
            _add_values(rows, column)
    return rows


def _add_fields(rows: list[dict[str, Any]], column: FlatColumn, names: tuple[str, ...]) -> None:
    keys = tuple(f"{column.name}.{name}" for name in names)
    values = column.dumped.values
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(*names)
    try:
        for row, position in zip(rows, column.positions, strict=True):
            row.update(zip(keys, pick(values[position]), strict=False) if position >= 0 else column.missing)
    except (KeyError, TypeError):  # a value that is not of the declared type
        _add_values(rows, column)


def _add_values(rows: list[dict[str, Any]], column: FlatColumn) -> None:
    stem = f"{column.name}."
    for row, position in zip(rows, column.positions, strict=True):
        if position < 0:
            row.update(column.missing)
            continue
        value = column.dumped.values[position]
        if type(value) is dict:
            for key in value:
                row[stem + key] = value[key]
        else:
            row[column.name] = value
