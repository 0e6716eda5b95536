"""The columns a type has on disk, as Arrow types, one and the same for every part. Knows types, not files.

Derived from what the type says it is serialised as (its JSON schema), so serialisers and computed fields count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, from_json

from chainette.files.json_text import encode
from chainette.files.names import step_key

Kind = Literal["string", "int64", "float64", "bool", "timestamp", "date", "list", "struct", "json", "object", "extra"]

_SIMPLE: dict[str, Kind] = {"integer": "int64", "number": "float64", "boolean": "bool"}
_JSON_KINDS = ("json", "object", "extra")


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or one field of a struct, or (nameless) the items of a list."""

    name: str
    kind: Kind
    """`object` and `extra` are JSON text too: a whole object whose keys differ from row to row, and the keys of one
    that its type does not name. Both are read back under their own names."""
    parts: tuple[Column, ...] = ()
    stem: str = ""
    """What comes before the names of an `object` or `extra`, when read back."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How values of one type lie in a table: under their fields' names, or in the one column `value`."""

    columns: tuple[Column, ...]
    fields: bool
    """Whether the columns are the fields; otherwise there is one, `value`."""
    stem: str = ""
    """What the keys begin with: `qa.` in flattened rows."""

    @property
    def rest(self) -> str | None:
        """The column for keys that have none of their own."""
        return next((c.name for c in self.columns if c.kind in ("object", "extra")), None)

    @property
    def missing(self) -> dict[str, None]:
        """A row's keys where there is no value: a null under each name that is known."""
        return {c.name: None for c in self.columns if c.kind not in ("object", "extra")}


TURN = Column("_turn", "int64")
TURNS = Column("_turn", "list", (Column("", "int64"),))


def in_loops(found: Layout, loops: int) -> Layout:
    """The layout of rows that also say in which turn of so many loops they were made."""
    return replace(found, columns=(TURN if loops == 1 else TURNS, *found.columns)) if loops else found


def layout(type_: Any, *, prefix: str = "") -> Layout:
    """The layout of `type_`; with a prefix, under `prefix.field`, or `prefix` alone for what has no fields."""
    return schema_layout(_json_schema(type_), prefix=prefix)


def schema_layout(schema: dict[str, Any], *, prefix: str = "") -> Layout:
    """As `layout`, of what a type's JSON schema says."""
    definitions = schema.get("$defs", {})
    top, trail = _resolved(schema, definitions, frozenset())
    stem = f"{prefix}." if prefix else ""
    if "properties" in top and top.get("type") == "object" and not _may_be_null(schema, definitions):
        named = ((stem + name if prefix else step_key(name), field) for name, field in top["properties"].items())
        columns = [_column(name, field, definitions, trail) for name, field in named]
        if top.get("additionalProperties"):
            columns.append(Column(f"{stem}_extra", "extra", stem=stem))
        return Layout(tuple(columns), fields=True, stem=stem)
    column = _column(prefix or "value", top, definitions, trail)
    may_be_object = not top or top.get("type") == "object" or "anyOf" in top or "oneOf" in top
    if column.kind in ("json", "struct") and may_be_object:
        column = Column(column.name, "object", stem=stem)
    return Layout((column,), fields=False, stem=stem)


def _may_be_null(schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a value may be null as a whole, so that its columns would not tell it from one with only nulls."""
    while "$ref" in schema:
        schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
    return {"type": "null"} in schema.get("anyOf", ())


class _AsWritten(GenerateJsonSchema):
    """Says nothing of what a serialiser without a return type makes; pydantic says what went into it."""

    def ser_schema(
        self, schema: core_schema.SerSchema | core_schema.IncExSeqSerSchema | core_schema.IncExDictSerSchema
    ) -> JsonSchemaValue | None:
        known = super().ser_schema(schema)
        return {} if known is None and schema["type"] in ("function-plain", "function-wrap") else known


def _json_schema(type_: Any) -> dict[str, Any]:
    if type_ is Any:
        return {}
    try:
        return TypeAdapter(type_).json_schema(mode="serialization", by_alias=False, schema_generator=_AsWritten)
    except Exception:  # pydantic raises many kinds for what has no schema; such values are written as JSON text
        return {}


def _resolved(schema: Any, definitions: dict[str, Any], trail: frozenset[str]) -> tuple[dict[str, Any], frozenset[str]]:
    """The schema behind references and `X or null`; an empty one where it refers to itself."""
    while True:
        if not isinstance(schema, dict):
            return {}, trail
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in trail:
                return {}, trail
            trail |= {name}
            schema = definitions.get(name)
            continue
        options = [o for o in schema.get("anyOf", ()) if o != {"type": "null"}]
        if len(options) == 1:
            schema = options[0]
            continue
        if "allOf" in schema and len(schema["allOf"]) == 1:
            schema = schema["allOf"][0]
            continue
        return schema, trail


def _column(name: str, schema: Any, definitions: dict[str, Any], trail: frozenset[str]) -> Column:
    schema, trail = _resolved(schema, definitions, trail)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        kinds = {_column(name, option, definitions, trail) for option in options if option != {"type": "null"}}
        if {c.kind for c in kinds} == {"int64", "float64"}:
            return Column(name, "float64")
        return kinds.pop() if len(kinds) == 1 else Column(name, "json")
    if "enum" in schema or "const" in schema:
        return Column(name, _kind_of_values(schema.get("enum", [schema.get("const")])))
    type_ = schema.get("type")
    if type_ == "string":
        formats: dict[str, Kind] = {"date-time": "timestamp", "date": "date"}
        return Column(name, formats.get(schema.get("format", ""), "string"))
    if type_ in _SIMPLE:
        return Column(name, _SIMPLE[type_])
    parts: tuple[Column, ...] = ()
    if type_ == "array" and "prefixItems" not in schema and schema.get("items"):
        parts = (_column("", schema["items"], definitions, trail),)
    if type_ == "object" and schema.get("properties") and not schema.get("additionalProperties"):
        parts = tuple(_column(key, part, definitions, trail) for key, part in schema["properties"].items())
    if not parts or any(part.kind == "json" for part in parts):
        # JSON text inside a list or a struct would look like text: then the whole of it is JSON text.
        return Column(name, "json")
    return Column(name, "list" if type_ == "array" else "struct", parts)


def _kind_of_values(values: Sequence[Any]) -> Kind:
    kinds: dict[type, Kind] = {str: "string", int: "int64", bool: "bool", float: "float64"}
    found = {kinds.get(type(value), "json") for value in values if value is not None}
    return found.pop() if len(found) == 1 else "json"


def arrow_schema(columns: Sequence[Column], *, flat: bool = False) -> Any:
    """`_id`, then the columns. `flat` (CSV) knows only text and numbers: the rest is JSON text."""
    import pyarrow as pa

    fields = [pa.field("_id", pa.string(), nullable=False)]
    for column in columns:
        kind = "json" if flat and column.kind in ("list", "struct") else column.kind
        metadata = {"chainette": kind, "chainette_stem": column.stem} if kind in _JSON_KINDS else None
        fields.append(pa.field(column.name, _arrow_type(column, flat), metadata=metadata))
    return pa.schema(fields)


def _arrow_type(column: Column, flat: bool) -> Any:
    import pyarrow as pa

    match column.kind:
        case "int64":
            return pa.int64()
        case "float64":
            return pa.float64()
        case "bool":
            return pa.bool_()
        case "timestamp" if not flat:
            return pa.timestamp("us", tz="UTC")
        case "date" if not flat:
            return pa.date32()
        case "list" if not flat:
            return pa.list_(_arrow_type(column.parts[0], flat))
        case "struct" if not flat:
            return pa.struct([pa.field(part.name, _arrow_type(part, flat)) for part in column.parts])
    return pa.string()


def packer(column: Column, *, flat: bool = False) -> Callable[[Any], Any] | None:
    """What turns a value as JSON has it into what Arrow takes for this column; None when nothing needs to be done."""
    if column.kind in _JSON_KINDS or (flat and column.kind in ("list", "struct")):
        return _as_json
    if flat:
        return None
    if column.kind == "timestamp":
        return _as_timestamp
    if column.kind == "date":
        return date.fromisoformat
    if column.kind == "list":
        item = packer(column.parts[0])
        return None if item is None else lambda values: [None if v is None else item(v) for v in values]
    if column.kind == "struct":
        packers = {part.name: pack for part in column.parts if (pack := packer(part))}
        if packers:
            return lambda value: {k: packers[k](v) if v is not None and k in packers else v for k, v in value.items()}
    return None


def _as_json(value: Any) -> str:
    return encode(value).decode()


def _as_timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def json_columns(schema: Any) -> list[Column]:
    """The columns of a table of ours that hold JSON text."""
    found = []
    for field in schema:
        metadata = field.metadata or {}
        kind = metadata.get(b"chainette", b"").decode()
        if kind in _JSON_KINDS:
            found.append(Column(field.name, kind, stem=metadata.get(b"chainette_stem", b"").decode()))
    return found


def unpacked(rows: list[dict[str, Any]], packed: Sequence[Column]) -> list[dict[str, Any]]:
    """The rows with their JSON text read, and each key back under its own name."""
    for row in rows if packed else ():
        for column in packed:
            text = row.get(column.name)
            value = None if text is None else from_json(text)
            if column.kind == "json" or not isinstance(value, (dict, type(None))):
                row[column.name] = value
                continue
            if column.kind == "extra" or value is not None:
                row.pop(column.name, None)
            row.update((column.stem + key, item) for key, item in (value or {}).items())
    return rows


def columns_in_csv(layouts: list[Layout]) -> list[Column]:
    """The columns that hold JSON text in CSV."""
    nested = ("list", "struct")
    return [
        Column(c.name, "json" if c.kind in nested else c.kind, stem=c.stem)
        for layout in layouts
        for c in layout.columns
        if c.kind in (*nested, "json", "object", "extra")
    ]
