"""A vLLM server that somebody else has started. Hosting one ourselves is not in this release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainette.engine import openai
from chainette.engine.backends import ALL_SAMPLING, Launch, Running, queued
from chainette.engine.protocol import Engine
from chainette.errors import EngineStartError
from chainette.specs import Capabilities, EngineSpec, SamplingParams


def capabilities(spec: EngineSpec) -> Capabilities:
    if spec.endpoint is None:
        return Capabilities(ALL_SAMPLING, images=True, ready=_not_hosted(spec), description=f"{spec.model} on vLLM")
    shown = openai.shown(spec.endpoint)
    return Capabilities(ALL_SAMPLING, images=True, description=f"{spec.model} on vLLM at {shown}")


def window(spec: EngineSpec) -> int:
    return spec.max_concurrency or queued(int(spec.vllm_args.get("max_num_seqs") or 0)) or openai.window(spec)


def base_url(spec: EngineSpec) -> str | None:
    return spec.endpoint


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    return openai.body(spec, schema, sampling)


def launch(spec: EngineSpec) -> Launch:
    raise EngineStartError(f'engine "{spec.name}": {_not_hosted(spec)}')


def _not_hosted(spec: EngineSpec) -> str:
    return (
        "hosting vLLM comes in a later release; "
        f"start `vllm serve {spec.model}` and give `endpoint: http://localhost:8000/v1`"
    )


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    return openai.connect(spec, running, warn)
