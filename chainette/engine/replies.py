"""Turns what an endpoint sent back into an `Answer` or into the reason why not. Knows no sockets and no retries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from chainette.engine.protocol import Answer, CallError, Choice

RAW_CHARS = 2_000
"""How much of a reply that cannot be used is kept."""

RETRIED_STATUS = frozenset({408, 409, 429})

_CONTEXT_LENGTH = re.compile(
    r"context.?(length|size|window)|maximum context|max_model_len|prompt is too long|too many (input )?tokens"
    r"|longer than the maximum|exceeds? the (model'?s )?(available|maximum)",
    re.IGNORECASE,
)
_CONTENT_FILTER = re.compile(r"content.?(filter|policy|management)|responsible.?ai", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reply came from, as far as a message may say it."""

    engine: str
    url: str
    model: str
    key_hint: str
    """What to do when the key is refused."""


class Unanswered(Exception):
    """The request may be sent again: refused for now, broken off, or never arrived."""

    def __init__(self, message: str, *, raw: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.raw = raw
        self.retry_after_s = retry_after_s


def read_answer(body: bytes, place: Place) -> Answer:
    """The answer in a reply with status 200; times are the caller's to fill in.

    Raises:
        CallError: the body is no chat completion, or the model declined.
    """
    try:
        reply = orjson.loads(body)
        choices = [_choice(c) for c in reply["choices"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CallError("http", _unusable(body, place), raw=_text(body)) from None
    if not choices:
        raise CallError("http", f"{place.url} answered 200 without any choice", raw=_text(body))
    answer = Answer(choices)
    usage = reply.get("usage")
    if isinstance(usage, dict):
        answer.prompt_tokens = usage.get("prompt_tokens") or 0
        answer.completion_tokens = usage.get("completion_tokens") or 0
        details = usage.get("prompt_tokens_details")
        if details:
            answer.cached_tokens = details.get("cached_tokens") or 0
    return answer


def _choice(choice: Any) -> Choice:
    message = choice["message"]
    finish_reason = choice.get("finish_reason") or "stop"
    refusal = message.get("refusal")
    if refusal:
        raise CallError("refused", f"the model declined: {refusal}", raw=str(refusal)[:RAW_CHARS])
    text = message.get("content")
    if finish_reason == "content_filter":
        raise CallError("refused", "the endpoint's content filter cut the answer", raw=(text or "")[:RAW_CHARS])
    if text is None:
        text = ""
    elif not isinstance(text, str):
        text = "".join(part["text"] for part in text if part.get("type") == "text")
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    return Choice(text, finish_reason, reasoning, choice.get("logprobs"))


def _unusable(body: bytes, place: Place) -> str:
    said = error_text(body)
    if said:
        return f"{place.url} answered 200 with an error: {said}"
    start = _text(body)[:80].strip()
    return f"{place.url} answered 200 with something that is no chat completion: {start!r}"


def refuse(status: int, headers: Mapping[str, str], body: bytes, place: Place) -> CallError | Unanswered:
    """What a reply with a status other than 200 amounts to."""
    said = error_text(body)
    raw = _text(body)
    if status in RETRIED_STATUS or status >= 500:
        message = f"{place.url} answered {status}" + (f": {said}" if said else "")
        return Unanswered(message, raw=raw, retry_after_s=retry_after_s(headers))
    if 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        return CallError("http", f"{place.url} redirects to {target}: put that into `endpoint`", raw=raw)
    if status in (400, 413, 422) and (_CONTEXT_LENGTH.search(said) or "context_length" in raw):
        return CallError("context_length", f"prompt and answer do not fit into the context: {said}", raw=raw)
    if status == 400 and _CONTENT_FILTER.search(raw):
        return CallError("refused", f"the endpoint declined the prompt: {said}", raw=raw)
    return CallError("http", _refusal(status, said, place), raw=raw)


def _refusal(status: int, said: str, place: Place) -> str:
    what = f"{place.url} answered {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return f"{what} ({place.key_hint})"
    if status == 404:
        return f'{what} (is "{place.model}" the model\'s name there, and does `endpoint` end with /v1?)'
    return what


def error_text(body: bytes) -> str:
    """The endpoint's own words in an error body, however it spells them; else the first line of a plain body."""
    try:
        reply: Any = orjson.loads(body)
    except ValueError:
        line = _text(body).strip().partition("\n")[0]
        return "" if line.startswith("<") else line[:300]
    for _ in range(3):
        if isinstance(reply, list) and reply:
            reply = reply[0]
        if not isinstance(reply, dict):
            break
        reply = next((reply[key] for key in ("error", "message", "detail", "msg") if reply.get(key)), "")
    return reply[:500] if isinstance(reply, str) else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as `retry-after-ms` or `Retry-After` (seconds or a date) says; None when neither does.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            continue
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


def _text(body: bytes) -> str:
    return body[: RAW_CHARS * 4].decode("utf-8", "replace")[:RAW_CHARS]
