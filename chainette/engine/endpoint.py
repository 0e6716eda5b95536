"""The client of one OpenAI-compatible endpoint. Knows neither who started the server nor what a row is.

This is the hot path: everything that is the same for all rows of a step is turned into bytes once, in `prepare`, and a
call that goes well runs through no retry machinery.
"""

from __future__ import annotations

import asyncio
import copy
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import orjson

from chainette.engine import replies
from chainette.engine.backends import backend_of
from chainette.engine.connections import ALIVE_TIMEOUT_S, Connections
from chainette.engine.openai import shown
from chainette.engine.pace import Gate, gauged, pace_of
from chainette.engine.protocol import Answer, CallError, Message
from chainette.engine.replies import Barred, Lost, Place, Unanswered, Unserved
from chainette.engine.request_json import constant_part, unsayable, unsendable
from chainette.engine.signs import Signs, Trouble
from chainette.errors import ChainError, EngineDiedError, EngineError
from chainette.specs import EngineSpec, SamplingParams

Prompt = str | list[Message]
AnyCallError = TypeVar("AnyCallError", bound=CallError)

LARGE_BODY_BYTES = 1 << 20
"""From here on aiohttp wants a file-like body."""
BYTES_PER_TOKEN = 4
"""Of a request's body, for what it is counted as until its reply tells."""


@dataclass(slots=True)
class PreparedCall:
    """The constant part of a step's requests: the body is `head` + messages + `}`."""

    head: bytes = field(repr=False)
    schema: dict[str, Any] | None = field(repr=False)
    checked: bool = True
    """False until the engine has tried the schema once; see `EndpointEngine.before_first`."""
    most_tokens: int | None = None
    """That all its answers together may have, where the sampling says so."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class EndpointEngine:
    """An engine behind HTTP. One connection pool per event loop, made when first needed."""

    devices = 0

    def __init__(
        self,
        spec: EngineSpec,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        window: int | None = None,
        died: Callable[[], str | None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """`base_url`, `api_key` and `window` override the spec's, for a server of ours.

        `died` says why the server's process is gone, or None while it lives. `warn` gets what a person should know.
        """
        backend = backend_of(spec)
        url = base_url or backend.base_url(spec)
        if url is None:
            raise EngineDiedError(f'engine "{spec.name}" has no endpoint and was not started')
        self.spec = spec
        self._backend = backend
        self._ours = base_url is not None
        self._pace = pace_of(spec, window or backend.window(spec), ours=self._ours)
        self._key = api_key or key_of(spec)
        self._died = died
        self._warn = warn
        self._completions = url if url.endswith("/chat/completions") else _joined(url, "/chat/completions")
        self._place = Place(spec.name, shown(self._completions), spec.model, _key_hint(spec, self._key))
        self._signs = Signs()
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()
        self._pool: Connections | None = None

    def __repr__(self) -> str:
        return f"<EndpointEngine {self.spec.name} at {self._place.url}>"

    @property
    def window(self) -> int:
        return self._pace.window

    @property
    def held_by(self) -> str:
        return self._pace.held_by if self._pace.holds else ""

    def follow(self, changed: Callable[[], None]) -> None:
        self._pace.follow(changed)

    async def attend(self) -> None:
        if not gauged(self.spec):
            return
        from chainette.engine.gauge import attend

        await attend(self._metrics, self._pace)
        if not self._ours:
            self._pace.judge()

    async def _metrics(self) -> bytes | None:
        return await self._connections().metrics()

    def prepare(
        self, schema: dict[str, Any] | None, sampling: SamplingParams, adapter: str | None = None
    ) -> PreparedCall:
        fields: dict[str, Any] = {}
        try:
            fields = self._backend.body(self.spec, schema, sampling)
            if adapter is not None:
                fields["model"] = adapter
            constant = constant_part(fields)
        except TypeError as error:
            raise ChainError(unsendable(self.spec, fields, error)) from None
        most = sampling.max_tokens * (sampling.n or 1) if sampling.max_tokens else None
        return PreparedCall(constant[:-1] + b',"messages":', schema, most_tokens=most)

    async def call(self, prepared: PreparedCall, messages: list[Message], timeout_s: float | None = None) -> Answer:
        began = time.monotonic()
        try:
            body = prepared.head + orjson.dumps(messages) + b"}"
        except TypeError as error:
            raise unsayable(error) from None
        try:
            return await self._request(prepared, body, timeout_s)
        except Unanswered as error:
            failure = error
        except CallError as error:
            raise self._judged(error) from None
        except TimeoutError:
            raise _unsent(self._pace.held_by) from None
        return await self._send_again(prepared, body, failure, timeout_s, began)

    async def _request(self, prepared: PreparedCall, body: bytes, left_s: float | None) -> Answer:
        """One request, when its turn has come, which takes of the row's `left_s` but not of the request's own time.

        Raises:
            TimeoutError: its turn did not come.
        """
        gate, taken = self._pace.gate(), None
        if not gate.enters():
            began = time.monotonic()
            async with asyncio.timeout(left_s):
                taken = await gate.turn(len(body) / BYTES_PER_TOKEN + self._pace.answer_tokens(prepared.most_tokens))
            left_s = None if left_s is None else left_s - (time.monotonic() - began)
        whole_s = self.spec.request_timeout_s
        limit_s = whole_s if left_s is None or left_s > whole_s else left_s
        tokens: int | None = None
        written = 0
        try:
            async with asyncio.timeout(limit_s):
                if not prepared.checked:
                    await self._check(prepared)
                answer = await self._send(body, gate)
            written = answer.completion_tokens
            tokens = answer.prompt_tokens + written or None  # of an endpoint that does not tell, the guess stays
            return answer
        except Unanswered as refusal:
            tokens = 0 if refusal.crowded else None
            raise
        except TimeoutError:
            raise _late(limit_s, whole_s) from None
        finally:
            gate.leave()
            if taken is not None and tokens is not None:
                self._pace.settle(taken, tokens, written)

    async def _send(self, body: bytes, gate: Gate) -> Answer:
        signs = self._signs
        signs.requests = number = signs.requests + 1
        started_s = time.time()
        began = time.perf_counter()
        try:
            status, headers, content = await self.post(body)
        except Unanswered:
            self._raise_if_died()
            raise
        if status < 500:
            signs.replies += 1
            if number > signs.newest:
                signs.newest = number
        if status != 200:
            refusal = replies.refuse(status, headers, content, self._place)
            if isinstance(refusal, Unanswered) and refusal.crowded:
                self._pace.refused(number, signs.requests, gate.in_flight, refusal.retry_after_s)
            raise refusal
        answer = replies.read_answer(content)
        answer.started_s = started_s
        answer.seconds = time.perf_counter() - began
        signs.proven = True
        signs.answered_s = started_s + answer.seconds
        if self._pace.listens:
            self._pace.answered(number, signs.requests, gate.full, answer.seconds, answer.completion_tokens)
        return answer

    async def post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the reply to one request.

        Raises:
            Unanswered: no whole reply came.
            CallError: none can come.
        """
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._connections()
        data = body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body)
        try:
            response = await pool.session.post(pool.url, data=data, allow_redirects=False)
            return response.status, response.headers, await response.read()
        except pool.broken as error:
            raise pool.explain(error) from None

    async def _send_again(
        self, prepared: PreparedCall, body: bytes, failure: Unanswered, timeout_s: float | None, began: float
    ) -> Answer:
        """Goes on after a first request that was not answered. Only here does a call pay for its retries."""
        from chainette.engine.retries import retried

        trouble = Trouble(self._signs)

        def remaining_s() -> float | None:
            return None if timeout_s is None else timeout_s - (time.monotonic() - began)

        async def send() -> Answer:
            trouble.again()
            return await self._request(prepared, body, remaining_s())

        try:
            return await retried(send, failure, self.spec, remaining_s)
        except Lost as error:
            judged = await self._judged_lost(error, trouble)
        except CallError as error:
            judged = self._judged(error)
        finally:
            trouble.over()
        raise judged

    async def _judged_lost(self, error: Lost, trouble: Trouble) -> EngineError:
        """The error for this call, or for all when its endpoint is gone."""
        error = self._without_key(error)
        doubt = trouble.doubt(error.absence)
        if doubt == "alive" or (doubt == "ask" and await self.alive()):
            return error
        where = f'engine "{self.spec.name}" at {self._place.url}'
        if not self._signs.answered_s:
            return EngineDiedError(f"{where} cannot be used: {error}. Is `endpoint` right, and the server up?")
        last = datetime.fromtimestamp(self._signs.answered_s, UTC)
        return EngineDiedError(
            f"{where} is gone: {error}; its last answer came at {last:%Y-%m-%d %H:%M:%S} UTC. "
            "Start it again, then go on with `chainette resume`"
        )

    async def alive(self, within_s: float = ALIVE_TIMEOUT_S) -> bool:
        """Whether anything answers at the endpoint, calls aside."""
        return await self._connections().alive(within_s)

    async def _check(self, prepared: PreparedCall) -> None:
        async with prepared.lock:
            if not prepared.checked:
                await self.before_first(prepared)
                prepared.checked = True

    async def before_first(self, prepared: PreparedCall) -> None:
        """Tries the schema before its first use, where the backend asks for it by `checked=False`."""

    def generate(
        self,
        prompts: list[Prompt],
        sampling: SamplingParams | None = None,
        schema: dict[str, Any] | None = None,
    ) -> list[str]:
        from chainette.engine.generate import blocking

        return blocking(self.agenerate, prompts, sampling, schema)

    async def agenerate(
        self,
        prompts: list[Prompt],
        sampling: SamplingParams | None = None,
        schema: dict[str, Any] | None = None,
    ) -> list[str]:
        from chainette.engine.generate import generate

        # With connections of its own: others may be calling in this loop, and nobody else would close these.
        alone = copy.copy(self)
        alone._sessions = WeakKeyDictionary()
        alone._pool = None
        try:
            return await generate(alone, prompts, sampling, schema)
        finally:
            await alone.aclose()

    async def aclose(self) -> None:
        """Closes the connections of the running event loop; a later call makes new ones."""
        pool = self._sessions.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            if self._pool is pool:
                self._pool = None
            await pool.session.close()

    def _connections(self) -> Connections:
        loop = asyncio.get_running_loop()
        pool = self._sessions.get(loop)
        if pool is None:
            try:
                pool = Connections(loop, self._completions, self._headers())
            except ValueError as error:
                raise Unserved("http", f"the endpoint's URL is none: {error}") from None
            self._sessions[loop] = pool
        self._pool = pool
        return pool

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return {**headers, **self.spec.headers}

    def _raise_if_died(self) -> None:
        why = self._died() if self._died is not None else None
        if why:
            raise EngineDiedError(why)

    def _judged(self, error: CallError) -> EngineError:
        """The error for this call, or for all: while none was served, what would meet each of them alike."""
        error = self._without_key(error)
        signs = self._signs
        if error.kind in ("refused", "context_length"):
            signs.proven = True
        if not isinstance(error, Barred) and (signs.proven or not isinstance(error, Unserved)):
            return error
        any_more = " any more" if signs.proven else ""
        return EngineError(f'engine "{self.spec.name}" at {self._place.url} cannot be used{any_more}: {error}')

    def _without_key(self, error: AnyCallError) -> AnyCallError:
        """Some endpoints repeat the key they refuse."""
        if self._key and self._key in f"{error}{error.raw}":
            error.args = (str(error).replace(self._key, "***"),)
            error.raw = error.raw.replace(self._key, "***") if error.raw else error.raw
        return error


def key_of(spec: EngineSpec) -> str | None:
    """The spec's own key, else that of its environment variable, if there is one."""
    if spec.api_key is not None:
        return spec.api_key.get_secret_value().strip()
    return os.environ.get(spec.api_key_env, "").strip() or None


def _key_hint(spec: EngineSpec, key: str | None) -> str:
    if spec.api_key is not None:
        return f'the key in `api_key` of engine "{spec.name}" is not accepted for {spec.model}'
    if key:
        return f"the key in the environment variable {spec.api_key_env} is not accepted for {spec.model}"
    return f"set the environment variable {spec.api_key_env}, or name another one with `api_key_env`"


def _late(limit_s: float, whole_s: float) -> CallError:
    """What a row had left of its time differs from run to run, and so is no part of the message."""
    within = f"{whole_s:g} s (request_timeout_s)" if limit_s == whole_s else "the row's time"
    return CallError("timeout", f"the endpoint gave no answer within {within}", sent=1)


def _unsent(held_by: str) -> CallError:
    because = f": it was not sent, for it waited for the {held_by}" if held_by else ""
    return CallError("timeout", f"the endpoint gave no answer within the row's time{because}", sent=0)


def _joined(url: str, path: str) -> str:
    base, mark, query = url.partition("?")
    return base.rstrip("/") + path + mark + query
