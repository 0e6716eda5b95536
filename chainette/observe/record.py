"""An event as a flat record with its name and time, and back. Knows no file and no terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

import orjson

from chainette.events import EngineCount, Event, NodeCount, Progressed, RunFinished, RunStarted

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_FORMS: dict[type, tuple[str, tuple[str, ...]]] = {
    kind: (_CAPITAL.sub("_", kind.__name__).lower(), tuple(f.name for f in fields(kind))) for kind in get_args(Event)
}
"""Of each event its name in a record, and its fields."""
_NUMBERS = {
    kind: attrgetter(*(f.name for f in fields(kind) if f.type in ("int", "float"))) for kind in (NodeCount, EngineCount)
}
_LARGEST = 2**63
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
    not know are passed over.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: a field is missing or is nothing of its kind, as it may be in
            a folder from anybody.
    """
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
    if not _fits(event, kind):
        raise ValueError(f"{record['event']} has a field that is nothing of its kind")
    return event


_Form = tuple[Any, Any, tuple[Any, ...]]
"""What a field is declared as, what that is of, and the forms within."""


@cache
def _hints(kind: Any) -> tuple[tuple[str, _Form], ...]:
    """Of each field its name and form; of counts only those that are no plain numbers."""
    hints = get_type_hints(kind).items()
    return tuple((name, _form(hint)) for name, hint in hints if kind not in _NUMBERS or hint not in (int, float))


def _form(hint: Any) -> _Form:
    return hint, get_origin(hint), tuple(... if one is ... else _form(one) for one in get_args(hint))


def _fits(value: Any, kind: Any) -> bool:
    """Whether all fields are what they are declared as."""
    hints = _hints(kind)
    return type(value) is kind and all(_is_a(getattr(value, name), form) for name, form in hints)


def _counts(value: Any, kind: Any) -> bool:
    """`_fits` for what a snapshot has of each node: its numbers at once."""
    if not _fits(value, kind):
        return False
    numbers = _NUMBERS[kind](value)
    # What is not finite makes the sum so too, or no number, which is less than nothing.
    return {*map(type, numbers)} <= {int, float} and sum(map(abs, numbers)) < _LARGEST


def _is_a(value: Any, form: _Form) -> bool:
    hint, origin, within = form
    if hint is int or hint is float:  # finite, and of 64 bits as in a column
        return type(value) in (int, hint) and -_LARGEST < value < _LARGEST
    if origin is None:
        return _counts(value, hint) if hint in _NUMBERS else isinstance(value, hint)
    if origin is dict:
        names, items = within
        return isinstance(value, dict) and all(_is_a(k, names) and _is_a(v, items) for k, v in value.items())
    if origin is not tuple:
        return any(_is_a(value, one) for one in within)
    if not isinstance(value, tuple):
        return False
    forms = within[:1] * len(value) if ... in within else within
    return len(value) == len(forms) and all(map(_is_a, value, forms))


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
