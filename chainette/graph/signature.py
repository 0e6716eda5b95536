"""A short name for what a node does, equal when it would do the same. Engines do not count: they change per machine."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
import tokenize
from typing import Any

import orjson

from chainette.chain import Apply, Step
from chainette.chain.source import innermost
from chainette.graph.types import is_model, type_name


def digest(*parts: Any) -> str:
    """32 hex digits of JSON-able parts."""
    try:
        text = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        text = json.dumps(parts, sort_keys=True, default=str).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def signature_of(decl: Step | Apply | None, upstream: tuple[str, ...]) -> str:
    if isinstance(decl, Step):
        return digest("step", step_facts(decl), upstream)
    if isinstance(decl, Apply):
        scope = [decl.scope] if decl.scope != "chunk" else []
        return digest("apply", code_of(decl), bound_to(decl.fn), decl.shape.words, upstream, *scope)
    return digest("node", upstream)


def code_of(decl: Apply) -> str:
    """What says that a function does the same as before: its declared version, or else its source."""
    return source_of(decl.fn) if decl.version is None else f"version {decl.version}"


def asked_facts(asked: Any) -> Any:
    """What decides what a predicate, key or first carry gives: a field's name, a value, or a function's source."""
    if not callable(asked):
        return asked if isinstance(asked, str) else repr(asked)
    return [source_of(asked), bound_to(asked)]


def step_facts(step: Step) -> dict[str, Any]:
    """What decides a step's calls, as it stands in `graph.json`."""
    lora = {"lora": step.lora} if step.lora is not None else {}
    return {
        "system_prompt": step.system_prompt,
        "user_prompt": step.user_prompt if isinstance(step.user_prompt, str) else list(step.user_prompt),
        "output_format_instruction": step.output_format_instruction,
        "schema": schema_of(step.output_model),
        "sampling": step.sampling.given(),
        "n": step.samples,
        "images": step.images,
        **lora,
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


def bound_to(fn: Any) -> list[str]:
    """What a function carries beside its source: arguments of a partial, defaults, values it closes over."""
    carried: list[Any] = []
    while isinstance(fn, functools.partial):
        carried += [fn.args, sorted(fn.keywords.items())]
        fn = fn.func
    carried += [getattr(fn, "__defaults__", None), getattr(fn, "__kwdefaults__", None)]
    for cell in getattr(fn, "__closure__", None) or ():
        try:
            carried.append(cell.cell_contents)
        except ValueError:  # not filled yet
            carried.append(None)
    return [re.sub(r" at 0x[0-9a-f]+", "", repr(value)) for value in carried]


def source_of(fn: Any) -> str:
    """A function's source, or the best name for it where there is none."""
    fn = innermost(fn)
    fn = getattr(fn, "__wrapped__", fn)
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
