"""vLLM: a server of somebody else's at an endpoint, or one of ours. Knows its command line, not how it is started."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainette.engine import openai, vllm_command
from chainette.engine.backends import ALL_SAMPLING, Launch, Running, queued
from chainette.engine.grammars import DEFAULT_GRAMMAR
from chainette.engine.protocol import Engine
from chainette.engine.runaways import cut_fields, held_schema
from chainette.engine.vllm_command import arguments, unfit
from chainette.engine.vllm_installed import DEFAULT_MAX_NUM_SEQS, Installed, NoVllm, installed, python_of
from chainette.errors import EngineStartError
from chainette.specs import Capabilities, EngineSpec, SamplingParams

ENVIRONMENT = {"VLLM_DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
"""What the server's process finds in its environment unless the user says otherwise."""


HOTTEST = 2.0
MOST_LOGPROBS = 20


def capabilities(spec: EngineSpec) -> Capabilities:
    if spec.endpoint is not None:
        description = f"{spec.model} on vLLM at {openai.shown(spec.endpoint)}"
        return Capabilities(ALL_SAMPLING, images=True, ready=unfit(spec, None), description=description)
    try:
        found = installed(python_of(spec.python))
    except NoVllm as none:
        elsewhere = f"or start `vllm serve {spec.model}` elsewhere and give `endpoint: http://localhost:8000/v1`"
        ready = "; ".join(filter(None, (str(none), elsewhere, unfit(spec, None))))
        return Capabilities(
            ALL_SAMPLING, images=True, ready=ready, description=f"{spec.model} on vLLM", on_devices=True
        )
    return Capabilities(
        ALL_SAMPLING,
        images=True,
        ready=unfit(spec, found),
        description=f"{spec.model} on vLLM {found.version}" + (" (CPU)" if found.on_cpu else ""),
        on_devices=True,
        on_cpu=found.on_cpu,
    )


def window(spec: EngineSpec) -> int:
    given = spec.max_concurrency or queued(_whole(spec.vllm_args.get("max_num_seqs")))
    if given or spec.endpoint is not None:
        return given or openai.window(spec)
    try:
        return queued(installed(python_of(spec.python)).max_num_seqs)
    except NoVllm:
        return queued(DEFAULT_MAX_NUM_SEQS)


def _whole(value: Any) -> int:
    """vLLM also takes numbers as text; what it will not take, it says."""
    try:
        return max(0, int(value or 0))
    except (TypeError, ValueError):
        return 0


def base_url(spec: EngineSpec) -> str | None:
    return spec.endpoint


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    held = None if schema is None else held_schema(spec, schema)
    cut = {} if schema is None else cut_fields(spec, schema, sampling)
    fields = {**cut, **openai.body(spec, held, sampling)}
    if spec.chat_template_kwargs:
        fields["chat_template_kwargs"] = {**spec.chat_template_kwargs, **fields.get("chat_template_kwargs", {})}
    return fields


def launch(spec: EngineSpec, devices: int = 0) -> Launch:
    found = _usable(spec)
    key = secrets.token_urlsafe(24)
    settings = {"arguments": arguments(spec, devices, found), "environment": ENVIRONMENT, "key": key}
    # The calls that put it to sleep and wake it are served in this mode only, to anybody who reaches its port.
    environment = {"VLLM_SERVER_DEV_MODE": "1"} if spec.vllm_args.get("enable_sleep_mode") else {}
    command = (found.python, str(Path(__file__).with_name("vllm_server.py")))
    return Launch(command, settings, key, environment)


def _usable(spec: EngineSpec) -> Installed:
    try:
        found = installed(python_of(spec.python))
    except NoVllm as none:
        raise EngineStartError(f'engine "{spec.name}": {none}') from None
    if wrong := unfit(spec, found):
        raise EngineStartError(f'engine "{spec.name}": {wrong}')
    return found


def settled(spec: EngineSpec) -> EngineSpec:
    """With the grammar backend that its server gets when no chain asks for another."""
    configured = spec.vllm_args.get("structured_outputs_config") is not None
    if configured or spec.endpoint is not None or spec.grammar != "auto":
        return spec
    return spec.model_copy(update={"grammar": DEFAULT_GRAMMAR})


def with_sleep(spec: EngineSpec) -> EngineSpec | None:
    """On GPUs only: on a processor there is nothing to give back."""
    asked = spec.vllm_args.get("enable_sleep_mode")
    try:
        can = spec.endpoint is None and not installed(python_of(spec.python)).on_cpu
    except NoVllm:
        can = False
    if not can or asked is False:
        return None
    return spec.model_copy(update={"vllm_args": {**spec.vllm_args, "enable_sleep_mode": True}})


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    from chainette.engine.endpoint import EndpointEngine

    if running is None:
        return EndpointEngine(spec, warn=warn)
    return EndpointEngine(spec, base_url=running.url, api_key=running.api_key, died=running.died, warn=warn)


def unfit_sampling(spec: EngineSpec, sampling: SamplingParams) -> list[str]:
    """What can be told without the model.

    Source: vllm/sampling_params.py, `SamplingParams._verify_args`
    """
    said = []
    if sampling.temperature is not None and sampling.temperature > HOTTEST:
        said.append(f"temperature {sampling.temperature:g} is above {HOTTEST:g}")
    if sampling.top_k is not None and sampling.top_k < -1:
        said.append(f"top_k {sampling.top_k} is below -1, which means all")
    most = spec.vllm_args.get("max_logprobs", MOST_LOGPROBS)
    for name in ("logprobs", "prompt_logprobs"):
        asked = getattr(sampling, name)
        if isinstance(most, int) and 0 <= most < (asked or 0):
            said.append(f"{name} {asked} is above the engine's `max_logprobs`, {most}")
    length = spec.vllm_args.get("max_model_len")
    if isinstance(length, int) and 0 < length <= (sampling.max_tokens or 0):
        said.append(f"max_tokens {sampling.max_tokens} leaves no room for a prompt in `max_model_len` {length}")
    return said


def left_out(spec: EngineSpec) -> list[str]:
    return [] if spec.endpoint is not None else vllm_command.left_out(spec)
