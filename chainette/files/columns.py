"""Which columns rows have as one table: what their models say, and where those say nothing what the values say.

Knows rows and columns, neither files nor steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from chainette.errors import RunFolderError, nearest
from chainette.files.schema import Column, Kind

MAX_COLUMNS = 2_000
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53
"""Up to here every integer is a float too."""
_OPEN = ("json", "object", "extra")
"""Kinds of columns of which the model does not say what is in them."""
_KINDS: dict[type, Kind] = {str: "string", bool: "bool", float: "float64"}


@dataclass(frozen=True, slots=True)
class Pick:
    """A column that was asked for: a key of the row, or what lies below one."""

    name: str
    """In the table."""
    key: str
    path: tuple[str, ...] = ()

    def of(self, row: Mapping[str, Any]) -> Any:
        value = row.get(self.key)
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has it, be it null."""
        value: Any = row
        for name in (self.key, *self.path):
            if not isinstance(value, Mapping) or name not in value:
                return False
            value = value[name]
        return True


def picks(wanted: Sequence[str], rows: Iterable[Mapping[str, Any]], declared: Sequence[Column]) -> list[Pick]:
    """Where each of the wanted columns stands. Reads no more rows than it takes to find them all.

    Raises:
        RunFolderError: a column is in no row; with the nearest name.
    """
    found: dict[str, Pick] = {}
    known: dict[str, None] = {}
    for row in rows:
        known.update(dict.fromkeys(row))
        for name in wanted:
            if name not in found and (pick := _pick(name, row)) is not None:
                found[name] = pick
        if len(found) == len(set(wanted)):
            break
    if not known:
        named = {"_id": Column("_id", "string")} | {column.name: column for column in declared}
        known = dict.fromkeys(named)
        found = {name: pick for name in wanted if (pick := _declared_pick(name, named)) is not None}
    for name in wanted:
        if name not in found:
            raise RunFolderError(f'no row has a column "{name}" ({nearest(name, known)})')
    return [found[name] for name in dict.fromkeys(wanted)]


def _pick(name: str, row: Mapping[str, Any]) -> Pick | None:
    """The longest key that the name begins with comes first: keys may have dots in them."""
    if name in row:
        return Pick(name, name)
    words = name.split(".")
    for length in range(len(words) - 1, 0, -1):
        pick = Pick(name, ".".join(words[:length]), tuple(words[length:]))
        if pick.is_in(row):
            return pick
    return None


def _declared_pick(name: str, declared: Mapping[str, Column]) -> Pick | None:
    """As `_pick`, where there is no row: by what the columns hold. What is in an open one nobody can say."""
    words = name.split(".")
    for length in range(len(words), 0, -1):
        column = declared.get(".".join(words[:length]))
        path = tuple(words[length:])
        for part in path:
            if column is None or column.kind in _OPEN:
                break
            column = next((one for one in column.parts if column.kind == "struct" and one.name == part), None)
        if column is not None:
            return Pick(name, ".".join(words[:length]), path)
    return None


class Survey:
    """Goes through all rows once and says which columns hold them without loss."""

    def __init__(self, declared: Sequence[Column]) -> None:
        self._declared = {column.name: column for column in declared}
        self._found: dict[str, Column | None] = {}
        self._empty_lists: set[str] = set()
        self._large: set[str] = set()
        """Columns with integers that no float is."""
        self.rows = 0

    def see(self, row: Mapping[str, Any]) -> None:
        """
        Raises:
            RunFolderError: more columns than a table should have.
        """
        self.rows += 1
        for key, value in row.items():
            if key not in self._found:
                self._add(key)
            if value is None:
                continue
            column = self._found[key]
            if value == [] and column is None:
                self._empty_lists.add(key)
                continue
            if column is None or not fits(column, value):
                column = self._found[key] = self._wider(key, column, value)
            if column.kind in ("int64", "list") and _is_large(value):
                self._large.add(key)

    def _wider(self, key: str, column: Column | None, value: Any) -> Column:
        if column is None and (isinstance(value, list) or key not in self._empty_lists):
            return _column_of(key, value)
        wider = widened(key, column, value)
        # What is an integer column's is not always a float's.
        return Column(key, "json") if key in self._large else wider

    def _add(self, key: str) -> None:
        if len(self._found) == MAX_COLUMNS:
            raise RunFolderError(
                f"the rows have more than {MAX_COLUMNS:,} different keys, too many for the columns of a table "
                "(export JSONL, or name some with --columns)"
            )
        column = self._declared.get(key)
        self._found[key] = None if column is None or column.kind in _OPEN else column

    def columns(self) -> list[Column]:
        """In the order of the model, then as they came; of a table without rows all that the model has."""
        if not self.rows:
            return [self._empty(name) for name in self._declared]
        kept = [key for key in ("_id", "_turn", *self._declared) if key in self._found]
        return [self._found[name] or self._empty(name) for name in dict.fromkeys([*kept, *self._found])]

    def _empty(self, name: str) -> Column:
        """Of a column without a value."""
        if name in self._empty_lists:
            return Column(name, "list", (Column("", "string"),))
        column = self._declared.get(name)
        return Column(name, "string") if column is None or column.kind in _OPEN else column


def fits(column: Column, value: Any) -> bool:
    """Whether the column holds the value, and gives it back as it was."""
    match column.kind:
        case "string":
            return type(value) is str
        case "int64":
            return type(value) is int and value in _INT64
        case "float64":
            return type(value) is float or (type(value) is int and -_EXACT <= value <= _EXACT)
        case "bool":
            return type(value) is bool
        case "timestamp":
            return _reads(datetime.fromisoformat, value)
        case "date":
            return _reads(date.fromisoformat, value)
        case "list":
            item = column.parts[0]
            return isinstance(value, list) and all(v is None or fits(item, v) for v in value)
        case "struct":
            parts = {part.name: part for part in column.parts}
            return isinstance(value, dict) and all(
                name in parts and (v is None or fits(parts[name], v)) for name, v in value.items()
            )
    return True


def _reads(read: Callable[[str], Any], value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        read(value)
    except ValueError:
        return False
    return True


def widened(name: str, column: Column | None, value: Any) -> Column:
    """A column for what was in `column` and for `value` too, which does not fit it. None: lists and something else."""
    seen = _column_of(name, value)
    if column is not None and {column.kind, seen.kind} == {"int64", "float64"} and fits(_FLOAT, value):
        return Column(name, "float64")
    if column is not None and column.kind == seen.kind == "list":
        kinds = {column.parts[0].kind, seen.parts[0].kind}
        if kinds == {"int64", "float64"} and all(v is None or fits(_FLOAT, v) for v in value):
            return Column(name, "list", (_FLOAT,))
    return Column(name, "json")


_FLOAT = Column("", "float64")


def _is_large(value: Any) -> bool:
    if type(value) is int:
        return not -_EXACT <= value <= _EXACT
    return isinstance(value, list) and any(map(_is_large, value))


def _column_of(name: str, value: Any) -> Column:
    if type(value) is int:
        return Column(name, "int64" if value in _INT64 else "json")
    if isinstance(value, list):
        items = [v for v in value if v is not None]
        item = _column_of("", items[0]) if items else Column("", "string")
        if item.kind == "int64" and any(type(v) is float for v in items):
            item = _FLOAT
        if item.kind not in ("json", "list") and all(fits(item, v) for v in items):
            return Column(name, "list", (item,))
    return Column(name, _KINDS.get(type(value), "json"))
