"""Which tables a run has for SQL, with their columns and files. Knows the run folder, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainette.files.names import INPUT_NODE, OPEN, folder_name
from chainette.files.parts import CsvPart
from chainette.files.schema import Column, json_columns
from chainette.files.tables.fields import Fields
from chainette.files.tables.query import TableInfo
from chainette.files.tables.sql_views import JSON, TEXT, SqlFile, sql_type, type_of_kind
from chainette.files.tables.tables import CALLS, FAILED, FLATTENED, Tables

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

_FAILED = {
    "_id": TEXT,
    "step": TEXT,
    "kind": TEXT,
    "message": TEXT,
    "attempts": "BIGINT",
    "raw": TEXT,
    "cause": f"{TEXT}[]",
    "_turn": JSON,
}
_CALLS = {
    "_id": TEXT,
    "step": TEXT,
    "turn": JSON,
    "attempt": "BIGINT",
    "text": TEXT,
    "reasoning": TEXT,
    "finish_reason": TEXT,
    "error": JSON,
    "usage": "STRUCT(prompt_tokens BIGINT, completion_tokens BIGINT, cached_tokens BIGINT)",
    "started_s": "DOUBLE",
    "seconds": "DOUBLE",
    "queue_s": "DOUBLE",
    "first_token_s": "DOUBLE",
    "replica": TEXT,
    "sent": "BIGINT",
    "reused": JSON,
    "key": TEXT,
}


@dataclass(slots=True)
class SqlTable:
    """A table, a view over files."""

    name: str
    columns: dict[str, str]
    """Name to SQL type."""
    loose_columns: dict[str, str]
    """The same with types that hold more."""
    files: list[SqlFile]
    step: str = ""
    """The node whose rows they are."""


def sql_tables(reader: RunReader, root: Path) -> list[SqlTable]:
    """The tables, also those without rows yet; a step that is called as another table is the one that stands for it.

    `root` is what SQL is to call the run's folder.

    Raises:
        RunFolderError: the run cannot be read.
    """
    tables = Tables(reader)
    fields = Fields(reader.graph())
    steps = reader.step_ids()
    infos = [
        TableInfo(INPUT_NODE, "input"),
        *(TableInfo(id, "step", id) for id in steps),
        TableInfo(FLATTENED, FLATTENED),
    ]
    found: dict[str, SqlTable] = {}
    for info in sorted(infos, key=lambda one: one.kind != "step"):
        if info.name.casefold() in found or _writes_none(reader, info):
            continue
        strict, loose = _columns(tables, fields, info)
        found[info.name.casefold()] = SqlTable(
            info.name, strict, loose, _files(reader, root, tables.below(info), fields.packed(info)), info.step
        )
    order = {info.name.casefold(): number for number, info in enumerate(infos)}
    listed = [found[name] for name in sorted(found, key=lambda name: order[name])]
    for name, columns, files in (
        (FAILED, _FAILED, _failed_files(reader, root)),
        (CALLS.rstrip("/"), _CALLS, _call_files(reader, root)),
    ):
        if name not in found:
            listed.append(SqlTable(name, columns, columns, files))
    return listed


def _writes_none(reader: RunReader, info: TableInfo) -> bool:
    """A node of control flow, or one whose rows are not kept."""
    return (
        info.kind == "step"
        and not reader.parts(f"steps/{folder_name(info.step)}")
        and info.step not in _written(reader)
    )


def _written(reader: RunReader) -> set[str]:
    return {str(node.get("id")) for node in reader.graph().get("nodes") or [] if node.get("written", True)}


def _columns(tables: Tables, fields: Fields, info: TableInfo) -> tuple[dict[str, str], dict[str, str]]:
    declared = {column.name: column for column in fields.declared(info)}
    strict: dict[str, str] = {}
    loose: dict[str, str] = {}
    seen: set[str] = set()
    for column in tables.columns(info.name):
        if column.name.casefold() in seen:  # SQL does not tell `Text` from `text`
            continue
        seen.add(column.name.casefold())
        if column.name == "_id":
            strict["_id"] = loose["_id"] = TEXT
        elif column.name == "_turn":
            strict["_turn"] = loose["_turn"] = JSON if column.kind == "list" else "BIGINT"
        elif column.name in declared:
            strict[column.name] = sql_type(declared[column.name])
            loose[column.name] = sql_type(declared[column.name], loose=True)
        else:
            strict[column.name] = type_of_kind(column.kind)
            loose[column.name] = TEXT if column.kind == "text" else JSON
    return strict, loose


def _files(reader: RunReader, root: Path, below: str, packed: Sequence[Column] = (), **said: str) -> list[SqlFile]:
    parts = reader.parts(below)
    return [_file(reader, root, part.path, part is parts[-1], said, packed) for part in parts]


def _file(
    reader: RunReader, root: Path, path: Path, is_last: bool, said: dict[str, str], packed: Sequence[Column] = ()
) -> SqlFile:
    where = root / path.relative_to(reader.path)
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_schema

        schema: Any = read_schema(path)
        return SqlFile(where, packed=json_columns(schema), names=tuple(schema.names))
    if path.suffix == ".csv":
        return SqlFile(where, names=tuple(CsvPart(path, []).names()), packed=packed)
    return SqlFile(where, grows=is_last or OPEN in path.parts, said=said)


def _failed_files(reader: RunReader, root: Path) -> list[SqlFile]:
    names = {folder_name(id): id for id in [INPUT_NODE, *reader.step_ids()]}
    parts = sorted(reader.parts("failed"), key=lambda part: part.path.stem)
    return [_file(reader, root, p.path, True, {"step": names.get(p.path.stem, p.path.stem)}) for p in parts]


def _call_files(reader: RunReader, root: Path) -> list[SqlFile]:
    return [file for id in reader.step_ids() for file in _files(reader, root, f"calls/{folder_name(id)}", step=id)]
