"""The columns of a run's tables, from the schemas in `graph.json` and the first rows. Knows kinds, reads no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from chainette.files.names import INPUT_NODE
from chainette.files.schema import Column, columns_in_csv, schema_layout
from chainette.files.tables.query import Row, TableColumn, TableInfo

_KINDS = {
    "string": "text",
    "int64": "number",
    "float64": "number",
    "bool": "bool",
    "timestamp": "time",
    "date": "time",
    "list": "list",
    "struct": "object",
    "object": "object",
    "json": "any",
}
_FAILED = {
    "_id": "text",
    "step": "text",
    "kind": "text",
    "message": "text",
    "attempts": "number",
    "raw": "text",
    "cause": "list",
}
_CALLS = {"_id": "text", "key": "text", "attempt": "number"}


class Fields:
    """What the graph says of the rows."""

    def __init__(self, graph: dict[str, Any]) -> None:
        nodes = graph.get("nodes")
        self._nodes: dict[str, dict[str, Any]] = {
            str(node.get("id")): node for node in (nodes if isinstance(nodes, list) else []) if isinstance(node, dict)
        }
        self._input = graph.get("input_schema")

    def _schemas(self, info: TableInfo) -> list[tuple[str, Any]]:
        """(prefix, schema) of the values in a row."""
        if info.kind == "input":
            return [("", self._input)]
        if info.kind == "step":
            return [("", self._nodes.get(info.step, {}).get("schema"))]
        if info.kind == "flattened":
            return [(INPUT_NODE, self._input), *((id, node.get("schema")) for id, node in self._nodes.items())]
        return []

    def packed(self, info: TableInfo) -> list[Column]:
        """The columns that CSV holds as JSON text."""
        layouts = [schema_layout(schema, prefix=prefix) for prefix, schema in self._schemas(info) if _is_schema(schema)]
        return columns_in_csv(layouts)

    def declared(self, info: TableInfo) -> list[Column]:
        """The columns that the models say, where they name their fields."""
        layouts = [schema_layout(schema, prefix=prefix) for prefix, schema in self._schemas(info) if _is_schema(schema)]
        return [column for layout in layouts for column in layout.columns if column.kind not in ("object", "extra")]

    def columns(self, info: TableInfo, first_rows: Callable[[], Iterable[Row]]) -> list[TableColumn]:
        """`_id` first. A flattened table has the columns of its first rows, whose order is that of the nodes."""
        declared = {column.name: column for column in self._declared(info)}
        seen: dict[str, TableColumn] = {}
        for row in first_rows():
            for key, value in row.items():
                known = seen.get(key)
                if known is None or (known.kind == "any" and value is not None):
                    seen[key] = TableColumn(key, kind_of(value))
        if info.kind == "flattened" and seen:
            return [declared.get(name, column) for name, column in seen.items()]
        ours: dict[str, TableColumn] = {name: seen[name] for name in ("_id", "_turn") if name in seen}
        found: dict[str, TableColumn] = {"_id": TableColumn("_id", "text")}
        for more in (ours, declared, _without(seen, declared)):
            found.update(more)
        return list(found.values())

    def _declared(self, info: TableInfo) -> list[TableColumn]:
        if info.kind in ("failed", "calls"):
            known = _FAILED if info.kind == "failed" else _CALLS
            return [TableColumn(name, kind) for name, kind in known.items()]
        found = []
        for prefix, schema in self._schemas(info):
            if not _is_schema(schema):
                continue
            layout = schema_layout(schema, prefix=prefix)
            said = schema.get("properties") or {}
            for column in layout.columns:
                if column.kind in _KINDS and not (column.kind == "object" and not layout.fields):
                    about = said.get(column.name.removeprefix(layout.stem))
                    help = about.get("description", "") if isinstance(about, dict) else ""
                    found.append(TableColumn(column.name, _KINDS[column.kind], str(help)))
        return found


def _is_schema(schema: Any) -> bool:
    return isinstance(schema, dict) and bool(schema)


def _without(seen: dict[str, TableColumn], declared: dict[str, TableColumn]) -> dict[str, TableColumn]:
    return {name: column for name, column in seen.items() if name not in declared}


def kind_of(value: Any) -> str:
    """`text`, `number`, `bool`, `list` or `object`; `any` of null."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if value is None:
        return "any"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"
