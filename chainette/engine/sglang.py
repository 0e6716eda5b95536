"""An SGLang server that somebody else has started, through its OpenAI-compatible side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainette.engine import endpoint_only, openai
from chainette.engine.backends import Running
from chainette.engine.protocol import Engine
from chainette.specs import Capabilities, EngineSpec, SamplingParams

LOCAL = "http://localhost:30000/v1"

SAMPLING = frozenset(
    """n temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed stop stop_token_ids
    ignore_eos max_tokens min_tokens logprobs logit_bias skip_special_tokens extra_args""".split()
)
"""What SGLang's chat completions read by these names; it drops the rest without a word.

Source: https://docs.sglang.ai/basic_usage/openai_api_completions.html"""


def capabilities(spec: EngineSpec) -> Capabilities:
    return Capabilities(SAMPLING, images=True, description=f"{spec.model} on SGLang at {openai.shown(base_url(spec))}")


def window(spec: EngineSpec) -> int:
    return openai.window(spec)


def base_url(spec: EngineSpec) -> str:
    return spec.endpoint or LOCAL


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    fields = openai.body(spec, schema, sampling)
    if spec.chat_template_kwargs:
        fields["chat_template_kwargs"] = {**spec.chat_template_kwargs, **fields.get("chat_template_kwargs", {})}
    return fields


launch = endpoint_only.launch
settled = endpoint_only.settled
left_out = endpoint_only.left_out
unfit_sampling = endpoint_only.unfit_sampling
with_sleep = endpoint_only.with_sleep


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    return openai.connect(spec, running, warn)
