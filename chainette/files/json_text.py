"""Values as JSON text, one object a line.

`encode` never fails: what JSON cannot say is said as near as it can be. `exactly` fails instead. Neither ever writes an
address or the order of a set, so the same values are the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import from_json, to_jsonable_python

BASE64 = "data:;base64,"
"""What bytes that are no text begin with (RFC 2397)."""
MAX_DEPTH = 150
"""Levels of nesting; pydantic's parser refuses 200."""
_ROW_BREAK = b'},{"_id":"'
_LINE_BREAK = b'}\n{"_id":"'
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SORTED_BY_VALUE = (int, float, str)


class CannotEncode(ValueError):
    """JSON cannot hold the row with this id."""

    def __init__(self, row_id: str, why: str) -> None:
        super().__init__(why)
        self.row_id = row_id


def encode(value: Any) -> bytes:
    """One JSON text without a newline. NaN and infinities are null, a lone surrogate is U+FFFD."""
    try:
        return orjson.dumps(value, default=plain)
    except TypeError:
        return _dumped(cleaned(value))


def exactly(value: Any) -> bytes:
    """As `encode`, with dates as pydantic writes them.

    Raises:
        ValueError: JSON cannot hold the value.
    """
    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    try:
        return orjson.dumps(value, default=_faithful, option=options)
    except TypeError:
        return _dumped(cleaned(value, exact=True))


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode_rows(rows: list[dict[str, Any]], *, exact: bool = False) -> bytes:
    """A line per row; each row's first key must be `_id`.

    Raises:
        CannotEncode: with `exact`, JSON cannot hold a row.
    """
    if not rows:
        return b""
    try:
        block = orjson.dumps(rows, default=_faithful if exact else plain)[1:-1].replace(_ROW_BREAK, _LINE_BREAK) + b"\n"
    except TypeError:
        pass
    else:
        # JSON has no bare newline, so more of them than rows means that a nested object looked like a row.
        if block.count(b"\n") == len(rows):
            return block
    return b"".join([(_exact_row(row) if exact else encode(row)) + b"\n" for row in rows])


def _exact_row(row: dict[str, Any]) -> bytes:
    try:
        return exactly(row)
    except Exception as error:  # what the value's own code raises
        raise CannotEncode(row["_id"], str(error)) from error


def plain(value: Any) -> Any:
    """Something JSON can say in place of `value`, which it cannot."""
    try:
        return _faithful(value)
    except Exception:  # whatever the value's own code raises
        return _description(value)


def _description(value: Any) -> str:
    try:
        return _ADDRESS.sub("", str(value))
    except Exception:  # as above
        return f"<{type(value).__name__}>"


def _faithful(value: Any) -> Any:
    """What a value holds, in types nearer to JSON.

    Raises:
        ValueError: it cannot be said.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes_as_text(bytes(value))
    if isinstance(value, BaseModel):
        return _model_fields(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return in_order([from_json(exactly(item)) for item in value])
    if isinstance(value, (type, Iterator)):
        raise ValueError(_no_json(value))
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    try:
        return to_jsonable_python(value, by_alias=False)
    except Exception:  # pydantic raises what the value's own code raises
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        raise ValueError(_no_json(value)) from None


def _no_json(value: Any) -> str:
    kind = f"the class {value.__qualname__}" if isinstance(value, type) else type(value).__qualname__
    return f"{kind} cannot be written as JSON"


def bytes_as_text(data: bytes) -> str:
    """Bytes as the text they are, or else as Base64 that says so."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = BASE64
    return BASE64 + base64.b64encode(data).decode() if text.startswith(BASE64) else text


def in_order(items: Iterable[Any]) -> list[Any]:
    """The items of a set, as JSON has them, in an order that does not change from run to run."""
    items = list(items)
    kinds = set(map(type, items))
    if len(kinds) == 1 and kinds <= set(_SORTED_BY_VALUE):
        return sorted(items)
    return sorted(items, key=encode)


def _model_fields(value: BaseModel) -> Any:
    try:
        return value.model_dump(mode="json", by_alias=False, warnings=False)
    except Exception:  # bytes that are no text, a field's own serializer, or a value that the model does not declare
        pass
    try:
        return value.model_dump(by_alias=False, warnings=False)
    except Exception:  # as above
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}


def cleaned(value: Any, *, exact: bool = False, _inside: tuple[int, ...] = ()) -> Any:
    """`value` in types that `json.dumps` always takes.

    Raises:
        ValueError: with `exact`, JSON cannot hold it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = str.__str__(value)
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if id(value) in _inside or len(_inside) > MAX_DEPTH:
        why = "holds itself" if id(value) in _inside else f"nests more than {MAX_DEPTH} levels deep"
        if exact:
            raise ValueError(why)
        return f"<{why}>"
    inside = (*_inside, id(value))
    if isinstance(value, Mapping):
        return {
            cleaned(k if isinstance(k, str) else _key(k)): cleaned(v, exact=exact, _inside=inside)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [cleaned(v, exact=exact, _inside=inside) for v in value]
    return cleaned(_faithful(value) if exact else plain(value), exact=exact, _inside=inside)


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return encode(key).decode()
    if isinstance(key, (str, int, float)):
        return str(key)
    try:
        found = to_jsonable_python({key: None})
    except Exception:  # what the key's own code raises
        return bytes_as_text(key) if isinstance(key, bytes) else _description(key)
    return str(next(iter(found)))


def shortened(value: Any, length: int = 80) -> str:
    """A value as it may stand in a message."""
    text = repr(value) if isinstance(value, str) and len(value) <= length else value
    if not isinstance(text, str):
        text = encode(text).decode()
    return text if len(text) <= length + 2 else f"{text[: length - 1]}…"
