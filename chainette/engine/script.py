"""What the stand-in engine is told to do, and what each request gets by it. Knows no sockets and no event loop."""

from __future__ import annotations

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from statistics import NormalDist
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chainette.engine import script_replies as replies
from chainette.engine.schema_values import draws, maker_of, sentence
from chainette.engine.script_replies import Turn
from chainette.errors import ChainError, Problem, nearest

FaultKind = Literal[
    "refuse",  # `status` (429) with `Retry-After` where `retry_after_s` is given
    "cut",  # the line is cut in the middle of the reply
    "hang",  # no reply, ever
    "garbage",  # 200 with a body that is no JSON
    "error_body",  # 200 with an error object in place of choices
    "no_choices",  # 200 with an empty list of choices
    "nonsense",  # a reply whose text is no JSON
    "mismatch",  # a reply whose text is JSON that does not fit the schema
    "truncate",  # half of the text and finish_reason "length"
    "blank",  # an empty text
    "filter",  # finish_reason "content_filter"
    "decline",  # a `refusal` in place of the text
    "context_length",  # 400 that speaks of the context length
    "redirect",  # 307 to another host
    "die",  # the process ends at once
]


class Fault(BaseModel):
    """Something that goes wrong, and for which requests. All the conditions given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the prompts; which ones is decided by the prompt's text, the same in every run."""
    every: int | None = Field(default=None, ge=1)
    """Every n-th request."""
    containing: str | None = None
    """Prompts that contain this."""
    attempts: int | None = Field(default=None, ge=1)
    """Only the first so many requests of a prompt, so that trying again helps."""
    status: int = Field(default=429, ge=300, le=599)
    """For `refuse`."""
    retry_after_s: float | None = Field(default=None, ge=0)
    """For `refuse`."""


class Script(BaseModel):
    """How the stand-in answers. Without anything: at once, and whatever fits the schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service_mean_s: float = Field(default=0.0, ge=0)
    """How long an answer takes on average. The time of a prompt is the same in every run."""
    service_sigma: float = Field(default=0.0, ge=0)
    """Of the lognormal distribution; 0 makes every answer take `service_mean_s`."""
    slots: int | None = Field(default=None, ge=1)
    """Answers made at the same time; further requests wait for a free one. None: no limit."""
    most_in_flight: int | None = Field(default=None, ge=1)
    """Requests at once above which further ones are refused with 429."""
    retry_after_s: float | None = Field(default=None, ge=0)
    """Said with that 429."""
    cached_share: float = Field(default=0.0, ge=0, le=1)
    """Of a prompt's tokens, said to have been cached."""
    metrics: bool = False
    """Whether replies carry the times vLLM sends with `--enable-per-request-metrics`."""
    seed: int = 0
    answers: dict[str, Any] = Field(default_factory=dict)
    """By a part of the prompt: the answer, a text or a value to be written as JSON. The first that is found counts."""
    echo: bool = False
    """Without a schema, the answer repeats the last message."""
    reasoning: str | None = None
    """Sent beside every answer."""
    faults: tuple[Fault, ...] = ()
    """The first that applies to a request happens."""
    die_after: int | None = Field(default=None, ge=0)
    """Requests after which the process ends at once."""
    model: str | None = None
    """The only model name it knows; None: any."""
    api_key: str | None = None
    """The only key it takes; None: any or none."""
    remember: bool = False
    """Count the answers of each prompt, for `repeated` and `prompt_answers_max`."""
    capture: int = Field(default=0, ge=0)
    """How many of the last request bodies are kept for looking at."""
    hosted: bool = False
    """As an engine: a server process of ours, like vLLM's, that takes devices; for trying plans and deaths out."""
    sleeps: bool = False
    """Whether that server can be put to sleep."""

    @classmethod
    def parse(cls, fields: dict[str, Any], where: str = "script") -> Script:
        """
        Raises:
            ChainError: unknown keys with the nearest name, and values that do not fit, all at once.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ChainError([_problem(e, where) for e in error.errors()]) from None


def _problem(error: Any, where: str) -> Problem:
    *outer, last = (str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = Fault.model_fields if outer else Script.model_fields
        return Problem(".".join([where, *outer]), f'no such key "{last}"', nearest(last, known))
    return Problem(".".join([where, *outer, last]), f"{error['msg']}, not {error['input']!r}")


@dataclass(slots=True)
class Stats:
    """What the stand-in saw. Times are the caller's clock, in seconds."""

    calls: int = 0
    answered: int = 0
    """Replies with status 200 that went out."""
    abandoned: int = 0
    """Requests whose caller went away before the reply."""
    in_flight: int = 0
    in_flight_max: int = 0
    prompts: int = 0
    """Different ones."""
    prompt_calls_max: int = 0
    """Most requests with one and the same prompt."""
    repeated: int = 0
    """Prompts answered more than once; counted when the script says `remember`."""
    prompt_answers_max: int = 0
    """Most answers to one and the same prompt; counted when the script says `remember`."""
    statuses: dict[int, int] = field(default_factory=dict)
    """0 stands for a line cut or never answered."""
    faults: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    service_s: float = 0.0
    """All service times added up; divided by the slots, the least time the answers could have taken."""
    first_s: float = 0.0
    last_s: float = 0.0
    captured: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> bytes:
        return orjson.dumps(asdict(self), option=orjson.OPT_NON_STR_KEYS)


@dataclass(frozen=True, slots=True)
class _Request:
    """The part of a request that is the same for all rows of a step."""

    make: Any
    n: int
    model: str


_UNKEYED = b'{"messages":'
_MAX_HEADS = 1_000


class Performance:
    """One running of a script. Any thread may ask for the next turn."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._lock = threading.Condition()
        self._heads: dict[bytes, _Request] = {}
        self._inverse = NormalDist().inv_cdf
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.stats = Stats()
            self._calls: dict[int, int] = {}
            self._answers: dict[int, int] = {}
            self._free_at: list[float] = [0.0] * (self.script.slots or 0)
            self._captured: deque[bytes] = deque(maxlen=self.script.capture)

    def seen(self) -> Stats:
        """A copy of what was counted so far."""
        with self._lock:
            stats = Stats(**{name: getattr(self.stats, name) for name in Stats.__slots__})
            stats.prompts = len(self._calls)
            stats.prompt_calls_max = max(self._calls.values(), default=0)
            stats.repeated = sum(answers > 1 for answers in self._answers.values())
            stats.prompt_answers_max = max(self._answers.values(), default=0)
            stats.statuses, stats.faults = dict(stats.statuses), dict(stats.faults)
            stats.captured = [orjson.loads(body) for body in self._captured]
            return stats

    def wait_until(self, is_so: Callable[[Stats], bool], timeout_s: float) -> bool:
        """Whether it came to be so, as looked at when a request is over."""
        with self._lock:
            return self._lock.wait_for(lambda: is_so(self.seen()), timeout_s)

    def turn(self, body: bytes, now_s: float, key: str | None = None) -> Turn:
        """What the request gets, decided when it comes in. When it is over, `left` or `abandoned` is to be called."""
        try:
            request, messages = self._read(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self._counted(replies.refused(400, f"the request cannot be read: {error!r}"), now_s)
        script = self.script
        if script.api_key is not None and key != script.api_key:
            return self._counted(replies.refused(401, f"Incorrect API key provided: {key}"), now_s)
        if script.model is not None and request.model != script.model:
            return self._counted(replies.refused(404, f"The model `{request.model}` does not exist"), now_s)
        text = _text_of(messages)
        number = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") ^ (script.seed * 0x9E3779B1)
        with self._lock:
            self.stats.calls += 1
            if script.most_in_flight is not None and self.stats.in_flight >= script.most_in_flight:
                return self._start(replies.refused(429, "too many requests", script.retry_after_s), now_s)
            if script.die_after is not None and self.stats.calls > script.die_after:
                return self._start(Turn(0, b"", ending="die"), now_s)
            call = self._calls[number] = self._calls.get(number, 0) + 1
            if script.capture:
                self._captured.append(body)
            fault = self._fault(text, number, call)
            turn = self._answer(request, text, number, messages, fault)
            turn.prompt = number
            if turn.status == 200:
                service_s, turn.wait_s = self._service(number, now_s)
                if script.metrics:
                    turn.body = replies.with_times(turn.body, max(0.0, turn.wait_s - service_s), service_s)
            return self._start(turn, now_s)

    def left(self, turn: Turn, now_s: float) -> None:
        """The reply went out."""
        with self._lock:
            self.stats.in_flight -= 1
            self.stats.last_s = now_s
            self._lock.notify_all()
            if turn.status == 200 and not turn.ending:
                self.stats.answered += 1
                if self.script.remember:
                    self._answers[turn.prompt] = self._answers.get(turn.prompt, 0) + 1

    def abandoned(self, turn: Turn, now_s: float) -> None:
        """Whoever asked has gone."""
        with self._lock:
            self.stats.in_flight -= 1
            self.stats.last_s = now_s
            self._lock.notify_all()
            self.stats.abandoned += 1

    def load(self) -> tuple[int, int]:
        """Requests that are being answered, and that wait for a slot."""
        with self._lock:
            in_flight = self.stats.in_flight
        running = min(in_flight, self.script.slots or in_flight)
        return running, in_flight - running

    def _counted(self, turn: Turn, now_s: float) -> Turn:
        with self._lock:
            self.stats.calls += 1
            return self._start(turn, now_s)

    def _start(self, turn: Turn, now_s: float) -> Turn:
        stats = self.stats
        stats.in_flight += 1
        stats.in_flight_max = max(stats.in_flight_max, stats.in_flight)
        stats.first_s = stats.first_s or now_s
        status = 0 if turn.ending else turn.status
        stats.statuses[status] = stats.statuses.get(status, 0) + 1
        return turn

    def _read(self, body: bytes) -> tuple[_Request, list[Any]]:
        """A step's requests begin with the same bytes: their schema is read once."""
        at = body.find(b'"messages":')
        head = body[:at]
        request = self._heads.get(head)
        if request is not None:
            with suppress(ValueError):
                fields = orjson.loads(_UNKEYED + body[at + len(_UNKEYED) - 1 :])
                if len(fields) == 1:
                    return request, fields["messages"]
        fields = orjson.loads(body)
        messages = fields["messages"]
        request = _request(fields)
        if next(reversed(fields)) == "messages":
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[head] = request
        return request, messages

    def _fault(self, text: str, number: int, call: int) -> Fault | None:
        for position, fault in enumerate(self.script.faults):
            if fault.attempts is not None and call > fault.attempts:
                continue
            if fault.every is not None and self.stats.calls % fault.every:
                continue
            if fault.containing is not None and fault.containing not in text:
                continue
            if fault.share < 1 and draws(number + position + 1)(1_000_000) >= fault.share * 1_000_000:
                continue
            self.stats.faults[fault.kind] = self.stats.faults.get(fault.kind, 0) + 1
            return fault
        return None

    def _answer(self, request: _Request, text: str, number: int, messages: list[Any], fault: Fault | None) -> Turn:
        if fault is not None and fault.kind in replies.WITHOUT_ANSWER:
            return replies.WITHOUT_ANSWER[fault.kind](fault.status, fault.retry_after_s)
        answers = [self._text(request, text, number + choice, messages) for choice in range(request.n)]
        prompt_tokens = text.count(" ") + text.count("\n") + 1
        completion_tokens = sum(answer.count(" ") + 1 for answer in answers)
        self.stats.prompt_tokens += prompt_tokens
        self.stats.completion_tokens += completion_tokens
        kind = fault.kind if fault is not None else ""
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        if self.script.cached_share:
            usage["cached_tokens"] = int(prompt_tokens * self.script.cached_share)
        body = replies.completion(request.model, answers, kind, self.script.reasoning, usage, number)
        return Turn(200, body, ending="cut" if kind == "cut" else "")

    def _text(self, request: _Request, text: str, number: int, messages: list[Any]) -> str:
        for part, answer in self.script.answers.items():
            if part in text:
                return answer if isinstance(answer, str) else orjson.dumps(answer).decode()
        if request.make is not None:
            return orjson.dumps(request.make(number)).decode()
        if self.script.echo:
            return str(messages[-1]["content"])
        return sentence(draws(number), 8)

    def _service(self, number: int, now_s: float) -> tuple[float, float]:
        """Seconds the answer takes, alone and with the wait for a free slot."""
        script = self.script
        service_s = script.service_mean_s
        if script.service_sigma and service_s:
            uniform = (draws(number)(1 << 32) + 0.5) / (1 << 32)
            sigma = script.service_sigma
            service_s *= math.exp(sigma * self._inverse(uniform) - sigma * sigma / 2)
        self.stats.service_s += service_s
        if not self._free_at:
            return service_s, service_s
        done_s = max(now_s, self._free_at[0]) + service_s
        heapq.heapreplace(self._free_at, done_s)
        return service_s, done_s - now_s


def _request(fields: dict[str, Any]) -> _Request:
    form = fields.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_object":
        schema = {"type": "object", "additionalProperties": True}
    make = maker_of(schema) if schema is not None else None
    return _Request(make, int(fields.get("n") or 1), str(fields.get("model", "")))


def _text_of(messages: list[Any]) -> str:
    return "\n".join(
        [
            content if isinstance(content := message["content"], str) else orjson.dumps(content).decode()
            for message in messages
        ]
    )
