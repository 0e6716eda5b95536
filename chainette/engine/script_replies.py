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
    prompt_tokens: int,
    completion_tokens: int,
    number: int,
) -> bytes:
    """A chat completion with a choice per answer, spoilt as the fault says."""
    return orjson.dumps(
        {
            "id": f"scripted-{number & 0xFFFFFFFF:08x}",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [_choice(index, answer, fault, reasoning) for index, answer in enumerate(answers)],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
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


def refused(status: int, message: str, retry_after_s: float | None = None, code: str | None = None) -> Turn:
    body = orjson.dumps({"error": {"message": message, "type": "scripted", "code": code or str(status)}})
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return Turn(status, body, headers=headers)


WITHOUT_ANSWER: dict[str, Callable[[int, float | None], Turn]] = {
    "refuse": lambda status, wait_s: refused(status, f"the script refuses with {status}", wait_s),
    "hang": lambda status, wait_s: Turn(0, b"", ending="hang"),
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
