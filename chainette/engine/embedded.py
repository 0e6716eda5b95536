"""llama.cpp on this machine's processors, in a process of its own, for any GGUF file and the demo model.

Knows the process's settings and what its server really honours (each field below was tried), not how it is started.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from chainette.engine import endpoint_only
from chainette.engine.backends import Launch, Running, queued
from chainette.engine.endpoint import EndpointEngine, PreparedCall
from chainette.engine.gguf_file import is_gguf, trained_context_length
from chainette.engine.openai import sampling_fields
from chainette.engine.process import python_file
from chainette.engine.protocol import Answer, CallError, Engine, Message
from chainette.engine.replies import read_answer
from chainette.engine.runaways import closed_schema
from chainette.errors import EngineStartError
from chainette.specs import Capabilities, EngineSpec, SamplingParams

DEMO_MODEL = Path(__file__).with_name("demo.gguf")
DEMO_DESCRIPTION = (
    "the demo model that ships with Chainette (llama.cpp on the CPU; a closed little world of product reviews, "
    "for trying things out)"
)
DEFAULT_CONTEXT_LENGTH = 4096
SMALL_MODEL_BYTES = 64 << 20
"""Below this a second thread per answer costs more than it brings; slots fill the cores instead."""

SAMPLING = frozenset(
    """n temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed stop ignore_eos
    max_tokens logprobs logit_bias extra_args""".split()
)

_PROBE_TOKEN = "~"


def capabilities(spec: EngineSpec) -> Capabilities:
    description = DEMO_DESCRIPTION if not spec.model else f"{spec.model} (llama.cpp on the CPU)"
    return Capabilities(SAMPLING, images=False, ready=_missing(spec), description=description)


def _missing(spec: EngineSpec) -> str:
    if find_spec("xllamacpp") is None:
        return "needs the package xllamacpp: pip install xllamacpp"
    if not _has_avx2():
        return "llama.cpp's wheel needs a processor with AVX2, which this one lacks; use an endpoint instead"
    if spec.replicas not in (None, 1):
        return "takes no `replicas`: `slots` says how many answers are made at the same time"
    if not spec.model and not DEMO_MODEL.is_file():
        return f"the demo model is missing from the installation ({DEMO_MODEL}); install chainette again"
    return ""


def _has_avx2() -> bool:
    """True unless this is Linux on x86 and the kernel says otherwise."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return "flags\t" not in flags or " avx2" in flags


def slots(spec: EngineSpec) -> int:
    return spec.slots or max(4, os.cpu_count() or 1)


def window(spec: EngineSpec) -> int:
    return spec.max_concurrency or queued(slots(spec))


def base_url(spec: EngineSpec) -> str | None:
    return spec.endpoint


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    fields = sampling_fields(sampling)
    if "repetition_penalty" in fields:
        fields["repeat_penalty"] = fields.pop("repetition_penalty")
    if schema is not None:
        fields["grammar"] = grammar(schema)
    return {**fields, "stream": False}


def grammar(schema: dict[str, Any]) -> str:
    """The schema for llguidance, which holds the model to it; `response_format` would go to an older converter that
    drops what it does not know. Without flexible white space a weak model cannot fill the answer with blanks.

    Source: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
    """
    strict = {**closed_schema(schema), "x-guidance": {"whitespace_flexible": False, "lenient": True}}
    return f"%llguidance {{}}\nstart: %json {orjson.dumps(strict).decode()}"


def launch(spec: EngineSpec, devices: int = 0) -> Launch:
    model = model_file(spec)
    threads = 1 if model.stat().st_size < SMALL_MODEL_BYTES else min(4, os.cpu_count() or 1)
    context_length = spec.context_length or min(
        trained_context_length(model) or DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH
    )
    key = secrets.token_urlsafe(24)
    settings = {
        "model.path": str(model),
        "model_alias": spec.model or "demo",
        "hostnames": ["127.0.0.1"],
        "port": 0,
        "api_keys": [key],
        "cors_origins": "http://127.0.0.1",
        "n_parallel": slots(spec),
        "n_ctx": slots(spec) * context_length,
        "cpuparams.n_threads": threads,
        "cpuparams_batch.n_threads": threads,
        "fit_params": False,
        "warmup": False,
        "ui": False,
        "endpoint_slots": False,
        "cache_ram_mib": 0,
        "verbosity": -1,
    }
    return Launch(python_file(Path(__file__).with_name("llama_server.py")), settings, key)


settled = endpoint_only.settled
left_out = endpoint_only.left_out
unfit_sampling = endpoint_only.unfit_sampling
with_sleep = endpoint_only.with_sleep


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    if running is None:
        return EmbeddedEngine(spec, warn=warn)
    return EmbeddedEngine(spec, base_url=running.url, api_key=running.api_key, died=running.died, warn=warn)


def model_file(spec: EngineSpec) -> Path:
    """The GGUF file the spec means, fetched from the hub where it is a hub name.

    Raises:
        EngineStartError: there is none, or it is no GGUF file.
    """
    if not spec.model:
        path = DEMO_MODEL
    else:
        path = Path(spec.model).expanduser()
        if not path.is_file():
            if spec.model.startswith((".", "/", "~")) or spec.model.count("/") not in (1, 2):
                raise EngineStartError(f'engine "{spec.name}": there is no file {spec.model}')
            from chainette.engine.hub import fetch

            path = fetch(spec)
    if not path.is_file():
        raise EngineStartError(f'engine "{spec.name}": {_missing(spec) or f"there is no file {path}"}')
    if not is_gguf(path):
        raise EngineStartError(f'engine "{spec.name}": {path} is no GGUF file')
    return path


@dataclass(slots=True)
class PreparedSamples(PreparedCall):
    """`n` answers as `n` requests: the server's own `n` ends at its slots and counts the tokens of one answer only."""

    singles: tuple[PreparedCall, ...] = ()


class EmbeddedEngine(EndpointEngine):
    """The client of our llama.cpp server. Tries each schema once, since a grammar that does not compile is ignored."""

    def prepare(
        self, schema: dict[str, Any] | None, sampling: SamplingParams, adapter: str | None = None
    ) -> PreparedCall:
        first = super().prepare(schema, sampling.model_copy(update={"n": None}))
        first.checked = schema is None
        singles = [first]
        for sample in range(1, sampling.n or 1):
            seed = None if sampling.seed is None else sampling.seed + sample
            singles.append(super().prepare(schema, sampling.model_copy(update={"n": None, "seed": seed})))
        return first if len(singles) == 1 else PreparedSamples(first.head, schema, singles=tuple(singles))

    async def call(self, prepared: PreparedCall, messages: list[Message], timeout_s: float | None = None) -> Answer:
        if not isinstance(prepared, PreparedSamples):
            return await super().call(prepared, messages, timeout_s)
        began = time.monotonic()
        whole: Answer | None = None
        for single in prepared.singles:
            left_s = None if timeout_s is None else max(0.0, timeout_s - (time.monotonic() - began))
            answer = await super().call(single, messages, left_s)
            if whole is None:
                whole = answer
                continue
            whole.choices += answer.choices
            whole.completion_tokens += answer.completion_tokens
            whole.cached_tokens += answer.cached_tokens
            whole.sent += answer.sent
        assert whole is not None
        whole.seconds = time.monotonic() - began
        return whole

    async def before_first(self, prepared: PreparedCall) -> None:
        """Pushes the model towards a token no JSON begins with: when it comes out, no grammar is at work."""
        assert prepared.schema is not None
        probe = {
            "grammar": grammar(prepared.schema),
            "messages": [{"role": "user", "content": "?"}],
            "max_tokens": 1,
            "temperature": 0,
            "logit_bias": [[_PROBE_TOKEN, 1000]],
        }
        status, _, content = await self.post(orjson.dumps(probe))
        try:
            text = read_answer(content).choices[0].text if status == 200 else _PROBE_TOKEN
        except CallError:
            return  # the row's own call will say it
        if text.startswith(_PROBE_TOKEN) and self._warn is not None:
            title = prepared.schema.get("title", "the output model")
            self._warn(
                f'engine "{self.spec.name}" cannot hold the model to the schema of {title}; '
                "its answers are validated all the same, and more of them will fail"
            )
