"""Sends again what is worth sending again. Knows no transport: it is given a function that tries once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from chainette.engine.protocol import Answer, CallError
from chainette.engine.replies import Unanswered, Unreachable
from chainette.specs import EngineSpec

LONGEST_WAIT_S = 30.0


def _waits(first_s: float) -> Callable[[RetryCallState], float]:
    backoff = wait_random_exponential(multiplier=first_s, max=LONGEST_WAIT_S)

    def wait_s(state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked_s = failure.retry_after_s if isinstance(failure, Unanswered) else None
        if asked_s is not None:
            # Everyone who was told the same second would come back in the same instant.
            return asked_s + backoff(state) * 0.1
        return backoff(state)

    return wait_s


async def retried(
    send: Callable[[], Awaitable[Answer]],
    failure: Unanswered,
    spec: EngineSpec,
    remaining_s: Callable[[], float | None],
) -> Answer:
    """The answer of the first try that gets one, after `failure` of a try made before.

    `remaining_s` tells what is left of the caller's time, None for no limit.

    Raises:
        CallError: `timeout` when the time is up or the next wait would outlast it, else `http` when all is tried;
            Unreachable when the last try found no connection.
    """
    tries = _Tries(send, failure, remaining_s)
    retrying = AsyncRetrying(
        stop=stop_after_attempt(spec.max_retries + 1),
        wait=_waits(spec.retry_wait_s),
        retry=retry_if_exception_type(Unanswered),
        sleep=tries.sleep,
        reraise=True,
    )
    try:
        answer: Answer = await retrying(tries.next)
    except TimeoutError:
        message = f"no answer in time, sent {_times(tries.sent)}; the last: {tries.last}"
        kind = Unreachable if tries.last.unreachable else CallError
        raise kind("timeout", message, raw=tries.last.raw, sent=tries.sent) from None
    except Unanswered as error:
        message = f"{error}; sent {_times(tries.sent)}"
        kind = Unreachable if error.unreachable else CallError
        raise kind("http", message, raw=error.raw, sent=tries.sent) from None
    answer.sent = tries.sent
    return answer


class _Tries:
    """The tries of one call, the first of which has failed before."""

    def __init__(
        self, send: Callable[[], Awaitable[Answer]], first: Unanswered, remaining_s: Callable[[], float | None]
    ) -> None:
        self._send = send
        self._remaining_s = remaining_s
        self.last = first
        self.sent = 0

    async def next(self) -> Answer:
        self.sent += 1
        if self.sent == 1:
            raise self.last
        try:
            return await self._send()
        except Unanswered as error:
            self.last = error
            raise
        except CallError as error:
            error.sent = self.sent
            raise

    async def sleep(self, seconds: float) -> None:
        left_s = self._remaining_s()
        if left_s is not None and seconds >= left_s:
            raise TimeoutError
        await asyncio.sleep(seconds)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
