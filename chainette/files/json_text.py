"""Values as JSON text, one object a line. Never fails on a value: what JSON cannot say is said as near as it can be."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_ROW_BREAK = b'},{"_id":"'
_LINE_BREAK = b'}\n{"_id":"'


def encode(value: Any) -> bytes:
    """One JSON text without a newline. NaN and infinities are null, a lone surrogate is U+FFFD."""
    try:
        return orjson.dumps(value, default=plain)
    except TypeError:
        return json.dumps(cleaned(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode_rows(rows: list[dict[str, Any]]) -> bytes:
    """A line per row; each row's first key must be `_id`."""
    if not rows:
        return b""
    try:
        block = orjson.dumps(rows, default=plain)[1:-1].replace(_ROW_BREAK, _LINE_BREAK) + b"\n"
    except TypeError:
        pass
    else:
        # JSON has no bare newline, so more of them than rows means that a nested object looked like a row.
        if block.count(b"\n") == len(rows):
            return block
    return b"".join([encode(row) + b"\n" for row in rows])


def plain(value: Any) -> Any:
    """Something JSON can say in place of `value`, which it cannot."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return base64.b64encode(data).decode()
    if isinstance(value, BaseModel):
        return _model_fields(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    try:
        return _ANY.dump_python(value, mode="json", warnings=False)
    except Exception:  # pydantic raises what the value's own code raises
        return str(value)


def _model_fields(value: BaseModel) -> Any:
    try:
        return value.model_dump(mode="json", by_alias=False, warnings=False)
    except Exception:  # a field's own serializer, or a value that the model does not declare
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}


def cleaned(value: Any) -> Any:
    """`value` in types that `json.dumps` always takes."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = str.__str__(value)
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {cleaned(k if isinstance(k, str) else _key(k)): cleaned(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(v) for v in value]
    try:
        return cleaned(orjson.loads(orjson.dumps(value)))
    except TypeError:
        return cleaned(plain(value))


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return encode(key).decode()
    return str(key)


def shortened(value: Any, length: int = 80) -> str:
    """A value as it may stand in a message."""
    text = repr(value) if isinstance(value, str) and len(value) <= length else value
    if not isinstance(text, str):
        text = encode(text).decode()
    return text if len(text) <= length + 2 else f"{text[: length - 1]}…"
