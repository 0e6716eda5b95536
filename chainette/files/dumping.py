"""Values of one type as what JSON can say, many at a time, and as the lines of a step's and the flattened files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

import orjson
from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic_core import from_json

from chainette.files.json_text import BASE64, bytes_as_text, encode, exactly, in_order
from chainette.files.names import step_key
from chainette.files.writable import says_it_all, unwritable
from chainette.rows import Failure

_AS_THEY_ARE = (str, int, bool, float, type(None))


_Shape = tuple[str, tuple[str, ...] | None]
"""A column's name and the keys below it, or None where it is a plain value."""

Turn = int | list[int]
"""Which turn of the loop a row is from; in nested loops one number for each, the outermost first."""


@dataclass(slots=True)
class Dumped:
    """JSON-able values; `names` are the keys that each of them has, in order, where all are alike."""

    values: list[Any]
    names: tuple[str, ...] | None = None


class CannotHold(ValueError):
    """A file cannot hold the value at `index`."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


class Dumper:
    """Knows how the values of one type are written. Of values without a declared type it looks at their classes."""

    def __init__(self, type_: Any, *, exact: bool = True) -> None:
        """Without `exact`, what JSON cannot say is said as near as it can be."""
        self._type = type_
        self._exact = exact
        self._many = _adapter(type_)
        self._names = _closed_fields(type_)
        self._by_dict = self._names is not None and _needs_no_dumping(type_)
        self._says_it_all = says_it_all(type_)
        self._by_class: dict[type, Dumper] = {}

    def dump(self, values: list[Any]) -> Dumped:
        """One JSON-able value per value; a `Failure` among them becomes None.

        Raises:
            CannotHold: JSON has no way to say one of them (never without `exact`).
        """
        classes = set(map(type, values))
        if self._by_dict and classes == {self._type}:
            return Dumped([value.__dict__ for value in values], self._names)
        if self._type is Any and len(classes) == 1:
            (only,) = classes
            if issubclass(only, BaseModel):
                if only not in self._by_class:
                    self._by_class[only] = Dumper(only, exact=self._exact)
                return self._by_class[only].dump(values)
        if Failure in classes:
            values = [None if type(value) is Failure else value for value in values]
        try:
            dumped: list[Any] = self._many.dump_python(values, mode="json", by_alias=False, warnings=False)
            if not self._says_it_all and not _is_json(values):
                as_python = self._many.dump_python(values, by_alias=False, warnings=False)
                if not _is_json(as_python):
                    dumped = [_settled(*pair) for pair in zip(dumped, as_python, strict=True)]
        except Exception:  # a serialiser of the user's own, or a value that is not of the declared type
            dumped = [self._dump_one(index, value) for index, value in enumerate(values)]
        return Dumped(dumped, self._names)

    def _dump_one(self, index: int, value: Any) -> Any:
        try:
            dumped = self._many.dump_python([value], mode="json", by_alias=False, warnings=False)[0]
            as_python = self._many.dump_python([value], by_alias=False, warnings=False)[0]
            return _settled(dumped, as_python)
        except Exception:  # as above
            pass
        try:
            as_python = self._many.dump_python([value], by_alias=False, warnings=False)[0]
            return from_json(exactly(as_python))
        except Exception:  # as above
            pass
        try:
            return from_json(exactly(value) if self._exact else encode(value))
        except Exception as error:  # as above
            why = unwritable(value) or str(error.__cause__ or error)
            raise CannotHold(index, why) from error


def _is_json(values: list[Any]) -> bool:
    """Whether there are neither sets nor bytes in these, nor anything else that is not soon JSON."""
    try:
        orjson.dumps(values, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:
        return False
    return True


def _settled(as_json: Any, as_python: Any) -> Any:
    """A dump to JSON with its sets in order and its bytes told from text; the dump to Python says where they are."""
    kind = type(as_python)
    if kind is dict and type(as_json) is dict and len(as_json) == len(as_python):
        pairs = zip(as_json.items(), as_python.values(), strict=True)
        return {key: _settled(value, other) for (key, value), other in pairs}
    if kind in (list, tuple) and type(as_json) is list and len(as_json) == len(as_python):
        return [_settled(value, other) for value, other in zip(as_json, as_python, strict=True)]
    if kind in (set, frozenset) and type(as_json) is list:
        nested = any(isinstance(item, (frozenset, tuple, bytes)) for item in as_python)
        return from_json(exactly(as_python)) if nested else in_order(as_json)
    if kind is bytes and type(as_json) is str and as_json.startswith(BASE64):
        return bytes_as_text(as_python)
    return as_json


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


def id_rows(ids: Sequence[str], dumped: Dumped, turns: Sequence[Turn] | None = None) -> list[dict[str, Any]]:
    """The rows of a step's file: `_id`, in a loop `_turn`, and the fields or `value`."""
    if dumped.names is not None:
        try:
            if turns is not None:
                columns = zip(ids, turns, dumped.values, strict=True)
                return [{"_id": row_id, "_turn": turn, **value} for row_id, turn, value in columns]
            return [{"_id": row_id, **value} for row_id, value in zip(ids, dumped.values, strict=True)]
        except TypeError:  # a value that is not of the declared type
            pass
    if turns is not None:
        columns = zip(ids, turns, dumped.values, strict=True)
        return [{"_id": row_id, "_turn": turn, **_fields(value)} for row_id, turn, value in columns]
    return [{"_id": row_id, **_fields(value)} for row_id, value in zip(ids, dumped.values, strict=True)]


def _fields(value: Any) -> Any:
    if type(value) is not dict:
        return {"value": value}
    if "_id" in value or "_turn" in value or "_source_id" in value or "_source_turn" in value:
        return {step_key(key): value[key] for key in value}
    return value


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
    """A row per final id with every column's keys, in the order of the columns."""
    shapes = [_shape(column) for column in columns]
    if None not in shapes:
        aligned = [_aligned(column) for column in columns]
        try:
            return _builder(tuple(cast("list[_Shape]", shapes)))(final_ids, *aligned)
        except (KeyError, TypeError):  # a value that is not of the declared type
            pass
    rows: list[dict[str, Any]] = [{"_id": row_id} for row_id in final_ids]
    for column in columns:
        _add_values(rows, column)
    return rows


def _shape(column: FlatColumn) -> _Shape | None:
    names = column.dumped.names
    if names is not None:
        return column.name, names
    plain_values = column.missing.keys() == {column.name} and dict not in set(map(type, column.dumped.values))
    return (column.name, None) if plain_values else None


def _aligned(column: FlatColumn) -> Sequence[Any]:
    """Per final row the column's value."""
    values, positions = column.dumped.values, column.positions
    if positions == range(len(values)):
        return values
    nothing = None if column.dumped.names is None else dict.fromkeys(column.dumped.names)
    return [values[position] if position >= 0 else nothing for position in positions]


@lru_cache(maxsize=64)
def _builder(shapes: tuple[_Shape, ...]) -> Callable[..., list[dict[str, Any]]]:
    """Builds the rows of columns whose keys are known: three times as fast from a dict display as from `update`.

    The source is made of `repr`s and counters only, as that of a namedtuple is.
    """
    entries = ["'_id': i"]
    for number, (column, names) in enumerate(shapes):
        if names is None:
            entries.append(f"{column!r}: v{number}")
        else:
            entries += [f"{column + '.' + name!r}: v{number}[{name!r}]" for name in names]
    lists = ", ".join(["ids", *(f"l{number}" for number in range(len(shapes)))])
    items = "".join(f"{name}, " for name in ["i", *(f"v{number}" for number in range(len(shapes)))])
    source = f"lambda {lists}: [{{{', '.join(entries)}}} for {items} in zip({lists}, strict=True)]"
    return cast("Callable[..., list[dict[str, Any]]]", eval(source, {"__builtins__": {"zip": zip}}))


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
