"""An Ollama server, through its OpenAI-compatible side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainette.engine import endpoint_only, openai
from chainette.engine.backends import Running
from chainette.engine.protocol import Engine
from chainette.specs import Capabilities, EngineSpec, SamplingParams

LOCAL = "http://localhost:11434/v1"

SAMPLING = frozenset(
    {"temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed", "stop", "extra_args"}
)
"""What Ollama reads; it drops the rest without a word.

Source: https://docs.ollama.com/api/openai-compatibility"""


def capabilities(spec: EngineSpec) -> Capabilities:
    return Capabilities(SAMPLING, images=True, description=f"{spec.model} on Ollama at {openai.shown(base_url(spec))}")


def window(spec: EngineSpec) -> int:
    # OLLAMA_NUM_PARALLEL is 1 unless it was set: the rest waits in its queue, of 512 at most.
    return spec.max_concurrency or 8


def base_url(spec: EngineSpec) -> str:
    return spec.endpoint or LOCAL


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    return openai.body(spec, schema, sampling)


launch = endpoint_only.launch
settled = endpoint_only.settled
left_out = endpoint_only.left_out
unfit_sampling = endpoint_only.unfit_sampling
with_sleep = endpoint_only.with_sleep


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    return openai.connect(spec, running, warn)
