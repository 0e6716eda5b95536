"""Turns what an endpoint sent back into an `Answer` or into the reason why not. Knows no sockets and no retries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson

from chainette.engine.protocol import Answer, CallError, Choice
from chainette.rows import FailureKind

RAW_CHARS = 2_000
"""How much of a reply that cannot be used is kept."""

RETRIED_STATUS = frozenset({408, 409, 429})
CROWDED_STATUS = frozenset({429, 529})
"""Too many requests, and what Anthropic says for it; a 503 that says when to come back means the same."""
GATEWAY_STATUS = frozenset({502, 503, 504, *range(520, 528), 530})
"""What a proxy says for a server that is not there, and a server that is not ready."""

Absence = Literal["no_connection", "cut", "gateway"]
"""How a try shows that the server may be gone: there was no connection, it was cut, or a proxy says so."""

LONGEST_RETRY_AFTER_S = 60.0
"""What is waited at most before a call is sent again, whatever the endpoint asks for."""

_MOST_TOKENS = 1 << 53
"""A count beyond this is no count, and could not be written as JSON."""

_LENGTH_REASONS = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
_FILTER_REASONS = frozenset(
    {"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "refusal"}
)
"""What OpenAI says, what Gemini's endpoint hands through, and what others say for the same."""
_BOM = b"\xef\xbb\xbf"

_CONTEXT_LENGTH = re.compile(
    r"context.?(length|size|window|limit)|maximum (context|prompt length)|max_model_len|too many (input )?tokens"
    r"|(prompt|input).{0,40} is too long|string too long|longer than the maximum|range of input length"
    r"|exceeds? the (model'?s )?(available|maximum)|max_new_tokens`? must be <=|must have less than \d+ tokens",
    re.IGNORECASE,
)
_CONTENT_FILTER = re.compile(
    r"content.?(filter|policy|management)|responsible.?ai|(input|prompt) was flagged|usage polic|safety system"
    r"|moderation|data.?inspection|inappropriate content",
    re.IGNORECASE,
)


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
        absence: Absence | None = None,
        barred: bool = False,
        crowded: bool = False,
    ) -> None:
        """`barred`: what helps is a person, not another try. `crowded`: it was one request too many."""
        super().__init__(message)
        self.raw = raw
        self.retry_after_s = retry_after_s
        self.absence = absence
        self.barred = barred
        self.crowded = crowded


class Unserved(CallError):
    """The endpoint would treat every call like this one: its URL, its key or the model's name is wrong."""


class Barred(Unserved):
    """The endpoint answers nobody with this key any more: it has expired, or there is no money left."""


class Lost(CallError):
    """The last of all the tries worth making found nobody there."""

    def __init__(self, kind: FailureKind, message: str, absence: Absence, *, raw: str | None, sent: int) -> None:
        super().__init__(kind, message, raw=raw, sent=sent)
        self.absence = absence


def read_answer(body: bytes) -> Answer:
    """The answer in a reply with status 200; times are the caller's to fill in.

    Raises:
        CallError: the body is no chat completion, or the model declined all that was asked for.
        Unanswered: the server gave up in the middle of it.
    """
    try:
        reply = _loads(body)
    except ValueError:
        what = f"the endpoint answered 200 with something that is no JSON: {_text(body)[:80].strip()!r}"
        raise CallError("http", what, raw=_text(body)) from None
    try:
        choices = [_choice(choice) for choice in _in_order(reply["choices"])]
    except (KeyError, TypeError, AttributeError):
        raise _unusable(body) from None
    if not choices:
        raise CallError("http", "the endpoint answered 200 without any choice", raw=_text(body))
    declined = choices[0].declined
    if declined is not None and all(choice.declined for choice in choices):
        raise CallError("refused", declined, raw=choices[0].text[:RAW_CHARS])
    answer = Answer(choices, prompt_logprobs=_writable(reply.get("prompt_logprobs")))
    usage = reply.get("usage")
    if isinstance(usage, dict):
        answer.prompt_tokens = _count(usage.get("prompt_tokens"))
        answer.completion_tokens = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            answer.cached_tokens = _count(details.get("cached_tokens"))
    metrics = reply.get("metrics")
    if isinstance(metrics, dict):
        _read_times(answer, metrics)
    return answer


def _read_times(answer: Answer, metrics: dict[str, Any]) -> None:
    """vLLM counts the time to the first token from when the request was taken up.

    Source: https://docs.vllm.ai/en/latest/cli/serve.html (--enable-per-request-metrics)
    """
    queue_ms, first_ms = metrics.get("queue_time_ms"), metrics.get("time_to_first_token_ms")
    if isinstance(queue_ms, int | float) and queue_ms >= 0:
        answer.queue_s = queue_ms / 1000
        if isinstance(first_ms, int | float) and first_ms >= 0:
            answer.first_token_s = (queue_ms + first_ms) / 1000


def _in_order(choices: Any) -> Any:
    """The choices by their `index`, where several have one."""
    if isinstance(choices, list) and len(choices) > 1:
        indices = [choice.get("index") for choice in choices]
        if all(type(index) is int for index in indices):
            return [choices[position] for position in sorted(range(len(choices)), key=indices.__getitem__)]
    return choices


def _choice(choice: Any) -> Choice:
    message = choice["message"]
    finish_reason = _finish_reason(choice.get("finish_reason"))
    if finish_reason == "abort":  # vLLM and SGLang, when they are stopped; what there is of the answer is no answer
        raise Unanswered("the endpoint gave up in the middle of the answer", absence="cut")
    if finish_reason == "error":
        raw = orjson.dumps(choice)[: RAW_CHARS * 4]
        said = error_text(orjson.dumps({"error": choice.get("error")}))
        what = "the endpoint answered 200 and broke off with an error" + (f": {said}" if said else "")
        raise CallError("http", what, raw=_text(raw))
    declined, refusal = None, message.get("refusal")
    if refusal:
        text = str(refusal)
        declined = f"the model declined: {text[:500]}"
    else:
        text = _content(message.get("content"))
        if finish_reason == "content_filter":
            declined = "the endpoint's content filter cut the answer"
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    return Choice(
        text,
        finish_reason,
        reasoning if isinstance(reasoning, str) else None,
        _writable(choice.get("logprobs")),
        declined,
    )


def _finish_reason(said: Any) -> str:
    """`length`, `content_filter`, `error` and `abort` however they are spelled; anything else as it came."""
    if not said:
        return "stop"
    reason = said if isinstance(said, str) else str(said)
    lower = reason.lower()
    if lower in _LENGTH_REASONS:
        return "length"
    if lower.partition(":")[0] in _FILTER_REASONS:
        return "content_filter"
    return lower if lower in ("error", "abort") else reason


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


def _unusable(body: bytes) -> CallError:
    said = error_text(body)
    if said and _CONTEXT_LENGTH.search(f"{said} {_labels(body)}"):
        return _too_long(said, _text(body))
    if said:
        return CallError("http", f"the endpoint answered 200 with an error: {said}", raw=_text(body))
    start = _text(body)[:80].strip()
    what = f"the endpoint answered 200 with something that is no chat completion: {start!r}"
    return CallError("http", what, raw=_text(body))


def _too_long(said: str, raw: str) -> CallError:
    return CallError("context_length", f"prompt and answer do not fit into the context: {said}", raw=raw)


def refuse(status: int, headers: Mapping[str, str], body: bytes, place: Place) -> CallError | Unanswered:
    """What a reply with a status other than 200 amounts to."""
    said = error_text(body)
    raw = _text(body)
    words = f"{said} {_labels(body)}"
    if status in (400, 413, 422, 500) and _CONTEXT_LENGTH.search(words):
        return _too_long(said, raw)
    if status in RETRIED_STATUS or status >= 500:
        asked_s = retry_after_s(headers)
        barred = "insufficient_quota" in words
        return Unanswered(
            f"the endpoint answered {status}" + (f": {said}" if said else ""),
            raw=raw,
            retry_after_s=asked_s,
            absence="gateway" if status in GATEWAY_STATUS else None,
            barred=barred,
            crowded=not barred and (status in CROWDED_STATUS or (status == 503 and asked_s is not None)),
        )
    if 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        return Unserved("http", f"the endpoint redirects to {target}: put that into `endpoint`", raw=raw)
    if status in (400, 403, 422, 451) and _CONTENT_FILTER.search(words):
        return CallError("refused", f"the endpoint declined the prompt: {said}", raw=raw)
    failure = Barred if status in (401, 402) else Unserved if status in (403, 404) else CallError
    return failure("http", _refusal(status, said, place), raw=raw)


def _refusal(status: int, said: str, place: Place) -> str:
    what = f"the endpoint answered {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return f"{what} ({place.key_hint})"
    if status == 404:
        return f'{what} (is "{place.model}" the model\'s name there, and does `endpoint` end with /v1?)'
    return what


def _labels(body: bytes) -> str:
    """The codes and types an error body names. The rest of it may repeat the prompt, and prompts say anything."""
    try:
        reply: Any = _loads(body)
    except ValueError:
        return ""
    labels: list[str] = []
    for _ in range(3):
        if isinstance(reply, list) and reply:
            reply = reply[0]
        if not isinstance(reply, dict):
            break
        labels += [str(reply[key]) for key in ("code", "type", "error_type") if reply.get(key)]
        inside = (
            reply[key] for key in ("error", "innererror", "inner_error") if isinstance(reply.get(key), dict | list)
        )
        reply = next(inside, None)
    return " ".join(labels)[:500]


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
