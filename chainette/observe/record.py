"""An event as a flat record with its name and time. Knows no file and no terminal."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from typing import Any

import orjson

from chainette.events import Event, RunStarted

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def event_fields(event: Event) -> dict[str, Any]:
    """`event` (its name in snake_case), `time` (UTC, ISO 8601), then the event's own fields."""
    name = _CAPITAL.sub("_", type(event).__name__).lower()
    fields: dict[str, Any] = {"event": name, "time": utc_now(), **asdict(event)}
    if isinstance(event, RunStarted):
        fields["nodes"] = [{"id": id, "kind": kind, "label": label} for id, kind, label in event.nodes]
        fields["engines"] = [{"name": name, "description": text} for name, text in event.engines]
    return fields


def utc(unix_s: float) -> str:
    """`2026-11-21T01:26:54.985Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s)) + f".{int(unix_s % 1 * 1000):03d}Z"


def utc_now() -> str:
    return utc(time.time())


def record_line(fields: dict[str, Any]) -> bytes:
    """A record as one line of JSON without its newline. Lone surrogates in foreign text are replaced."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS, default=str)
    except TypeError:
        return orjson.dumps(_clean(fields), option=orjson.OPT_NON_STR_KEYS, default=str)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
