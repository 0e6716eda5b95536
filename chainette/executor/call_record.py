"""A call as `calls/` holds it: from an answer to a record and back. Knows neither files nor steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from chainette.engine.protocol import Answer, CallError, Choice
from chainette.files.views import turn_of

MAX_RAW = 100_000
"""Characters of a refused text that are kept beside its reason; of an answer, `calls/` has all of it."""


def record_of(
    row_id: str, key: str, attempt: int, answer: Answer, refused: Sequence[str], *, turns: tuple[int, ...] = ()
) -> dict[str, Any]:
    """`refused` says for each choice that was not taken why not, `turns` in which turn it was of each loop around the
    step, the outermost first."""
    record = _head(row_id, key, attempt, turns)
    choices = answer.choices
    if len(choices) == 1:
        record["text"] = choices[0].text
        record["reasoning"] = choices[0].reasoning
        record["finish_reason"] = choices[0].finish_reason
    else:
        record["texts"] = [choice.text for choice in choices]
        record["reasonings"] = [choice.reasoning for choice in choices]
        record["finish_reasons"] = [choice.finish_reason for choice in choices]
        if any(choice.declined for choice in choices):
            record["declined"] = [choice.declined for choice in choices]
    if choices and choices[0].logprobs is not None:
        record["logprobs"] = choices[0].logprobs
    if answer.prompt_logprobs is not None:
        record["prompt_logprobs"] = answer.prompt_logprobs
    record["usage"] = {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cached_tokens": answer.cached_tokens,
    }
    record["started_s"] = answer.started_s
    record["seconds"] = answer.seconds
    if answer.queue_s is not None:
        record["queue_s"] = answer.queue_s
    if answer.first_token_s is not None:
        record["first_token_s"] = answer.first_token_s
    record["replica"] = answer.replica
    record["sent"] = answer.sent
    if refused:
        record["refused"] = list(refused)
    return record


def _head(row_id: str, key: str, attempt: int, turns: tuple[int, ...]) -> dict[str, Any]:
    """In this order: the files are looked through by the beginnings of their lines."""
    if not turns:
        return {"_id": row_id, "key": key, "attempt": attempt}
    return {"_id": row_id, "key": key, "attempt": attempt, "turn": turn_of(turns)}


def error_record(
    row_id: str,
    key: str,
    attempt: int,
    error: CallError,
    *,
    turns: tuple[int, ...] = (),
    began_s: float | None = None,
) -> dict[str, Any]:
    """A call that was not answered and is over now. It began at `began_s`, by `time.time()`."""
    said: dict[str, Any] = {"kind": error.kind, "message": str(error)}
    if error.raw is not None:
        said["raw"] = error.raw[:MAX_RAW]
    times = {} if began_s is None else {"started_s": began_s, "seconds": max(0.0, time.time() - began_s)}
    return {**_head(row_id, key, attempt, turns), "error": said, **times, "sent": error.sent}


def is_whole(record: dict[str, Any]) -> bool:
    """Whether it is a record as they are made here, and was not changed since."""
    try:
        outcome = outcome_of(record)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    if isinstance(outcome, CallError):
        return True
    counts = (outcome.prompt_tokens, outcome.completion_tokens, outcome.seconds)
    return all(isinstance(n, int | float) for n in counts) and all(isinstance(c.text, str) for c in outcome.choices)


def outcome_of(record: dict[str, Any]) -> Answer | CallError:
    """What the call gave, as it gave it."""
    if "error" in record:
        error = record["error"]
        return CallError(error["kind"], error["message"], raw=error.get("raw"), sent=record.get("sent", 1))
    if "texts" in record:
        declined = record.get("declined") or [None] * len(record["texts"])
        columns = (record["texts"], record["finish_reasons"], record["reasonings"], declined)
        choices = [
            Choice(text, finish, reasoning, declined=why) for text, finish, reasoning, why in zip(*columns, strict=True)
        ]
    else:
        choices = [Choice(record["text"], record["finish_reason"], record.get("reasoning"))]
    usage = record.get("usage", {})
    return Answer(
        choices,
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        cached_tokens=usage.get("cached_tokens", 0),
        seconds=record.get("seconds", 0.0),
        queue_s=record.get("queue_s"),
        first_token_s=record.get("first_token_s"),
    )


def reused_record(record: dict[str, Any], row_id: str, run: str, *, turns: tuple[int, ...] = ()) -> dict[str, Any]:
    """The record of another run (or row, or turn) as it stands in this run's log."""
    source = {"run": run, "_id": record["_id"]}
    head = _head(row_id, record["key"], record["attempt"], turns)
    kept = {name: value for name, value in record.items() if name not in ("_id", "key", "attempt", "turn", "reused")}
    return {**head, **kept, "reused": record.get("reused", source)}
