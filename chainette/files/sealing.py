"""Turns an open part (JSONL) into the Parquet or CSV file it becomes, and back. Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error, sync_folder
from chainette.files.json_text import encode_rows, shortened
from chainette.files.parts import CsvPart, ParquetPart
from chainette.files.schema import Column, Layout, arrow_schema, packer

_GROUP_ROWS = 10_000
_GROUP_BYTES = 32 << 20

SealedFormat = Literal["parquet", "csv"]


def seal(part: Path, target: Path, format: SealedFormat, layouts: list[Layout]) -> None:
    """Write the rows of `part` to `target` and remove `part`.

    `layouts` say what stands in a row: one for a step's file, one per node for the flattened rows.

    Raises:
        RunFolderError: a value does not fit its column (the part stays), or the file cannot be written.
    """
    flat = format == "csv"
    columns = [column for layout in layouts for column in layout.columns]
    schema = arrow_schema(columns, flat=flat)
    gather = _Gatherer(columns, layouts, flat)
    temporary = part.with_name(f".{target.name}.tmp")
    try:
        with _writer(temporary, schema, format) as writer:
            for lines in _groups(part):
                rows = [from_json(line) for line in lines]
                writer.write_batch(_batch(rows, gather, schema, part))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        sync_folder(target.parent)
        part.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.removedirs(target.parent)
        raise folder_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def unseal(sealed: Path, part: Path, rows: int, in_csv: list[Column]) -> None:
    """The first `rows` rows of a sealed part as the open part they were, where it can grow again. `sealed` stays.

    Raises:
        RunFolderError: it cannot be read or written.
    """
    source = ParquetPart(sealed) if sealed.suffix == ".parquet" else CsvPart(sealed, in_csv)
    temporary = part.with_name(f".{part.name}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            for start in range(0, rows, _GROUP_ROWS):
                file.write(encode_rows(list(source.rows(start, min(rows, start + _GROUP_ROWS)))))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, part)
        sync_folder(part.parent)
    except OSError as error:
        raise folder_error(part, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _groups(part: Path) -> Iterator[list[bytes]]:
    with open(part, "rb") as file:
        while lines := list(islice(file, 500)):
            while len(lines) < _GROUP_ROWS and sum(map(len, lines)) < _GROUP_BYTES:
                more = list(islice(file, 500))
                if not more:
                    break
                lines += more
            yield lines


def _writer(path: Path, schema: Any, format: SealedFormat) -> Any:
    if format == "parquet":
        from pyarrow.parquet import ParquetWriter

        return ParquetWriter(path, schema, compression="zstd")
    from pyarrow.csv import CSVWriter

    return CSVWriter(path, schema)


class _Gatherer:
    """Puts the keys of a row under the columns they belong to."""

    def __init__(self, columns: list[Column], layouts: list[Layout], flat: bool) -> None:
        self.columns = columns
        self.packers = {c.name: pack for c in columns if (pack := packer(c, flat=flat))}
        self._known = {c.name for c in columns} | {"_id"}
        # The longer stem first: the keys of `a.b` are not those of `a`.
        self._layouts = sorted(layouts, key=lambda layout: -len(layout.stem))

    def fits(self, rows: list[dict[str, Any]]) -> bool:
        return set(chain.from_iterable(rows)) <= self._known

    def fit(self, row: dict[str, Any]) -> dict[str, Any]:
        """Raises: ValueError: a key that no column is for."""
        if row.keys() <= self._known:
            return row
        fitted: dict[str, Any] = {}
        rest: dict[str, dict[str, Any]] = {}
        for key, value in row.items():
            if key in self._known:
                fitted[key] = value
            else:
                name, stem = self._home(key)
                rest.setdefault(name, {})[key.removeprefix(stem)] = value
        for name, values in rest.items():
            # An object without declared fields may have a key that is spelt like its own column.
            fitted[name] = {name: fitted[name], **values} if name in fitted else values
        return fitted

    def _home(self, key: str) -> tuple[str, str]:
        for layout in self._layouts:
            if key.startswith(layout.stem) and layout.rest is not None:
                return layout.rest, layout.stem
        raise ValueError(f'"{key}" is not a field of the declared type')


def _batch(rows: list[dict[str, Any]], gather: _Gatherer, schema: Any, part: Path) -> Any:
    import pyarrow as pa

    try:
        fitted = rows if gather.fits(rows) else [gather.fit(row) for row in rows]
        arrays = [pa.array([row["_id"] for row in rows], pa.string())]
        for column in gather.columns:
            values = _packed([row.get(column.name) for row in fitted], column, gather)
            arrays.append(pa.array(values, schema.field(column.name).type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
        raise RunFolderError(_misfit(rows, gather, schema, part, error)) from error


def _packed(values: list[Any], column: Column, gather: _Gatherer) -> list[Any]:
    pack = gather.packers.get(column.name)
    return values if pack is None else [None if value is None else pack(value) for value in values]


def _misfit(rows: list[dict[str, Any]], gather: _Gatherer, schema: Any, part: Path, error: Exception) -> str:
    """Which value of which row it was."""
    import pyarrow as pa

    kept = f"the rows are whole in {part}; write them with --format jsonl"
    for row in rows:
        try:
            fitted = gather.fit(row)
        except ValueError as why:
            return f'{part.parent.name}, row "{row.get("_id")}": {why} ({kept})'
        for column in gather.columns:
            value = fitted.get(column.name)
            try:
                pa.array(_packed([value], column, gather), schema.field(column.name).type)
            except Exception as why:  # the same kinds as above, and what pyarrow raises beside them
                where = f'{part.parent.name}, row "{row.get("_id")}", field "{column.name}"'
                return f"{where}: {shortened(value)} does not fit a column of {column.kind}: {why} ({kept})"
    return f"{part.parent.name}: {error} ({kept})"
