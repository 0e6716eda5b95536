"""From rows as read to instances of the chain's input type, with their ids. Knows nothing of where rows come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from chainette.errors import InputError
from chainette.files.dumping import Dumper
from chainette.files.json_text import cleaned, encode, plain, shortened
from chainette.files.names import INPUT_NODE, stored_key
from chainette.files.pieces import BAD_TEXT_LENGTH, BadRow, RawChunk
from chainette.files.schema import layout
from chainette.rows import Failure, InputChunk

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_MAX_ID_LENGTH = 512


class RowValidator:
    """Makes one `InputChunk` from each `RawChunk`. Ids are unique over all chunks given to one validator.

    With `keep_bad` a row that does not fit stands as a `Failure` in its place; otherwise it is an `InputError`.
    With `id_field` it remembers a digest of every id: about 100 bytes a row.
    """

    def __init__(self, input_type: Any, *, id_field: str | None = None, keep_bad: bool = False) -> None:
        self._id_field = id_field
        self._keep_bad = keep_bad
        self._seen: set[bytes] = set()
        self._any = input_type is Any or input_type is None
        type_: Any = Any if self._any else input_type
        self._one: TypeAdapter[Any] = TypeAdapter(type_)
        self._many: TypeAdapter[list[Any]] = TypeAdapter(list[type_])
        shape = None if self._any else layout(input_type)
        self._unwraps = shape is not None and not shape.fields and shape.rest is None
        self._dumper = Dumper(Any)
        self._keeps_id = _takes_underscore_id(input_type)

    def chunk(self, raw: RawChunk, index: int) -> InputChunk:
        """Raises: InputError: a row does not fit, naming file, line and field (never with `keep_bad`)."""
        rows = raw.rows
        classes = set(map(type, rows))
        has_bad = BadRow in classes
        # Most rows are plain objects without an `_id` of their own, and need no look at each of them.
        usual = classes == {dict} and not any(["_id" in row or "_source_id" in row for row in rows])  # noqa: C419
        data = rows if self._any or (usual and not self._unwraps) else [self._as_data(row) for row in rows]
        values = None if has_bad else self._validate_all(data)
        if values is None:
            values = [self._validate(row, raw, i) for i, row in enumerate(data)]
        if self._id_field is None:
            first = raw.first
            ids = [str(n) for n in range(first, first + len(rows))]
        else:
            ids = self._take_ids(raw, values)
        for i, value in enumerate(values) if has_bad or self._keep_bad else ():
            if type(value) is Failure:
                values[i] = self._named(value, ids[i])
        as_read = list(rows) if usual and raw.json_like else self._raw_rows(rows, classes, raw.json_like)
        return InputChunk(index, raw.first, ids, values, as_read)

    def remember(self, ids: Iterable[str]) -> None:
        """Ids from the data that rows before the first chunk have taken."""
        self._seen.update(_digest(row_id) for row_id in ids)

    def _raw_rows(self, rows: list[Any], classes: set[type], json_like: bool) -> list[Any]:
        if not json_like and classes == {dict}:
            rows = _json_able(rows)
            json_like = True
        elif len(classes) == 1 and issubclass(next(iter(classes)), BaseModel):
            rows = [dict(row) if type(row) is dict else row for row in self._dumper.dump(rows).values]
            json_like = True
        return [_as_raw(row, json_like) for row in rows]

    def _as_data(self, row: Any) -> Any:
        if type(row) is not dict:
            return row
        if "_id" in row and not self._keeps_id:
            row = {key: value for key, value in row.items() if key not in ("_id", "_turn")}
        if self._unwraps and row.keys() == {"value"}:
            return row["value"]
        return row

    def _validate_all(self, data: list[Any]) -> list[Any] | None:
        if self._any:
            return list(data)
        try:
            return self._many.validate_python(data, by_alias=True, by_name=True)
        except ValidationError:
            return None
        except Exception:  # a validator of the user's own raised what pydantic does not expect: found row by row
            return None

    def _validate(self, row: Any, raw: RawChunk, i: int) -> Any:
        if type(row) is BadRow:
            return self._bad(f"{row.place}: {row.message}", row.text)
        if self._any:
            return row
        by_attributes = isinstance(row, BaseModel) or (hasattr(row, "__dict__") and not isinstance(row, (str, dict)))
        try:
            return self._one.validate_python(row, by_alias=True, by_name=True, from_attributes=by_attributes or None)
        except ValidationError as error:
            try:
                # A strict model takes "2026-01-31" for a date from JSON, where that is how a date is spelt.
                return self._one.validate_json(encode(row), by_alias=True, by_name=True)
            except ValidationError:
                return self._bad(f"{raw.place(i)}: {_complaint(error)}", encode(row).decode())
        except Exception as error:
            message = f"{raw.place(i)}: the model's own check failed: {type(error).__name__}: {error}"
            return self._bad(message, encode(row).decode())

    def _bad(self, message: str, text: str) -> Failure:
        if not self._keep_bad:
            raise InputError(message)
        return Failure("", INPUT_NODE, "input", message, raw=text[:BAD_TEXT_LENGTH])

    def _take_ids(self, raw: RawChunk, values: list[Any]) -> list[str]:
        ids = []
        for i, row in enumerate(raw.rows):
            row_id, complaint = self._id_of(row)
            if complaint:
                # An id of its own, which no row of the data can have: `#` and the row's position.
                row_id = f"#{raw.first + i}"
                if type(values[i]) is not Failure:
                    values[i] = self._bad(f"{raw.place(i)}: {complaint}", encode(_as_raw(row, False)).decode())
            ids.append(row_id)
        return ids

    def _id_of(self, row: Any) -> tuple[str, str]:
        field = self._id_field
        assert field is not None
        if type(row) is BadRow:
            return "", "the row cannot be read"
        missing = object()
        row_id = row.get(field, missing) if isinstance(row, dict) else getattr(row, field, missing)
        if row_id is missing:
            return "", f'the id field "{field}" is missing'
        if type(row_id) is int:
            row_id = str(row_id)
        if not isinstance(row_id, str):
            return "", f'the id field "{field}" is {shortened(row_id)} (an id is text or an integer)'
        if not row_id.strip():
            return "", f'the id field "{field}" is empty'
        if _CONTROL.search(row_id) or len(row_id) > _MAX_ID_LENGTH or row_id[0] == "#":
            why = "longer than 512 characters" if len(row_id) > _MAX_ID_LENGTH else "not fit for an id"
            return "", f'the id field "{field}" is {why}: {shortened(row_id)} (no line breaks, no leading `#`)'
        digest = _digest(row_id)
        if digest in self._seen:
            return "", f'the id {shortened(row_id)} (field "{field}") was taken by an earlier row'
        self._seen.add(digest)
        return row_id, ""

    def _named(self, failure: Failure, row_id: str) -> Failure:
        return Failure(row_id, failure.node_id, failure.kind, failure.message, failure.attempts, failure.raw)


def _digest(row_id: str) -> bytes:
    return hashlib.blake2b(row_id.encode(), digest_size=16).digest()


def check_input(
    input: Any, validator_factory: Callable[[], RowValidator], max_problems: int = 20, chunk_size: int = 1_000
) -> list[str]:
    """What is wrong with the rows of an input that can be read again, in order, at most `max_problems`.

    `validator_factory` gives a validator with `keep_bad`.
    """
    validator = validator_factory()
    problems: list[str] = []
    for index, raw in enumerate(input.chunks(chunk_size)):
        for value in validator.chunk(raw, index).values:
            if type(value) is Failure:
                problems.append(value.message)
                if len(problems) == max_problems:
                    return problems
    return problems


def _takes_underscore_id(type_: Any) -> bool:
    fields = getattr(type_, "model_fields", None)
    if not isinstance(fields, dict):
        return fields is None
    return any("_id" in (f.alias, f.validation_alias) for f in fields.values())


def _as_raw(row: Any, json_like: bool) -> dict[str, Any]:
    """The row as `inputs/` keeps it."""
    if type(row) is dict:
        if not json_like:
            row = _json_able(row)
        return {stored_key(key): row[key] for key in row} if "_id" in row or "_source_id" in row else row
    if isinstance(row, BadRow):
        return {"_unreadable": row.text, "_place": row.place}
    value = plain(row) if isinstance(row, BaseModel) or hasattr(row, "__dict__") else row
    value = _json_able(value)
    return _as_raw(value, True) if type(value) is dict else {"value": value}


def _json_able(value: Any) -> Any:
    try:
        return orjson.loads(orjson.dumps(value, default=plain))
    except TypeError:
        return cleaned(value)


def _complaint(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    parts = []
    for e in found[:3]:
        where = ".".join(str(part) for part in e["loc"])
        if e["type"] == "missing":
            parts.append(f"{where}: is missing")
        else:
            message = e["msg"][0].lower() + e["msg"][1:]
            parts.append(f"{where + ': ' if where else ''}{message}, not {shortened(e['input'])}")
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return "; ".join(parts) + more
