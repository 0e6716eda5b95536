"""Turns what an endpoint sent back into an `Answer` or into the reason why not. Knows no sockets and no retries."""

from __future__ import annotations

import math
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

LONGEST_RETRY_AFTER_S = 60.0
"""What is waited at most before a call is sent again, whatever the endpoint asks for."""

_MOST_TOKENS = 1 << 53
"""A count beyond this is no count, and could not be written as JSON."""

_LENGTH_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_BOM = b"\xef\xbb\xbf"

_CONTEXT_LENGTH = re.compile(
    r"context.?(length|size|window)|maximum context|max_model_len|prompt is too long|too many (input )?tokens"
    r"|longer than the maximum|exceeds? the (model'?s )?(available|maximum)",
    re.IGNORECASE,
)
_CONTENT_FILTER = re.compile(r"content.?(filter|policy|management)|responsible.?ai|input was flagged", re.IGNORECASE)


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

    def __init__(
        self,
        message: str,
        *,
        raw: str | None = None,
        retry_after_s: float | None = None,
        unreachable: bool = False,
    ) -> None:
        """`unreachable`: there was not even a connection."""
        super().__init__(message)
        self.raw = raw
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable


class Unserved(CallError):
    """The endpoint would treat every call like this one: its URL, its key or the model's name is wrong."""


class Unreachable(Unserved):
    """There is no connection to the endpoint, after all the tries worth making."""


def read_answer(body: bytes, place: Place) -> Answer:
    """The answer in a reply with status 200; times are the caller's to fill in.

    Raises:
        CallError: the body is no chat completion, or the model declined.
    """
    try:
        reply = _loads(body)
    except ValueError:
        what = f"{place.url} answered 200 with something that is no JSON: {_text(body)[:80].strip()!r}"
        raise CallError("http", what, raw=_text(body)) from None
    try:
        choices = [_choice(choice, place) for choice in reply["choices"]]
    except (KeyError, TypeError, AttributeError):
        raise CallError("http", _unusable(body, place), raw=_text(body)) from None
    if not choices:
        raise CallError("http", f"{place.url} answered 200 without any choice", raw=_text(body))
    answer = Answer(choices)
    usage = reply.get("usage")
    if isinstance(usage, dict):
        answer.prompt_tokens = _count(usage.get("prompt_tokens"))
        answer.completion_tokens = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            answer.cached_tokens = _count(details.get("cached_tokens"))
    return answer


def _choice(choice: Any, place: Place) -> Choice:
    message = choice["message"]
    finish_reason = _finish_reason(choice.get("finish_reason"))
    refusal = message.get("refusal")
    if refusal:
        raise CallError("refused", f"the model declined: {refusal}", raw=str(refusal)[:RAW_CHARS])
    if finish_reason == "error":
        raw = orjson.dumps(choice)[: RAW_CHARS * 4]
        said = error_text(orjson.dumps({"error": choice.get("error")}))
        what = f"{place.url} answered 200 and broke off with an error" + (f": {said}" if said else "")
        raise CallError("http", what, raw=_text(raw))
    text = _content(message.get("content"))
    if finish_reason == "content_filter":
        raise CallError("refused", "the endpoint's content filter cut the answer", raw=text[:RAW_CHARS])
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    return Choice(
        text,
        finish_reason,
        reasoning if isinstance(reasoning, str) else None,
        _writable(choice.get("logprobs")),
    )


def _finish_reason(said: Any) -> str:
    """`length`, `content_filter` and `error` however they are spelled; anything else as it came."""
    if not said:
        return "stop"
    reason = said if isinstance(said, str) else str(said)
    lower = reason.lower()
    if lower in _LENGTH_REASONS:
        return "length"
    return lower if lower in ("content_filter", "error") else reason


def _content(content: Any) -> str:
    """
    Raises:
        TypeError, KeyError, AttributeError: it is neither a text nor a list of parts.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise TypeError
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _count(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_TOKENS:
        return 0
    return int(value)


def _writable(value: Any) -> Any:
    """None in place of what is nested too deeply to be written again."""
    if value is None:
        return None
    try:
        orjson.dumps(value)
    except TypeError:
        return None
    return value


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
    if status in (400, 403) and _CONTENT_FILTER.search(raw):
        return CallError("refused", f"the endpoint declined the prompt: {said}", raw=raw)
    failure = Unserved if status in (401, 403, 404) else CallError
    return failure("http", _refusal(status, said, place), raw=raw)


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
        reply: Any = _loads(body)
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
    """Seconds to wait as `retry-after-ms` or `Retry-After` (seconds or a date) says, at most LONGEST_RETRY_AFTER_S;
    None when neither does.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        asked_s = _seconds(value, unit)
        if asked_s is not None and math.isfinite(asked_s):
            return min(max(0.0, asked_s), LONGEST_RETRY_AFTER_S)
    return None


def _seconds(value: str, unit: float) -> float | None:
    try:
        return float(value) * unit
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return (when - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None


def _loads(body: bytes) -> Any:
    """
    Raises:
        ValueError: it is no JSON. A byte order mark does no harm.
    """
    return orjson.loads(body.removeprefix(_BOM))


def _text(body: bytes) -> str:
    return body[: RAW_CHARS * 4].removeprefix(_BOM).decode("utf-8", "replace")[:RAW_CHARS]
