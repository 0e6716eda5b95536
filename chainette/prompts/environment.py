"""The one Jinja2 environment: sandboxed, strict, plain text. Knows no chain."""

from __future__ import annotations

import json
from typing import Any

import orjson
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel


def as_text(value: Any) -> Any:
    """A model in a prompt is its JSON, not Python's notation for it."""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, list) and value and all(isinstance(item, BaseModel) for item in value):
        return to_json(value)
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """`tojson` without HTML escapes: prompts are not pages."""
    if indent:
        return json.dumps(value, default=_plain, indent=indent, ensure_ascii=False)
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def make_environment() -> ImmutableSandboxedEnvironment:
    """An environment in which a template can read what it is given, and nothing else."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=as_text, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["tojson"] = to_json
    return environment
