"""An event as a flat record with its name and time, and back. Knows no file and no terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

import orjson

from chainette.events import EngineCount, Event, NodeCount, Progressed, RunFinished, RunStarted

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_FORMS: dict[type, tuple[str, tuple[str, ...]]] = {
    kind: (_CAPITAL.sub("_", kind.__name__).lower(), tuple(f.name for f in fields(kind))) for kind in get_args(Event)
}
"""Of each event its name in a record, and its fields."""
_KINDS = {name: kind for kind, (name, _) in _FORMS.items()}


def event_fields(event: Event) -> dict[str, Any]:
    """`event` (its name in snake_case), `time` (UTC, ISO 8601), then the event's own fields."""
    name, own = _FORMS[type(event)]
    record: dict[str, Any] = {"event": name, "time": utc_now()}
    for field in own:
        record[field] = getattr(event, field)
    if isinstance(event, RunStarted):
        record["nodes"] = [{"id": id, "kind": kind, "label": label} for id, kind, label in event.nodes]
        record["engines"] = [{"name": name, "description": text} for name, text in event.engines]
    elif isinstance(event, Progressed | RunFinished):
        record["nodes"] = {id: asdict(count) for id, count in event.nodes.items()}
        record["engines"] = {name: asdict(count) for name, count in event.engines.items()}
    return record


def event_of(record: Mapping[str, Any]) -> Event | None:
    """The event that `event_fields` made this of; None for a name that this version does not know. Fields that it does
    not know are passed over."""
    kind = _KINDS.get(str(record.get("event")))
    if kind is None:
        return None
    known = {f.name: record[f.name] for f in fields(kind) if f.name in record}
    if kind is RunStarted:
        known["nodes"] = tuple((node["id"], node["kind"], node["label"]) for node in known["nodes"])
        known["engines"] = tuple((engine["name"], engine["description"]) for engine in known["engines"])
    elif isinstance(known.get("nodes"), dict):
        known["nodes"] = {id: NodeCount(**_known(NodeCount, node)) for id, node in known["nodes"].items()}
        known["engines"] = {id: EngineCount(**_known(EngineCount, engine)) for id, engine in known["engines"].items()}
    for name, value in known.items():
        if isinstance(value, list) and name != "tree":  # which is drawn as JSON has it
            known[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    event: Event = kind(**known)
    return event


def _known(kind: type, record: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: record[f.name] for f in fields(kind) if f.name in record}


def unix_s(record: Mapping[str, Any]) -> float:
    """When an event was said, in seconds since 1970."""
    return datetime.fromisoformat(record["time"]).timestamp()


def utc(unix_s: float) -> str:
    """`2026-11-21T01:26:54.985Z`."""
    return f"{_second(int(unix_s))}.{int(unix_s % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


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
