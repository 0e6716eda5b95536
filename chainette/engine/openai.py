"""Any endpoint that speaks OpenAI's chat completions. Knows the body's field names, not how it is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from chainette.engine import endpoint_only
from chainette.engine.backends import ALL_SAMPLING, ENDPOINT_WINDOW, Running
from chainette.engine.protocol import Engine
from chainette.specs import Capabilities, EngineSpec, SamplingParams

OPENAI = "https://api.openai.com/v1"


def capabilities(spec: EngineSpec) -> Capabilities:
    url = base_url(spec)
    ready = ""
    if is_openai(spec) and spec.api_key is None and not os.environ.get(spec.api_key_env):
        ready = f"needs a key: set the environment variable {spec.api_key_env}"
    return Capabilities(ALL_SAMPLING, images=True, ready=ready, description=f"{spec.model} at {shown(url)}")


def window(spec: EngineSpec) -> int:
    return spec.max_concurrency or ENDPOINT_WINDOW


def base_url(spec: EngineSpec) -> str:
    return spec.endpoint or OPENAI


launch = endpoint_only.launch
settled = endpoint_only.settled
left_out = endpoint_only.left_out
unfit_sampling = endpoint_only.unfit_sampling
with_sleep = endpoint_only.with_sleep


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    from chainette.engine.endpoint import EndpointEngine

    return EndpointEngine(spec, warn=warn)


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    fields = {"model": spec.model, **sampling_fields(sampling), "stream": False}
    if is_openai(spec) and "max_tokens" in fields:
        # Its newer models refuse max_tokens: https://platform.openai.com/docs/api-reference/chat/create
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if schema is not None:
        fields["response_format"] = response_format(schema, strict=not is_openai(spec) or fits_strict(schema))
    return fields


def sampling_fields(sampling: SamplingParams) -> dict[str, Any]:
    """The given sampling fields as chat completions spell them; vLLM's extensions keep their names."""
    fields = sampling.given()
    extra = fields.pop("extra_args", None) or {}
    if "logprobs" in fields:
        fields["top_logprobs"] = fields["logprobs"]
        fields["logprobs"] = True
    if "logit_bias" in fields:
        fields["logit_bias"] = {str(token): bias for token, bias in fields["logit_bias"].items()}
    return {**fields, **extra}


def response_format(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


def is_openai(spec: EngineSpec) -> bool:
    """Whether it is OpenAI's own service, which is stricter than its imitators."""
    url = spec.endpoint or (OPENAI if spec.backend == "openai" else "")
    return urlsplit(url).hostname == "api.openai.com"


def fits_strict(schema: Any) -> bool:
    """Whether OpenAI itself takes the schema with `strict: true`: every object closed, every property required.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if isinstance(schema, list):
        return all(fits_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    return all(fits_strict(part) for part in schema.values())


def shown(url: str) -> str:
    """The URL as it may stand in a message: without user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
