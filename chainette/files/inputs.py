"""Where rows come from: files, folders, globs, standard input, `datasets`, tables and any Python iterable.

Rows come as chunks, lazily and in order. Nothing here knows what type they should have.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from chainette.errors import InputError, nearest
from chainette.files.finding import FORMATS, Found, find_files, looks_like_path, missing
from chainette.files.hub_inputs import HubSource
from chainette.files.memory_inputs import IterableSource
from chainette.files.opening import Place
from chainette.files.pieces import BadRow, Piece, RawChunk, Source, into_chunks, renaming, without_first
from chainette.files.recorded_inputs import RecordedSource
from chainette.files.table_inputs import TableSource, arrow_pieces, parquet_length, parquet_pieces, table_kind
from chainette.files.text_inputs import arriving_pieces, count_lines, csv_pieces, json_pieces, jsonl_pieces

__all__ = ["BadRow", "Input", "RawChunk", "open_input"]

_CHEAP_BYTES = 8 << 20
_COUNTED_BYTES = 256 << 20
_LISTED_FILES = 1_000
CUSTOM_ID = "custom_id"
"""What OpenAI batch files call a row's id."""


class Input:
    """Rows to read, with columns chosen and a limit set."""

    def __init__(
        self,
        source: Source,
        columns: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        self._source = source
        self._columns = columns
        self._rename = renaming(columns, names or columns) if columns else None
        self._names = names
        self._limit = limit
        self.rereadable = source.rereadable

    @cached_property
    def total(self) -> int | None:
        """How many rows there are, where that is known without reading them all."""
        total = self._source.total
        return total if total is None or self._limit is None else min(total, self._limit)

    @property
    def cheap(self) -> bool:
        """Whether the whole of it can be checked in about a second."""
        return self.rereadable and (self._source.cheap or (self._limit is not None and self._limit <= 1_000))

    @property
    def is_recorded(self) -> bool:
        """Whether it is what an earlier run read, and no source of its own."""
        return isinstance(self._source, RecordedSource)

    @property
    def has_fingerprint(self) -> bool:
        """Whether `describe` tells this input from any other of as many rows."""
        found = self._source.describe()
        return found["kind"] not in ("stdin", "python") or found.get("of") == "content"

    @cached_property
    def id_field(self) -> str | None:
        """Where the data itself says which field is a row's id: `custom_id` in an OpenAI batch file."""
        found = self._source.id_field if isinstance(self._source, FileSource) else None
        kept = self._names or self._columns
        return found if kept is None or found in kept else None

    def describe(self) -> dict[str, Any]:
        """How the rows were found and what tells this input from another, for `graph.json`."""
        found = dict(self._source.describe())
        if self._columns:
            found["columns"] = dict(zip(self._names or self._columns, self._columns, strict=True))
        if self._limit is not None:
            found["limit"] = self._limit
        return found

    def chunks(self, size: int, skip: int = 0, *, skipped_too: bool = False) -> Iterator[RawChunk]:
        """Every row after the first `skip` once, in order, `size` at a time; at each call when `rereadable`.

        With `skipped_too` the first rows come before them, in chunks of their own.
        """
        pieces = self._source.pieces(size)
        border = skip if skipped_too else 0
        skip -= border
        if skip:
            pieces = without_first(pieces, skip)
        if self._rename is not None:
            pieces = self._renamed(pieces)
        limit = None if self._limit is None else max(self._limit - skip, 0)
        return into_chunks(pieces, size, limit, self._source.json_like, first=skip, border=border)

    def _renamed(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        assert self._columns is not None
        assert self._rename is not None
        label: str | None = None
        for piece in pieces:
            rows = [row if isinstance(row, (dict, BadRow)) else _fields_of(row) for row in piece.rows]
            if piece.label != label:
                label = piece.label
                _check_columns(self._columns, rows, label)
            piece.rows = [self._rename(row) if isinstance(row, dict) else row for row in rows]
            yield piece


def recorded_input(run: Path, *, plain: bool = False) -> Input:
    """The rows that a run has read, as it read them; see `RecordedSource`."""
    return Input(RecordedSource(run, plain=plain))


def open_input(
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    model_fields: Sequence[str] = (),
    limit: int | None = None,
) -> Input:
    """Find `source` without reading its rows.

    Raises:
        InputError: nothing is there, or it cannot be read; with the nearest names and what to do.
    """
    if isinstance(source, Input):
        return source
    if limit is not None and limit < 0:
        raise InputError(f"the limit is {limit} (it must be 0 or more)")
    names = _names_for(columns, model_fields) if columns else None
    return Input(_source(source), columns, names, limit)


def _source(source: Any) -> Source:
    if isinstance(source, (str, Path)):
        return _named_source(str(source))
    if isinstance(source, os.PathLike):
        return _named_source(os.fspath(source))
    if kind := table_kind(source):
        return TableSource(source, kind)
    return IterableSource(source)


def _named_source(name: str) -> Source:
    if name == "-":
        return StdinSource()
    found = find_files(name)
    if found is not None:
        return FileSource(name, found)
    if looks_like_path(name):
        raise InputError(missing(name))
    return HubSource(name)


def _names_for(columns: Sequence[str], model_fields: Sequence[str]) -> Sequence[str]:
    if not model_fields:
        return columns
    if len(columns) > len(model_fields):
        fields = ", ".join(model_fields)
        raise InputError(f"{len(columns)} columns are named, and the first model has {len(model_fields)}: {fields}")
    return model_fields[: len(columns)]


def _fields_of(row: Any) -> dict[str, Any]:
    if hasattr(row, "model_dump"):
        return dict(row.model_dump())
    raise InputError(f"columns are named, but a row is not an object: {row!r:.80}")


def _check_columns(columns: Sequence[str], rows: Sequence[Any], label: str) -> None:
    present = {key for row in rows if isinstance(row, dict) for key in row}
    for column in columns:
        if present and column not in present:
            where = label or "the input"
            raise InputError(f'{where} has no column "{column}" ({nearest(column, map(str, present))})')


class FileSource:
    """Files in order, of one format or several."""

    rereadable = True

    def __init__(self, name: str, found: Found) -> None:
        self._name = name
        self._found = found
        self._formats = [FORMATS[place.suffix] for place in found.places]
        self.json_like = all(f not in ("parquet", "arrow") for f in self._formats)

    @property
    def cheap(self) -> bool:
        sizes = [place.size * (8 if place.compressed else 1) for place in self._found.places]
        return sum(sizes) <= _CHEAP_BYTES and not any(place.remote for place in self._found.places)

    @cached_property
    def total(self) -> int | None:
        """Known from Parquet's own metadata, or by counting the lines of JSONL up to 256 MB."""
        if any(place.remote or place.compressed for place in self._found.places):
            return None
        if set(self._formats) - {"jsonl", "parquet"}:
            return None
        if sum(p.size for p, f in zip(self._found.places, self._formats, strict=True) if f == "jsonl") > _COUNTED_BYTES:
            return None
        counts = {"jsonl": count_lines, "parquet": parquet_length}
        return sum(counts[f](p) for p, f in zip(self._found.places, self._formats, strict=True))

    @property
    def id_field(self) -> str | None:
        """`custom_id` where the first file is one of OpenAI batch requests."""
        if self._formats[:1] != ["jsonl"]:
            return None
        try:
            with self._found.places[0].open() as file:
                first = next(jsonl_pieces(file, self._found.places[0].path, 1), None)
        except (OSError, EOFError, zlib.error):  # told where it is read
            return None
        return CUSTOM_ID if first is not None and _is_batch_request(first.rows[0]) else None

    def describe(self) -> dict[str, Any]:
        digest = hashlib.blake2b(digest_size=16)
        listed: list[dict[str, Any]] = []
        for place in self._found.places:
            mark = place.fingerprint(whole=self.cheap)
            digest.update(mark["blake2b"].encode())
            if len(listed) < _LISTED_FILES:
                listed.append(mark)
        described: dict[str, Any] = {"kind": self._found.kind, "source": self._name, "files": listed}
        described |= {"file_count": len(self._found.places), "blake2b": digest.hexdigest()}
        described["formats"] = sorted(set(self._formats))
        if self._found.ignored:
            described["ignored"] = self._found.ignored[:20]
        return described

    def pieces(self, size: int) -> Iterator[Piece]:
        for place, format_ in zip(self._found.places, self._formats, strict=True):
            if format_ == "parquet":
                yield from parquet_pieces(place, size)
            elif format_ == "arrow":
                yield from arrow_pieces(place, size)
            else:
                with place.open() as file:
                    yield from _guarded(_text_pieces(file, format_, place.path, size), place)


class StdinSource:
    """JSONL from standard input, read once."""

    total: int | None = None
    cheap = False
    rereadable = False
    json_like = True

    def describe(self) -> dict[str, Any]:
        return {"kind": "stdin"}

    def pieces(self, size: int) -> Iterator[Piece]:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("nothing is piped into standard input (`cat rows.jsonl | chainette run ... -i -`)")
        # Not sys.stdin: its lock, held by a read that never returns, aborts the interpreter's shutdown.
        try:
            fd = sys.stdin.fileno()
        except OSError:  # not a file, as in a notebook or a test
            return _text_pieces(sys.stdin.buffer, "jsonl", "stdin", size)
        return _opened_batch_requests(arriving_pieces(fd, "stdin", size))


def _text_pieces(file: BinaryIO, format_: str, label: str, size: int) -> Iterator[Piece]:
    if format_ == "json":
        return json_pieces(file, label, size)
    if format_ in ("csv", "tsv"):
        return csv_pieces(file, label, size, "\t" if format_ == "tsv" else ",")
    return _opened_batch_requests(jsonl_pieces(file, label, size))


def _guarded(pieces: Iterator[Piece], place: Place) -> Iterator[Piece]:
    read = 0
    try:
        for piece in pieces:
            read += len(piece.rows)
            yield piece
    except (OSError, EOFError, zlib.error) as error:
        where = f"after {read} rows" if read else "from its start"
        message = f"{place.path}: cannot be read {where}: {error}"
        raise InputError(message + (" (the file is damaged or cut off)" if place.compressed else "")) from error


def _opened_batch_requests(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The lines of an OpenAI batch file become `{"custom_id": ..., **body}`; any other file passes as it is."""
    is_batch: bool | None = None
    for piece in pieces:
        if is_batch is None:
            is_batch = _is_batch_request(piece.rows[0])
        if is_batch:
            piece.rows = [
                {**row["body"], CUSTOM_ID: row[CUSTOM_ID]} if _is_batch_request(row) else row for row in piece.rows
            ]
        yield piece


def _is_batch_request(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == {CUSTOM_ID, "method", "url", "body"}
        and isinstance(row["body"], dict)
        and isinstance(row[CUSTOM_ID], str)
    )
