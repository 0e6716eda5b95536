"""Rows from JSONL, JSON and CSV, with the line each stands on. What cannot be read is a `BadRow`, never a guess."""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

from pydantic_core import from_json

from chainette.errors import InputError
from chainette.files.opening import Place, arriving_lines
from chainette.files.pieces import BAD_TEXT_LENGTH, BadRow, Piece

_BLOCK = 1 << 16
_INFINITY = float("inf")
_BEYOND_FLOATS = "a number is beyond what a float can hold"
_COLUMN = re.compile(r" at line \d+ column (\d+)$")


def jsonl_pieces(file: BinaryIO, label: str, size: int) -> Iterator[Piece]:
    """A JSON value a line. Blank lines are passed over; numbers are those of the lines."""
    return _pieces_of_lines(iter(lambda: list(islice(file, size)), []), label, waits=False)


def arriving_pieces(fd: int, label: str, size: int) -> Iterator[Piece]:
    """As `jsonl_pieces`, without waiting for more where lines have come."""
    return _pieces_of_lines(arriving_lines(fd, size), label, waits=True)


def _pieces_of_lines(batches: Iterator[list[bytes]], label: str, *, waits: bool) -> Iterator[Piece]:
    number = 1
    for lines in batches:
        if number == 1:
            lines[0] = _without_bom(lines[0], label)
        try:
            # Not orjson: it makes floats of integers beyond 64 bits.
            rows = [from_json(line, allow_inf_nan=False) for line in lines]
            if any(map(_is_infinite, rows)):
                raise ValueError(_BEYOND_FLOATS)
            numbers: Any = range(number, number + len(lines))
        except ValueError:
            rows, numbers = _one_by_one(lines, number, label)
        if rows:
            if number == 1:
                _check_not_json(rows, lines, label)
            yield Piece(rows, label, numbers, waits=waits)
        number += len(lines)


def _one_by_one(lines: list[bytes], number: int, label: str) -> tuple[list[Any], list[int]]:
    rows: list[Any] = []
    numbers: list[int] = []
    for n, line in enumerate(lines, number):
        if not line.strip():
            continue
        try:
            row = from_json(line, allow_inf_nan=False)
            if _is_infinite(row):
                raise ValueError(_BEYOND_FLOATS)
            rows.append(row)
        except ValueError as error:
            text = line.rstrip(b"\r\n").decode(errors="replace")
            rows.append(BadRow(_json_complaint(line, error), f"{label}:{n}", text[:BAD_TEXT_LENGTH]))
        numbers.append(n)
    return rows, numbers


def _is_infinite(row: Any) -> bool:
    """Whether a field is `1e999` or the like. Looks no deeper than the row's own fields, which costs little."""
    return type(row) is dict and (_INFINITY in row.values() or -_INFINITY in row.values())


def _json_complaint(line: bytes, error: ValueError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        return f"invalid UTF-8 at byte {bad.start + 1} of the line (save the file as UTF-8)"
    text = _COLUMN.sub(r" at column \1", str(error))
    if text == _BEYOND_FLOATS:
        return text
    if b"NaN" in line or b"Infinity" in line:
        return f"not valid JSON: {text} (NaN and Infinity are not JSON: write null)"
    if b"\x00" in line:
        return f"not valid JSON: {text} (the line holds NUL bytes)"
    if b"\\ud" in line.lower() and "escape" in text:
        return f"not valid JSON: {text} (half of a surrogate pair is no text)"
    return f"not valid JSON: {text}"


def _check_not_json(rows: list[Any], lines: list[bytes], label: str) -> None:
    if isinstance(rows[0], list) or (isinstance(rows[0], BadRow) and lines[0].strip() in (b"[", b"{")):
        what = "a JSON list" if lines[0].lstrip().startswith(b"[") else "JSON over several lines"
        raise InputError(f"{label}:1: {what}, where JSONL has one object a line (name the file .json)")


def _without_bom(line: bytes, label: str) -> bytes:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{label}:1: the file is UTF-16 (save it as UTF-8)")
    return line.removeprefix(codecs.BOM_UTF8)


def json_pieces(file: BinaryIO, label: str, size: int) -> Iterator[Piece]:
    """The items of one JSON list, or one value after the other; a single object is one row. Read as it comes."""
    values = _json_values(_JsonText(file, label))
    while pairs := list(islice(values, size)):
        yield Piece([value for value, _ in pairs], label, [line for _, line in pairs])


class _JsonText:
    """A sliding window over a JSON file."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
        self.label = label
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False
        self._block = _BLOCK

    def more(self) -> bool:
        """Reads on; false at the end of the file."""
        if self.ended:
            return False
        data = self._file.read(self._block)
        self.ended = not data
        try:
            new = self._decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            raise InputError(f"{self.label}: invalid UTF-8 after line {self.line} (save the file as UTF-8)") from error
        self.text = self.text[self.at :] + new
        self.at = 0
        return True

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.line += self.text[self.at] == "\n"
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, end = self._json.raw_decode(self.text, self.at)
                if end == len(self.text) and not self.ended and self.more():
                    continue
            except (json.JSONDecodeError, _NotJsonError, RecursionError) as error:
                if isinstance(error, json.JSONDecodeError) and not self.ended:
                    self._block *= 2
                    self.more()
                    continue
                raise self.complaint(str(getattr(error, "msg", error)), getattr(error, "pos", self.at)) from None
            self._block = _BLOCK
            self.line += self.text.count("\n", self.at, end)
            self.at = end
            return value

    def complaint(self, message: str, position: int) -> InputError:
        line = self.line + self.text.count("\n", self.at, position)
        return InputError(f"{self.label}:{line}: not valid JSON: {message}")


class _NotJsonError(Exception):
    pass


def _refuse_constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is not JSON (write null)")


def _finite(text: str) -> float:
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise _NotJsonError(_BEYOND_FLOATS)
    return value


def _json_values(text: _JsonText) -> Iterator[tuple[Any, int]]:
    if text.peek() != "[":
        while text.peek():
            line = text.line
            yield text.value(), line
        return
    text.at += 1
    if text.peek() == "]":
        text.at += 1
    else:
        while True:
            text.peek()
            line = text.line
            yield text.value(), line
            after = text.peek()
            text.at += 1
            if after == "]":
                break
            if after != ",":
                raise text.complaint("expected `,` or `]`" if after else "the file ends inside the list", text.at - 1)
    if text.peek():
        raise text.complaint("there is more after the list", text.at)


def csv_pieces(file: BinaryIO, label: str, size: int, delimiter: str) -> Iterator[Piece]:
    """A row per record, under the names of the header. Values stay text; an empty cell is None."""
    csv.field_size_limit(sys.maxsize)  # the default refuses fields over 128 KiB, which documents are
    records = _records(_CsvLines(file, label), delimiter)
    first = next(records, None)
    if first is None:
        return
    header = _header(first[1], label, delimiter)
    while batch := list(islice(records, size)):
        rows = [_csv_row(record, line, header, label) for line, record in batch]
        yield Piece(rows, label, [line for line, _ in batch])


class _CsvLines:
    """The lines of a file, and those of them that the reader took for the record it is at."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file = file
        self.label = label
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        first = self._file.readline()
        if first:
            yield self._take(_without_bom(first, self.label))
        for line in self._file:
            yield self._take(line)

    def _take(self, line: bytes) -> str:
        text = line.decode(errors="surrogateescape")
        if len(self.taken) < BAD_TEXT_LENGTH:
            self.taken.append(text)
        return text

    def text(self) -> str:
        return _readable("".join(self.taken).rstrip("\r\n"))


def _records(lines: _CsvLines, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """The line a record begins on, and its fields."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        lines.taken.clear()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRow(f"not valid CSV: {error}", f"{lines.label}:{line}", lines.text())
            continue
        if record:
            yield line, record


def _readable(text: str) -> str:
    return text[:BAD_TEXT_LENGTH].encode(errors="surrogateescape").decode(errors="replace")


def _header(record: list[str] | BadRow, label: str, delimiter: str) -> list[str]:
    if isinstance(record, BadRow):
        raise InputError(f"{label}:1: {record.message}")
    if _undecodable(record):
        raise InputError(f"{label}:1: the header is not UTF-8 (save the file as UTF-8)")
    twice = sorted({name for name in record if record.count(name) > 1})
    if twice:
        raise InputError(f'{label}:1: two columns are named "{twice[0]}" (rename one)')
    if len(record) == 1:
        for other, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")):
            if other in record[0] and other != delimiter:
                raise InputError(f"{label}:1: the columns are separated by {name} ({_other_csv(other)})")
    return record


def _other_csv(delimiter: str) -> str:
    if delimiter == ";":
        return "save it with commas"
    return "name the file .tsv" if delimiter == "\t" else "name the file .csv"


def _csv_row(record: list[str] | BadRow, line: int, header: list[str], label: str) -> Any:
    if isinstance(record, BadRow):
        return record
    place = f"{label}:{line}"
    if len(record) != len(header):
        fields = f"{len(record)} field{'s' if len(record) != 1 else ''}"
        return BadRow(f"{fields}, where the header has {len(header)}", place, _readable(",".join(record)))
    if _undecodable(record):
        return BadRow("invalid UTF-8 (save the file as UTF-8)", place, _readable(",".join(record)))
    return {name: value or None for name, value in zip(header, record, strict=True)}


def _undecodable(record: Iterable[str]) -> bool:
    text = "".join(record)
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)


_MAYBE_BLANK = (b"\n\n", b"\n\r", b"\n ", b"\n\t")


def count_lines(place: Place) -> int:
    """How many lines are not blank."""
    count = 0
    tail = b"\n"
    with place.open() as file:
        while block := file.read(1 << 20):
            if any(pattern in tail + block for pattern in _MAYBE_BLANK):
                return _count_one_by_one(place)
            count += block.count(b"\n")
            tail = block[-1:]
    return count + (tail != b"\n")


def _count_one_by_one(place: Place) -> int:
    with place.open() as file:
        return sum(1 for line in file if line.strip())
