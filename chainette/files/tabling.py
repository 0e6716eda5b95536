"""Rows as one table: JSONL, CSV or Parquet, in the memory of one batch. Knows columns, not where rows are from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

from chainette.files.json_text import encode
from chainette.files.schema import Column, arrow_schema, packer

_BATCH_ROWS = 5_000
_BATCH_BYTES = 32 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With which a cell begins that a spreadsheet may take for a formula.

Source: https://owasp.org/www-community/attacks/CSV_Injection
"""
_BOM = b"\xef\xbb\xbf"


class Misfit(Exception):
    """A column does not hold a value after all."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def write_lines(stream: BinaryIO, rows: Iterable[dict[str, Any]]) -> int:
    """A JSON object a line. Returns how many."""
    count = 0
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH_ROWS)):
        stream.write(b"".join([encode(row) + b"\n" for row in batch]))
        count += len(batch)
    return count


class Formulas:
    """Finds cells that a spreadsheet would take for formulas, and defuses them where that is wanted."""

    def __init__(self, *, defuse: bool) -> None:
        self.defuse = defuse
        self.found = 0

    def mended(self, text: Any) -> Any:
        if type(text) is not str or not text.startswith(_FORMULA):
            return text
        self.found += 1
        return f"'{text}" if self.defuse else text


def write_csv(stream: BinaryIO, rows: Iterable[dict[str, Any]], columns: Sequence[Column], formulas: Formulas) -> int:
    """Text in quotes, an empty cell for null. For a spreadsheet (`formulas.defuse`) it says that it is UTF-8.

    Raises:
        Misfit: a value does not fit its column.
    """
    from pyarrow.csv import CSVWriter

    named = [replace(column, name=formulas.mended(column.name)) for column in columns]
    table = _Table(columns, flat=True, names=[column.name for column in named], text=formulas.mended)
    if formulas.defuse:
        stream.write(_BOM)
    return _write(CSVWriter(_Kept(stream), table.schema), table, rows)


def write_parquet(stream: BinaryIO, rows: Iterable[dict[str, Any]], columns: Sequence[Column]) -> int:
    """
    Raises:
        Misfit: a value does not fit its column.
    """
    from pyarrow.parquet import ParquetWriter

    table = _Table(columns, flat=False, names=[column.name for column in columns])
    return _write(ParquetWriter(_Kept(stream), table.schema, compression="zstd"), table, rows)


def _write(writer: Any, table: _Table, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with writer:
        for batch in _batches(rows):
            writer.write_batch(table.batch(batch))
            count += len(batch)
    return count


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many rows as are handy, fewer where they are large."""
    rows, size = iter(rows), _BATCH_ROWS
    while batch := list(islice(rows, size)):
        yield batch
        average = sum(len(encode(row)) for row in batch[:: max(len(batch) // 20, 1)][:20]) / min(len(batch), 20)
        size = int(max(1, min(_BATCH_ROWS, _BATCH_BYTES / max(average, 1))))


class _Kept:
    """A stream that outlives the writer on it: pyarrow closes what it is given."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream's owner does."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class _Table:
    """Rows on their way into Arrow."""

    def __init__(
        self, columns: Sequence[Column], *, flat: bool, names: list[str], text: Callable[[Any], Any] | None = None
    ) -> None:
        import pyarrow as pa

        self._columns = columns
        self._packers = [packer(column, flat=flat) for column in columns]
        self._text = text
        known = arrow_schema([column for column in columns if column.name != "_id"], flat=flat)
        fields = [known.field("_id" if column.name == "_id" else column.name) for column in columns]
        self.schema = pa.schema([field.with_name(name) for field, name in zip(fields, names, strict=True)])

    def batch(self, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        arrays = []
        for column, pack, field in zip(self._columns, self._packers, self.schema, strict=True):
            try:
                values = [row.get(column.name) for row in rows]
                if pack is not None:
                    values = [None if value is None else pack(value) for value in values]
                if self._text is not None and pa.types.is_string(field.type):
                    values = [self._text(value) for value in values]
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
                raise Misfit(column.name) from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
