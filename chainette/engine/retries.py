"""Sends again what is worth sending again. Knows no transport: it is given a function that tries once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential

from chainette.engine.protocol import Answer, CallError
from chainette.engine.replies import Barred, Lost, Unanswered
from chainette.rows import FailureKind
from chainette.specs import EngineSpec

LONGEST_WAIT_S = 30.0


def _waits(first_s: float) -> Callable[[RetryCallState], float]:
    doubling = wait_exponential(multiplier=first_s, max=LONGEST_WAIT_S)

    def wait_s(state: RetryCallState) -> float:
        # Never far below the mean: of hundreds of calls that all lost their server, the one that draws the shortest
        # waits decides how long it may take to come back.
        backoff_s = min(doubling(state) * (0.5 + random.random()), LONGEST_WAIT_S)
        failure = state.outcome.exception() if state.outcome else None
        asked_s = failure.retry_after_s if isinstance(failure, Unanswered) else None
        # Everyone who was told the same second would come back in the same instant.
        return backoff_s if asked_s is None else asked_s + backoff_s * 0.1

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
            Lost when the last try found nobody there, Barred when no further call can be served either.
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
        raise _given_up("timeout", f"no time is left to send it again; the last: {tries.last}", tries) from None
    except Unanswered as error:
        raise _given_up("http", f"{error}; sent {_times(tries.sent)}", tries) from None
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
        except TimeoutError:
            self.sent -= 1  # its turn did not come
            raise
        except CallError as error:
            error.sent = self.sent
            raise

    async def sleep(self, seconds: float) -> None:
        """
        Raises:
            TimeoutError: the wait would outlast the caller's time.
        """
        left_s = self._remaining_s()
        if left_s is not None and seconds >= left_s:
            raise TimeoutError
        await asyncio.sleep(seconds)


def _given_up(kind: FailureKind, message: str, tries: _Tries) -> CallError:
    last, sent = tries.last, tries.sent
    if last.absence is not None:
        return Lost(kind, message, last.absence, raw=last.raw, sent=sent)
    return (Barred if last.barred else CallError)(kind, message, raw=last.raw, sent=sent)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
