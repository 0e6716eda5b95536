"""A call in the words of OpenTelemetry's conventions for generative AI. Plain dicts in, plain dicts out; knows no SDK.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURED = ("true", "1", "span_only", "span_and_event")
_PROVIDERS = {"embedded": "llama_cpp"}
_REQUEST = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "n": "choice.count",
}

Value = str | int | float | bool | list[str]


def captures_content() -> bool:
    """Whether the user wants what the model said to be sent as well."""
    return os.environ.get(CAPTURE, "").strip().lower() in _CAPTURED


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What all calls of one step have in common."""

    step: str
    name: str
    """Of its calls' spans: what is done, and with which model."""
    common: dict[str, Value]
    """On spans and metrics."""
    request: dict[str, Value]
    """On spans only."""


def step_facts(graph: Mapping[str, Any]) -> dict[str, StepFacts]:
    """By step, from `graph.json`."""
    engines = {engine.get("name"): engine for engine in graph.get("engines", []) if isinstance(engine, dict)}
    found = {}
    for node in graph.get("nodes", []):
        if not isinstance(node, dict) or node.get("type") != "step":
            continue
        engine = engines.get(node.get("engine"), {})
        backend = str(engine.get("backend") or "")
        model = str(engine.get("model") or "") or ("demo" if backend == "embedded" else "")
        common: dict[str, Value] = {"gen_ai.operation.name": "chat"}
        if backend:
            common["gen_ai.provider.name"] = _PROVIDERS.get(backend, backend)
        if model:
            common["gen_ai.request.model"] = model
        common |= _server(engine.get("endpoint"))
        sampling = node.get("sampling") or {}
        request: dict[str, Value] = {
            f"gen_ai.request.{name}": sampling[field]
            for field, name in _REQUEST.items()
            if isinstance(sampling.get(field), int | float) and (field, sampling[field]) != ("n", 1)
        }
        request["gen_ai.output.type"] = "json" if node.get("schema") else "text"
        request |= {"chainette.step": str(node["id"]), "chainette.engine": str(node.get("engine"))}
        found[str(node["id"])] = StepFacts(str(node["id"]), f"chat {model}".strip(), common, request)
    return found


def _server(endpoint: object) -> dict[str, Value]:
    try:
        parts = urlsplit(str(endpoint or ""))
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {"server.address": host, "server.port": port or (443 if parts.scheme == "https" else 80)}


def error_type(record: Mapping[str, Any]) -> str | None:
    """Why a call gave nothing: it was not answered, or no answer was taken."""
    if "error" in record:
        return str(record["error"]["kind"])
    refused = record.get("refused")
    return str(refused[0]) if refused else None


def call_attributes(record: Mapping[str, Any], *, content: bool) -> dict[str, Value]:
    """Of one call beside those of its step. What the model said is there only with `content`; the prompts, which
    `calls/` does not hold, never are."""
    found: dict[str, Value] = {"chainette.row.id": str(record["_id"]), "chainette.attempt": int(record["attempt"])}
    if "turn" in record:
        turn = record["turn"]
        found["chainette.turn"] = ", ".join(map(str, turn)) if isinstance(turn, list) else str(turn)
    if record.get("sent", 1) != 1:
        found["chainette.requests"] = int(record["sent"])
    error = error_type(record)
    if error is not None:
        found["error.type"] = error
    if "error" in record:
        return found
    usage = record.get("usage") or {}
    found["gen_ai.usage.input_tokens"] = int(usage.get("prompt_tokens", 0))
    found["gen_ai.usage.output_tokens"] = int(usage.get("completion_tokens", 0))
    if usage.get("cached_tokens"):
        found["gen_ai.usage.cache_read.input_tokens"] = int(usage["cached_tokens"])
    reasons = record.get("finish_reasons", [record.get("finish_reason")])
    found["gen_ai.response.finish_reasons"] = [str(reason) for reason in reasons if reason is not None]
    if record.get("first_token_s") is not None:
        found["gen_ai.response.time_to_first_chunk"] = float(record["first_token_s"])
    if record.get("queue_s") is not None:
        found["chainette.queue_s"] = float(record["queue_s"])
    found["chainette.replica"] = int(record.get("replica", 0))
    if content:
        found["gen_ai.output.messages"] = json.dumps(_messages(record), ensure_ascii=False)
    return found


def _messages(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts = record.get("texts", [record.get("text")])
    thoughts = record.get("reasonings", [record.get("reasoning")])
    reasons = record.get("finish_reasons", [record.get("finish_reason")])
    messages = []
    for text, thought, reason in zip(texts, thoughts, reasons, strict=False):
        parts = [{"type": "reasoning", "content": thought}] if thought else []
        parts.append({"type": "text", "content": text})
        messages.append({"role": "assistant", "parts": parts, "finish_reason": reason})
    return messages
