"""Rows from Parquet and Arrow files, saved datasets and tables in memory, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainette.errors import InputError
from chainette.files.opening import Place
from chainette.files.pieces import Piece
from chainette.files.schema import json_columns, unpacked


def parquet_pieces(place: Place, size: int) -> Iterator[Piece]:
    """Row groups are read one at a time, a batch of rows at a time."""
    import pyarrow as pa

    with place.open() as file:
        try:
            parquet = _parquet_file(file)
            packed = json_columns(parquet.schema_arrow)
            number = 0
            for batch in parquet.iter_batches(batch_size=size):
                rows = unpacked(batch.to_pylist(), packed)
                yield Piece(rows, place.path, range(number, number + len(rows)), counts_lines=False)
                number += len(rows)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{place.path}: cannot be read as Parquet: {error}") from error


def _parquet_file(file: Any) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(file)


def parquet_length(place: Place) -> int:
    import pyarrow as pa

    with place.open() as file:
        try:
            return int(_parquet_file(file).metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{place.path}: cannot be read as Parquet: {error}") from error


def parquet_columns(place: Place) -> list[str]:
    with place.open() as file:
        return list(_parquet_file(file).schema_arrow.names)


def arrow_pieces(place: Place, size: int) -> Iterator[Piece]:
    """An Arrow IPC file or stream, mapped into memory."""
    import pyarrow as pa

    number = 0
    try:
        for batch in _arrow_batches(place):
            for start in range(0, batch.num_rows, size):
                rows = batch.slice(start, size).to_pylist()
                yield Piece(rows, place.path, range(number, number + len(rows)), counts_lines=False)
                number += len(rows)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{place.path}: cannot be read as Arrow: {error}") from error


def _arrow_batches(place: Place) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(place.path) if not place.remote else place.open() as file:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            yield from pa.ipc.open_stream(file)
            return
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def saved_dataset_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `Dataset.save_to_disk` wrote, in order.

    Raises:
        InputError: the folder holds several splits, or its files are gone.
    """
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = ", ".join(str(folder / name) for name in json.loads(splits.read_bytes()).get("splits", []))
        raise InputError(f"{folder}: a saved dataset with several splits (name one of them: {names})")
    state = json.loads((folder / "state.json").read_bytes())
    return [folder / entry["filename"] for entry in state.get("_data_files") or []]


def is_saved_dataset(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


class TableSource:
    """A pyarrow Table, a pandas DataFrame or a `datasets` Dataset or IterableDataset that is in memory already."""

    rereadable = True
    json_like = False

    def __init__(self, table: Any, kind: str) -> None:
        self._table = table
        self._kind = kind
        self.total: int | None = None if kind == "IterableDataset" else len(table)
        self.cheap = self.total is not None and self.total <= 20_000

    def describe(self) -> dict[str, Any]:
        return {"kind": "python", "type": self._kind, "columns": self.columns()}

    def columns(self) -> list[str] | None:
        names = getattr(self._table, "column_names", None)
        if names is None:
            names = getattr(self._table, "columns", None)
        return None if names is None else [str(name) for name in names]

    def pieces(self, size: int) -> Iterator[Piece]:
        number = 0
        for rows in self._batches(size):
            yield Piece(rows, "", range(number, number + len(rows)), counts_lines=False)
            number += len(rows)

    def _batches(self, size: int) -> Iterator[list[Any]]:
        if self._kind == "Table":
            for batch in self._table.to_batches(max_chunksize=size):
                yield batch.to_pylist()
        elif self._kind == "DataFrame":
            import pyarrow as pa

            for start in range(0, len(self._table), size):
                yield pa.Table.from_pandas(self._table.iloc[start : start + size], preserve_index=False).to_pylist()
        else:
            # As Arrow, so that pictures and sound stay what is stored instead of being decoded.
            for table in self._table.with_format("arrow").iter(batch_size=size):
                yield table.to_pylist()


def table_kind(source: Any) -> str | None:
    """What kind of table `source` is, told by its class, so that nothing is imported for it."""
    for cls in type(source).__mro__:
        room = cls.__module__.partition(".")[0]
        if (room, cls.__name__) in {
            ("pyarrow", "Table"),
            ("pandas", "DataFrame"),
            ("datasets", "Dataset"),
            ("datasets", "IterableDataset"),
        }:
            return cls.__name__
    return None
