"""An apply at work: takes rows, has its function called on them, hands on what comes of it. Knows nothing of engines,
nor of how the function is called.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, wait_random_exponential

from chainette.executor.apply_calls import SLOW_S, InThreads, Job
from chainette.executor.apply_outcome import Result, Told, failure_of
from chainette.executor.apply_processes import InProcesses
from chainette.executor.apply_tasks import InTasks
from chainette.executor.flow import Flow
from chainette.executor.user_errors import ANYTHING
from chainette.graph import Node
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_SLICE = 1024
"""Rows of a row function that are called on together."""
_SLICE_S = 0.05
"""What a slice for a worker process should take: long beside the way there, short beside what a dead worker costs."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
"""Before the second try on average half of this, each time twice as long."""
_Recalled = list[tuple[Row, dict[str, Any], bool]]


class ApplyOperator:
    """One apply of a run."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self._executor = executor
        self._router = executor.router
        apply = node.apply
        self._takes_list = apply.shape.takes == "list"
        self._calls = _calls(node, executor)
        self._durable = self._calls.durable if executor.replayer is not None else None
        self._retries = apply.retries
        self._cuts = apply.workers == "process" and not self._takes_list
        self._wait = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)
        self._queue: deque[Job] = deque()
        self._queued = 0
        """Rows in the queue."""
        self._busy = 0
        self._row_s = 0.0

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        if not self._takes_list:
            for start in range(0, len(rows), _SLICE):
                self._put(Job(flow, rows[start : start + _SLICE]))
        elif not self.node.loops:
            flow.pending.setdefault(self.node.index, []).extend(rows)
            return
        else:  # the rest of the chunk may be waiting for these rows to come round
            for row in rows:
                self._put(Job(flow, (row,)))
        self._start()

    def drained(self, flow: Flow) -> None:
        rows = flow.pending.pop(self.node.index, None)
        if rows:
            self._put(Job(flow, sorted(rows, key=lambda row: row.order)))
            self._start()
        else:
            self._router.close_if_empty(flow, self.node.index)

    async def close(self, *, gently: bool) -> None:
        """Ends what the calls leave behind; at once, or after it has put its things away."""
        await self._calls.close(gently=gently)

    def _put(self, job: Job) -> None:
        self._queue.append(job)
        self._queued += len(job.rows)

    def _start(self) -> None:
        limit = self._calls.limit(self._row_s)
        while self._queue and self._busy < limit:
            self._busy += 1
            self._executor.tasks.start_soon(self._work)

    async def _work(self) -> None:
        try:
            while self._queue and not self._executor.stopping:
                jobs = self._next_jobs()
                if self._durable is not None:
                    jobs = await self._recalled(jobs)
                self._note_running(jobs)
                if jobs:
                    await self._calls.run(jobs, self._done)
                self._start()
        finally:
            self._busy -= 1

    def _note_running(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            count = job.flow.counts[self.node.index]
            count.waiting -= len(job.rows)
            count.running += len(job.rows)
            count.retried += job.attempt > 1

    def _next_jobs(self) -> list[Job]:
        """One slice; small ones that wait are taken together, so that rows that arrive alone share a thread."""
        jobs = [self._next_job()]
        if not self._takes_list and not self._cuts and self._row_s <= SLOW_S:
            size = len(jobs[0].rows)
            while self._queue and size + len(self._queue[0].rows) <= _SLICE:
                jobs.append(self._next_job())
                size += len(jobs[-1].rows)
        return jobs

    def _next_job(self) -> Job:
        job = self._queue.popleft()
        if self._cuts:
            job = self._cut(job)
        self._queued -= len(job.rows)
        return job

    def _cut(self, job: Job) -> Job:
        """As much of it as one worker should have; the rest goes back."""
        fair = -(-self._queued // self._calls.limit(self._row_s))
        size = max(1, min(fair, int(_SLICE_S / self._row_s) if self._row_s else 1))
        if size < len(job.rows):
            self._queue.appendleft(Job(job.flow, job.rows[size:], job.attempt, job.until))
            job = Job(job.flow, job.rows[:size], job.attempt, job.until)
        return job

    def _done(self, job: Job, rows: Sequence[Row], result: Result, seconds: float) -> None:
        """`rows` of the job have been called on."""
        count = job.flow.counts[self.node.index]
        count.running -= len(rows)
        count.seconds += seconds
        if self._calls.durable is not None:
            count.calls += len(rows) - len(result.failures) - len(result.final)
        self._row_s = seconds / len(rows)
        failures = [failure_of(self.node, row, said, job.attempt) for row, said in result.final]
        again = []
        for row, said, until in result.failures:
            wait_s = self._wait_s(job.attempt, until)
            if wait_s is None:
                failures.append(failure_of(self.node, row, self._last_word(job.attempt, said), job.attempt))
            else:
                again.append(id(row))
                self._try_again(Job(job.flow, (row,), job.attempt + 1, until), wait_s)
        if again:
            rows = [row for row in rows if id(row) not in again]
        if rows:
            self._leave(job.flow, rows, result, failures)

    def _leave(
        self, flow: Flow, rows: Sequence[Row], result: Result, failures: list[tuple[tuple[int, ...], Failure]]
    ) -> None:
        if result.drops:
            flow.drops.setdefault(self.node.index, []).extend((row.order, why) for row, why in result.drops)
            flow.counts[self.node.index].count_drops(why for _, why in result.drops)
        self._router.leave(flow, self.node, rows, result.made, failures)

    def _wait_s(self, attempt: int, until: float | None) -> float | None:
        """How long until the next try; None where there is none, or no time for it."""
        if attempt > self._retries:
            return None
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = attempt
        wait_s = self._wait(state)
        return None if until is not None and time.monotonic() + wait_s >= until else wait_s

    def _last_word(self, attempt: int, said: Told) -> Told:
        if attempt > self._retries:
            return said
        kind, message, causes = said
        return kind, f"{message} (no time for another try, timeout_s)", causes

    def _try_again(self, job: Job, wait_s: float) -> None:
        job.flow.counts[self.node.index].waiting += 1
        asyncio.get_running_loop().call_later(wait_s, self._put_again, job)

    def _put_again(self, job: Job) -> None:
        if not self._executor.stopping:
            self._put(job)
            self._start()

    async def _recalled(self, jobs: Sequence[Job]) -> list[Job]:
        """Lets rows go on whose results are known. Returns what is left."""
        left = []
        for job in jobs:
            rest, result, known = await self._executor.threads.run(self._recall, job)
            count = job.flow.counts[self.node.index]
            for row, record, is_others in known:
                self._count_recalled(job.flow, row, record, is_others)
            if known:
                count.waiting -= len(known)
                self._leave(job.flow, [row for row, _, _ in known], result, [])
            if rest:
                left.append(Job(job.flow, rest, job.attempt, job.until))
        return left

    def _recall(self, job: Job) -> tuple[list[Row], Result, _Recalled]:
        """In a thread."""
        assert self._durable is not None
        result = Result()
        known: _Recalled = []
        rest = []
        for row in job.rows:
            found = None
            if job.attempt == 1:
                try:
                    key = self._durable.key(row, self._calls.take(row))
                    found = self._durable.recall(job.flow, row, key, result)
                except ANYTHING:  # what does not fit the function is told when it is called
                    pass
            if found is None:
                rest.append(row)
            else:
                known.append((row, *found))
        return rest, result, known

    def _count_recalled(self, flow: Flow, row: Row, record: dict[str, Any], is_others: bool) -> None:
        """As for a step's calls: what this run paid for itself is counted once."""
        assert self._durable is not None
        if is_others:
            self._calls.log(self._durable.reused(row, record))
        elif self._executor.past.costs_counted:
            return
        count = flow.counts[self.node.index]
        if is_others or "reused" in record:
            count.reused += 1
        else:
            count.calls += 1


def _calls(node: Node, executor: Executor) -> InThreads | InTasks | InProcesses:
    shape = node.apply.shape
    if node.apply.workers == "process":
        return InProcesses(node, executor)
    return InTasks(node, executor) if shape.is_async and shape.takes == "row" else InThreads(node, executor)
