"""Lines of `calls/` as spans in the Chrome trace format. Knows what a call says of its times; opens no file.

There may be hundreds of thousands, so of a usual line only what is before and behind its texts is read; a line that
looks otherwise is read whole. Both give the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import orjson

_HEAD = re.compile(rb'\{"_id":("[\w .:/-]{1,200}"),"key":"[^"\n]*",("attempt":\d+(?:,"turn":\d+)?),"text":')
_TAIL = re.compile(
    rb',"finish_reason":("\w+"|null),'
    rb'"usage":\{("prompt_tokens":\d+,"completion_tokens":\d+,"cached_tokens":\d+)\},'
    rb'"started_s":(\d+\.\d+),"seconds":(\d+\.\d+),"replica":(\d+),"sent":1\}\n'
)
_MESSAGE_CHARS = 500
_LEAST_S = 1e9
"""Times before that (2001) are no times."""

Span = tuple[int, int, bytes]
"""Begin and end in µs since the trace's zero, and the rest of the event."""


@dataclass(slots=True)
class CallSpans:
    """The calls of one run on their way into a trace, by replica."""

    zero_s: float
    """The trace's zero, in seconds since 1970."""
    replicas: dict[tuple[str, int | None], list[Span]] = field(default_factory=dict)
    """(engine, replica) -> spans as they were added. No replica: the call failed, and nobody says whose it was."""
    kept: int = 0
    reused: int = 0
    """Lines that are answers of another run."""
    timeless: int = 0
    """Calls that do not say when they were: failed ones of runs of an older version."""

    def add(self, step: str, engine: str, block: bytes) -> None:
        """Whole lines, of calls of `step` at `engine`. What is no call (what a Python step keeps) is left out."""
        begins = b'"name":%b,"cat":"call","args":{"row":' % trace_json(step)
        found = []
        at = 0
        for tail in _TAIL.finditer(block):
            before = block.rfind(b"\n", at, tail.start()) + 1
            if before > at:
                self._add_others(step, engine, block[at:before])
                at = before
            head = _HEAD.match(block, at)
            if head is None:
                self._add_others(step, engine, block[at : tail.end()])
            else:
                found.append(head.groups() + tail.groups())
            at = tail.end()
        self._add_others(step, engine, block[at:])
        if found:
            self._add_found(begins, engine, found)

    def _add_found(self, begins: bytes, engine: str, found: list[tuple[bytes, ...]]) -> None:
        rows, attempts, finishes, usages, starts, lengths, names = zip(*found, strict=True)
        zero_s = self.zero_s
        spans = []
        # All numbers at once: one by one they would cost as much as everything else.
        times = zip(orjson.loads(b"[%b]" % b",".join(starts)), orjson.loads(b"[%b]" % b",".join(lengths)), strict=True)
        for (start_s, seconds), row, attempt, usage, finish in zip(
            times, rows, attempts, usages, finishes, strict=True
        ):
            begin = int((start_s - zero_s) * 1e6 + 0.5)
            rest = b'%b%b,%b,%b,"finish_reason":%b' % (begins, row, attempt, usage, finish)
            spans.append((begin, begin + (int(seconds * 1e6 + 0.5) or 1), rest))
        self.kept += len(spans)
        for name in set(names):
            mine = spans if len(set(names)) == 1 else [s for s, n in zip(spans, names, strict=True) if n == name]
            self.replicas.setdefault((engine, int(name)), []).extend(mine)

    def _add_others(self, step: str, engine: str, lines: bytes) -> None:
        for line in lines.splitlines():
            self._add_other(step, engine, line)

    def _add_other(self, step: str, engine: str, line: bytes) -> None:
        """A line that is not the usual one: an error, a refused answer, one with more times, a foreign id."""
        try:
            record = orjson.loads(line)
            if "reused" in record:
                self.reused += 1
                return
            span = _span(step, record, self.zero_s)
            if span is None:
                self.timeless += "error" in record
                return
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return
        replica = record.get("replica")
        self.kept += 1
        self.replicas.setdefault((engine, replica if type(replica) is int else None), []).append(span)


def _span(step: str, record: Mapping[str, Any], zero_s: float) -> Span | None:
    """None of what is no call, or does not say when it was."""
    started_s = record.get("started_s")
    if started_s is None or not started_s > _LEAST_S:
        return None
    begin = int((started_s - zero_s) * 1e6 + 0.5)
    end = begin + max(1, int(record["seconds"] * 1e6 + 0.5))
    args: dict[str, Any] = {name: record[name] for name in ("_id", "attempt", "turn") if name in record}
    args["row"] = args.pop("_id")
    category, why = "call", ""
    if "error" in record:
        error = record["error"]
        category, why = "failed", f" (failed: {error['kind']})"
        args |= {"error": str(error["kind"]), "message": str(error["message"])[:_MESSAGE_CHARS]}
    else:
        usage = record["usage"]
        args |= {name: usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
        args["finish_reason"] = record.get("finish_reason")
        args |= {name: record[name] for name in ("finish_reasons", "queue_s", "first_token_s") if name in record}
        if record.get("refused"):
            category, why = "refused", f" (refused: {record['refused'][0]})"
            args["refused"] = record["refused"][0]
    for name in ("turn", "finish_reasons"):
        if isinstance(args.get(name), list):  # of a list Perfetto shows one item only
            args[name] = ", ".join(map(str, args[name]))
    if record.get("sent", 1) != 1:
        args["requests"] = record["sent"]
    # The braces are closed where the event ends.
    rest = b'"name":%b,"cat":"%b","args":%b' % (trace_json(step + why), category.encode(), trace_json(args)[:-1])
    return begin, end, rest


def trace_json(value: object) -> bytes:
    """As it stands in a trace. Half surrogate pairs in foreign text are replaced."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        text = orjson.dumps(_mended(value))
    # Perfetto takes the quote after an escaped backslash for an escaped quote (v52), and the whole file for cut off.
    return text.replace(b"\\\\", b"\\u005c") if b"\\\\" in text else text


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return {_mended(k): _mended(v) for k, v in value.items()} if isinstance(value, dict) else value


_TIMED = re.compile(rb'"queue_s":([\d.]+)|"first_token_s":([\d.]+)')


def inner_spans(span: Span) -> list[tuple[int, int, bytes]]:
    """(begin, end, name) of what a call did first: waiting in the engine's queue, then reading the prompt."""
    begin, end, rest = span
    times = {m.lastindex: float(m[m.lastindex or 0]) for m in _TIMED.finditer(rest, max(0, rest.rfind(b'_tokens":')))}
    queued = min(end, begin + round(times.get(1, 0.0) * 1e6))
    first = min(end, begin + round(times.get(2, 0.0) * 1e6))
    found = [(begin, queued, b"queue")] if queued > begin else []
    return [*found, (queued, first, b"first token")] if first > queued else found


def lanes(spans: Sequence[Span]) -> list[int]:
    """For each of the spans, which are in the order of their beginnings, the lowest lane that is free then."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    chosen = []
    for begin, end, _ in spans:
        while busy and busy[0][0] <= begin:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (end, lane))
        chosen.append(lane)
    return chosen
