"""Asks a user's function one question a row (a predicate, a key, a first carry), in threads or tasks.

Knows what to call, not what the answer is for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainette.chain.asking import is_async, takes_context
from chainette.chain.context import current
from chainette.chain.source import only_reads_fields
from chainette.executor.flow import Flow
from chainette.executor.own_copy import OwnCopy
from chainette.executor.user_errors import ANYTHING, is_cancelled, place_of
from chainette.executor.whereabouts import Whereabouts
from chainette.executor.wording import error_words
from chainette.graph import Node
from chainette.graph.reach import field_of, taker
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_SLICE = 1024
_TASKS = 256

Answered = Callable[[Flow, Sequence[Row], list[Any]], None]
"""Gets some of the rows with an answer for each; a `Failure` where there is none."""


class Asker:
    """One function of one node. What it answers goes to `answered`, on the event loop."""

    def __init__(self, node: Node, executor: Executor, asked: Callable[..., Any] | str, role: str) -> None:
        self._node = node
        self._executor = executor
        self._role = role
        self._asked = asked
        self._take = taker(node)
        self._own = OwnCopy(reads_only=callable(asked) and only_reads_fields(asked))
        self._with_context = callable(asked) and takes_context(asked, node.id, role)
        self._is_async = callable(asked) and is_async(asked)
        self._where = Whereabouts(node, executor)
        self._queue: deque[tuple[Flow, Sequence[Row], Answered]] = deque()
        self._busy = False
        self._rows: deque[tuple[Flow, Row, Answered]] = deque()
        """Of an `async` function, which is asked about many rows at once."""
        self._tasks = 0

    def ask(self, flow: Flow, rows: Sequence[Row], answered: Answered) -> None:
        if isinstance(self._asked, str):
            answered(flow, rows, [self._field(self._asked, row) for row in rows])
            return
        if self._is_async:
            self._rows.extend((flow, row, answered) for row in rows)
            for _ in range(min(_TASKS - self._tasks, len(rows))):
                self._tasks += 1
                self._executor.tasks.start_soon(self._work_on_rows)
            return
        for start in range(0, len(rows), _SLICE):
            self._queue.append((flow, rows[start : start + _SLICE], answered))
        if not self._busy:
            self._busy = True
            self._executor.tasks.start_soon(self._work)

    def _field(self, name: str, row: Row) -> Any:
        try:
            return field_of(row.value, name)
        except ANYTHING as error:  # a property of the user's may raise what it likes
            return self._failure(row, error)

    async def _work(self) -> None:
        try:
            while self._queue and not self._executor.stopping:
                jobs = self._next_jobs()
                self._note(jobs, 1)
                try:
                    answers = await self._executor.threads.run(self._ask_all, jobs)
                finally:
                    self._note(jobs, -1)
                for (flow, rows, answered), given in zip(jobs, answers, strict=True):
                    answered(flow, rows, given)
        finally:
            self._busy = False

    def _note(self, jobs: list[tuple[Flow, Sequence[Row], Answered]], sign: int) -> None:
        for flow, rows, _ in jobs:
            flow.counts[self._node.index].running += sign * len(rows)

    def _next_jobs(self) -> list[tuple[Flow, Sequence[Row], Answered]]:
        """Slices that wait, taken together as long as they are small."""
        jobs = [self._queue.popleft()]
        size = len(jobs[0][1])
        while self._queue and size + len(self._queue[0][1]) <= _SLICE:
            size += len(self._queue[0][1])
            jobs.append(self._queue.popleft())
        return jobs

    def _ask_all(self, jobs: list[tuple[Flow, Sequence[Row], Answered]]) -> list[list[Any]]:
        return [self._ask_rows(flow, rows) for flow, rows, _ in jobs]

    def _ask_rows(self, flow: Flow, rows: Sequence[Row]) -> list[Any]:
        asked, own, take = self._asked, self._own, self._take
        assert callable(asked)
        here = self._where.here(flow, rows)
        token = current.set(here)
        answers: list[Any] = []
        try:
            for row in rows:
                here.rows = (row,)
                try:
                    value = own(take(row))
                    answer = asked(value, here.context()) if self._with_context else asked(value)
                    answers.append(_known(answer))
                except ANYTHING as error:
                    answers.append(self._failure(row, error))
        finally:
            current.reset(token)
        return answers

    async def _work_on_rows(self) -> None:
        """One task of several. A row goes on when it is answered, whatever the others wait for."""
        try:
            while self._rows and not self._executor.stopping:
                flow, row, answered = self._rows.popleft()
                count = flow.counts[self._node.index]
                count.running += 1
                try:
                    answer = await self._ask_async(flow, row)
                finally:
                    count.running -= 1
                answered(flow, [row], [answer])
                await asyncio.sleep(0)  # a function that waits for nothing would leave no time to others
        finally:
            self._tasks -= 1

    async def _ask_async(self, flow: Flow, row: Row) -> Any:
        assert callable(self._asked)
        here = self._where.here(flow, (row,))
        token = current.set(here)
        try:
            value = self._own(self._take(row))
            return await (self._asked(value, here.context()) if self._with_context else self._asked(value))
        except ANYTHING as error:
            if is_cancelled():
                raise
            return self._failure(row, error)
        finally:
            current.reset(token)

    def _failure(self, row: Row, error: BaseException) -> Failure:
        where = place_of(error, self._asked)
        message = f"{self._role}: {error_words(error)}"
        return Failure(row.id, self._node.id, "route", message, cause=(where,) if where else ())


def _known(answer: Any) -> Any:
    """
    Raises:
        TypeError: it is something to wait for, and true whatever will come of it.
    """
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("returned something to await; make it async def")
    return answer
