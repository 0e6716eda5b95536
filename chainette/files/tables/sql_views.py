"""What a run's tables are in SQL: a query over their files for each, with types from the models. Runs nothing.

Integers, texts and dates are as the model says them; what has no one type is JSON. A file that may end in half a line
is read such that this line is no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chainette.files.schema import Column

JSON, TEXT = "JSON", "VARCHAR"
_SIMPLE = {
    "string": TEXT,
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
}
_OF_KINDS = {"text": TEXT, "number": "DOUBLE", "bool": "BOOLEAN"}
LINE_BYTES = 8 << 20
"""Of a row, as a rule: some times this is taken for each file that is read at a time."""
LONG_LINE_BYTES = 256 << 20


def sql_type(column: Column, *, loose: bool = False) -> str:
    """`loose`: integers of any size that SQL has."""
    if column.kind == "list":
        return f"{sql_type(column.parts[0], loose=loose)}[]"
    if column.kind == "struct":
        return f"STRUCT({', '.join(f'{name_in_sql(p.name)} {sql_type(p, loose=loose)}' for p in column.parts)})"
    type_ = _SIMPLE.get(column.kind, JSON)
    return "HUGEINT" if loose and type_ == "BIGINT" else type_


def type_of_kind(kind: str) -> str:
    """Of a column that only the first rows tell of."""
    return _OF_KINDS.get(kind, JSON)


def name_in_sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_in_sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A part of a table."""

    path: Path
    """Where SQL finds it."""
    grows: bool = False
    """It may end in half a line."""
    said: dict[str, str] = field(default_factory=dict)
    """Columns whose value does not stand in it."""
    packed: Sequence[Column] = ()
    """Of Parquet and CSV: columns of JSON text."""
    names: Sequence[str] = ()
    """Of Parquet and CSV: the columns that are there."""


def view_of(columns: dict[str, str], files: Sequence[SqlFile], line_bytes: int = LINE_BYTES) -> str:
    """A SELECT of these columns (name to type) over all rows of the files, in order."""
    if not files:
        nothing = ", ".join(f"CAST(NULL AS {type_}) AS {name_in_sql(name)}" for name, type_ in columns.items())
        return f"SELECT {nothing} WHERE false"
    selects = []
    at = 0
    while at < len(files):
        end = at + 1
        while end < len(files) and _alike(files[at], files[end]):
            end += 1
        selects.append(_select(columns, files[at:end], line_bytes))
        at = end
    return " UNION ALL ".join(selects)


def _alike(one: SqlFile, other: SqlFile) -> bool:
    kinds = one.path.suffix == other.path.suffix and one.grows == other.grows and one.said == other.said
    return kinds and one.names == other.names and one.packed == other.packed


def _select(columns: dict[str, str], files: Sequence[SqlFile], line_bytes: int) -> str:
    first = files[0]
    paths = f"[{', '.join(text_in_sql(str(file.path)) for file in files)}]"
    match first.path.suffix:
        case ".parquet":
            return f"SELECT {_told(columns, first)} FROM read_parquet({paths}, hive_partitioning=false)"
        case ".csv":
            return _csv(columns, paths, first, line_bytes)
    return _lines(columns, paths, first, line_bytes)


def _lines(columns: dict[str, str], paths: str, file: SqlFile, line_bytes: int) -> str:
    own = {name: type_ for name, type_ in columns.items() if name not in file.said}
    read = ", ".join(f"{text_in_sql(name)}: {text_in_sql(_zoned(type_))}" for name, type_ in own.items())
    told = [
        f"{text_in_sql(file.said[name])} AS {name_in_sql(name)}" if name in file.said else _plain_time(name, type_)
        for name, type_ in columns.items()
    ]
    half = " WHERE _id IS NOT NULL" if file.grows else ""
    return (
        f"SELECT {', '.join(told)} FROM read_json({paths}, columns={{{read}}}, format='newline_delimited', "
        f"hive_partitioning=false, maximum_object_size={line_bytes}{', ignore_errors=true' if half else ''}){half}"
    )


def _zoned(type_: str) -> str:
    """Times are read with their zone, which would be overlooked."""
    return "TIMESTAMPTZ" if type_ == "TIMESTAMP" else type_


def _plain_time(name: str, type_: str) -> str:
    quoted = name_in_sql(name)
    return f"CAST({quoted} AS TIMESTAMP) AS {quoted}" if type_ == "TIMESTAMP" else quoted


def _csv(columns: dict[str, str], paths: str, file: SqlFile, line_bytes: int) -> str:
    packed = {column.name for column in file.packed}
    types = {name: TEXT if name in packed or name not in columns else columns[name] for name in file.names}
    types = {name: _zoned(TEXT if _is_nested(type_) else type_) for name, type_ in types.items()}
    read = ", ".join(f"{text_in_sql(name)}: {text_in_sql(type_)}" for name, type_ in types.items())
    return (
        f"SELECT {_told(columns, file)} FROM read_csv({paths}, columns={{{read}}}, header=true, delim=',', quote='\"', "
        f"escape='\"', auto_detect=false, allow_quoted_nulls=false, hive_partitioning=false, "
        f"max_line_size={line_bytes})"
    )


def _is_nested(type_: str) -> bool:
    return type_.endswith("[]") or type_.startswith("STRUCT")


def _told(columns: dict[str, str], file: SqlFile) -> str:
    return ", ".join(f"{_value(name, type_, file)} AS {name_in_sql(name)}" for name, type_ in columns.items())


def _value(name: str, type_: str, file: SqlFile) -> str:
    """A column, or the key of an object that stands as JSON text in one."""
    packed = {column.name: column for column in file.packed}
    if name in file.names and (name not in packed or packed[name].kind == "json"):
        quoted = name_in_sql(name)
        if _is_nested(type_) and name in packed:
            return f"CAST(CAST({quoted} AS JSON) AS {type_})"
        return f"CAST({quoted} AS {type_})"
    for column in packed.values():
        if column.kind in ("object", "extra") and name.startswith(column.stem):
            key = name[len(column.stem) :].replace("~", "~0").replace("/", "~1")
            found = f"json_extract({name_in_sql(column.name)}, {text_in_sql('/' + key)})"
            return f"({found} ->> '$')" if type_ == TEXT else f"CAST({found} AS {type_})"
    return f"CAST(NULL AS {type_})"
