"""Blocks that are kept by columns: which of their columns SQL may ask, and which rows can hold a text."""

from __future__ import annotations

from typing import Any

from chainette.files.json_text import encode
from chainette.files.tables.parts import Columns
from chainette.files.tables.predicates import FieldSql, either_case
from chainette.files.tables.query import Path

_IN_TIMES = frozenset("0123456789tTzZ:-+.")


def numbered(table: Any) -> Any:
    """The table with the number of each row, `i`."""
    import numpy as np
    import pyarrow as pa

    return table.append_column("i", pa.array(np.arange(table.num_rows, dtype=np.int32)))


def column_field(content: Columns, path: Path) -> FieldSql | None:
    """A whole column of a simple type; None where rows must be looked at."""
    import pyarrow as pa

    if len(path) > 1 or path[0] not in content.table.column_names or any(c.name == path[0] for c in content.packed):
        return None
    type_ = content.table.schema.field(path[0]).type
    name = '"' + path[0].replace('"', '""') + '"'
    if "\0" in name or name.casefold() == '"i"':
        return None
    nothing = f"({name} IS NULL)"
    if pa.types.is_string(type_):
        return FieldSql("NULL::DOUBLE", name, nothing)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return FieldSql(f"{name}::DOUBLE", "NULL::VARCHAR", nothing)
    return None


def may_hold(content: Columns, text: str) -> Any:
    """The numbers of the rows that may have a text in any value, as a numpy array; None where all may."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    packed = {column.name for column in content.packed}
    found = np.zeros(content.table.num_rows, bool)
    for field, column in zip(content.table.schema, content.table.columns, strict=True):
        if pa.types.is_string(field.type):
            # JSON text has it as JSON spells it, and keys beside the values.
            wanted = encode(text)[1:-1].decode() if field.name in packed else text
            hit = pc.match_substring_regex(column, pattern="".join(map(either_case, wanted)))
            found |= pc.fill_null(hit, False).to_numpy()
        elif _may_say(field.type, text):
            return None
    return np.flatnonzero(found)


def _may_say(type_: Any, text: str) -> bool:
    """Whether a value of a type that is no text may be spelt with this in it."""
    import pyarrow as pa

    small = text.lower()
    if pa.types.is_boolean(type_):
        return small in "true" or small in "false"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return not set(small) - set("0123456789e+-.")
    return not (pa.types.is_temporal(type_) and set(text) - _IN_TIMES)
