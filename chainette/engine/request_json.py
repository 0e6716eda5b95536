"""Requests as JSON, and what is said when JSON cannot hold one. Sends nothing."""

from __future__ import annotations

import json
from typing import Any

import orjson

from chainette.engine.protocol import CallError
from chainette.errors import Problem
from chainette.specs import EngineSpec


def constant_part(fields: dict[str, Any]) -> bytes:
    """
    Raises:
        TypeError: JSON cannot hold a value.
    """
    try:
        return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def unsayable(error: TypeError) -> CallError:
    """orjson's complaint about a prompt, before anything was sent."""
    what = "is no valid UTF-8" if "surrogates" in str(error) else "cannot be sent as JSON"
    return CallError("prompt", f"the prompt {what}: {error}", sent=0)


def unsendable(spec: EngineSpec, fields: dict[str, Any], error: TypeError) -> Problem:
    """Names the field of a request that JSON cannot hold; without fields it was the schema's grammar."""
    where = f'engine "{spec.name}"'
    for name, value in fields.items():
        try:
            orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as reason:
            return Problem(where, f"the request field `{name}` cannot be sent as JSON: {reason}")
    return Problem(where, f"the output model's schema cannot be sent as JSON: {error}")
