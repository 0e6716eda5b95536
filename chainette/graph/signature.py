"""A short name for what a node does, equal when it would do the same. Engines do not count: they change per machine."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import orjson

from chainette.chain import Apply, Step
from chainette.graph.types import is_model, type_name


def digest(*parts: Any) -> str:
    """32 hex digits of JSON-able parts."""
    text = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def signature_of(decl: Step | Apply | None, upstream: tuple[str, ...]) -> str:
    if isinstance(decl, Step):
        return digest("step", step_facts(decl), upstream)
    if isinstance(decl, Apply):
        return digest("apply", source_of(decl.fn), decl.shape.words, upstream)
    return digest("node", upstream)


def step_facts(step: Step) -> dict[str, Any]:
    """What decides a step's calls, as it stands in `graph.json`."""
    return {
        "system_prompt": step.system_prompt,
        "user_prompt": step.user_prompt if isinstance(step.user_prompt, str) else list(step.user_prompt),
        "output_format_instruction": step.output_format_instruction,
        "schema": schema_of(step.output_model),
        "sampling": step.sampling.given(),
        "n": step.samples,
        "images": step.images,
    }


def schema_of(type_: Any) -> dict[str, Any]:
    """The JSON schema of a model, or its name where it has none."""
    if is_model(type_):
        try:
            schema: dict[str, Any] = type_.model_json_schema()
            return schema
        except Exception as error:  # pydantic raises several kinds for types that JSON cannot hold
            return {"title": type_name(type_), "error": str(error)}
    return {"title": type_name(type_)}


def source_of(fn: Any) -> str:
    """A function's source, or the best name for it where there is none."""
    try:
        return inspect.getsource(getattr(fn, "func", fn))
    except (OSError, TypeError):
        return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
