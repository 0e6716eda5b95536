"""The replies of the stand-in as bytes on the wire, right ones and wrong ones. Knows no script and no server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson


@dataclass(slots=True)
class Turn:
    """What one request gets."""

    status: int
    body: bytes
    wait_s: float = 0.0
    """From the request to the reply."""
    ending: Literal["", "cut", "hang", "die"] = ""
    headers: dict[str, str] = field(default_factory=dict)
    prompt: int = 0
    """The number of the prompt that was asked."""


def completion(
    model: str,
    answers: list[str],
    fault: str,
    reasoning: str | None,
    usage: dict[str, int],
    number: int,
) -> bytes:
    """A chat completion with a choice per answer, spoilt as the fault says."""
    told: dict[str, Any] = {**usage, "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}
    if "cached_tokens" in told:
        told["prompt_tokens_details"] = {"cached_tokens": told.pop("cached_tokens")}
    return orjson.dumps(
        {
            "id": f"scripted-{number & 0xFFFFFFFF:08x}",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [_choice(index, answer, fault, reasoning) for index, answer in enumerate(answers)],
            "usage": told,
        }
    )


def _choice(index: int, answer: str, fault: str, reasoning: str | None) -> dict[str, Any]:
    finish_reason = "stop"
    message: dict[str, Any] = {"role": "assistant", "content": answer}
    if fault == "nonsense":
        message["content"] = f"Sure! Here it is: {answer[: len(answer) // 2]}"
    elif fault == "mismatch":
        message["content"] = '["not", "what", "was", "asked", "for"]'
    elif fault == "truncate":
        message["content"] = answer[: len(answer) // 2]
        finish_reason = "length"
    elif fault == "blank":
        message["content"] = ""
    elif fault == "filter":
        message["content"] = None
        finish_reason = "content_filter"
    elif fault == "decline":
        message["content"] = None
        message["refusal"] = "I can't help with that."
    if reasoning is not None:
        message["reasoning"] = reasoning
    return {"index": index, "message": message, "finish_reason": finish_reason}


def with_times(body: bytes, queue_s: float, service_s: float) -> bytes:
    """The reply with what vLLM tells of a request's times; a tenth of the work is done before the first token."""
    times = {
        "time_to_first_token_ms": service_s * 100,
        "generation_time_ms": service_s * 900,
        "queue_time_ms": queue_s * 1000,
    }
    return body[:-1] + b',"metrics":' + orjson.dumps(times) + b"}"


def metrics_page(running: int, waiting: int) -> bytes:
    """The few lines of vLLM's /metrics that tell its load, and one that is easily taken for them."""
    labels = 'engine="0",model_name="scripted"'
    return (
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        "# TYPE vllm:num_requests_running gauge\n"
        f"vllm:num_requests_running{{{labels}}} {running:.1f}\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting{{{labels}}} {waiting:.1f}\n"
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} {waiting:.1f}\n'
    ).encode()


def refused(status: int, message: str, retry_after_s: float | None = None, code: str | None = None) -> Turn:
    body = orjson.dumps({"error": {"message": message, "type": "scripted", "code": code or str(status)}})
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return Turn(status, body, headers=headers)


WITHOUT_ANSWER: dict[str, Callable[[int, float | None], Turn]] = {
    "refuse": lambda status, wait_s: refused(status, f"the script refuses with {status}", wait_s),
    "hang": lambda status, wait_s: Turn(0, b"", ending="hang"),
    "die": lambda status, wait_s: Turn(0, b"", ending="die"),
    "garbage": lambda status, wait_s: Turn(200, b"<html><body>proxy error</body></html>"),
    "error_body": lambda status, wait_s: Turn(200, b'{"error":{"message":"the backend is on fire"}}'),
    "no_choices": lambda status, wait_s: Turn(200, b'{"object":"chat.completion","choices":[]}'),
    "context_length": lambda status, wait_s: refused(
        400, "This model's maximum context length is 16 tokens", code="context_length_exceeded"
    ),
    "redirect": lambda status, wait_s: Turn(
        307, b"", headers={"Location": "http://elsewhere.invalid/v1/chat/completions"}
    ),
}
