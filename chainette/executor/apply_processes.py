"""Calls a function, or the instances of a class, on rows in worker processes. Knows which rows a dead worker had."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from chainette.executor.apply_calls import Calling, Done, Job
from chainette.executor.apply_fit import devices_of, modules_of, workers_of
from chainette.executor.apply_outcome import Result
from chainette.executor.user_errors import ANYTHING
from chainette.executor.worker_process import Answered, Facts, Recipe, Work
from chainette.executor.workers import Pool, RowTooLong, Worker, WorkerDied, pickled
from chainette.graph import Node
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_LIVES = 2
"""Workers that a row may cost."""


class InProcesses(Calling):
    """One apply with workers of its own."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        apply = node.apply
        devices = devices_of(executor.graph, executor.plan).get(node.index)
        self._visible: list[str | None] = [None] * workers_of(apply) if devices is None else [*devices]
        self._room = anyio.Semaphore(len(self._visible))
        self._pool: Pool | None = None

    def limit(self, row_s: float) -> int:
        """Workers."""
        return len(self._visible)

    async def run(self, jobs: Sequence[Job], done: Done) -> None:
        if self._pool is None:
            self._pool = Pool(self._recipe(), self._visible)
        async with self._room:
            worker = self._pool.take()
            try:
                for job in jobs:
                    result, seconds = await self.executor.threads.run(self._work, worker, job)
                    done(job, job.rows, result, seconds)
            finally:
                self._pool.give_back(worker)

    async def close(self, *, gently: bool) -> None:
        """Returns when no worker is left."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await self.executor.threads.run(lambda: pool.close(gently=gently))

    def _recipe(self) -> Recipe:
        # Types may be of a function's own; a worker needs none of them.
        shape = replace(self.shape, input_type=Any, output_type=Any)
        return Recipe(
            modules=modules_of(self.executor.graph),
            fn=pickled(self.fn),
            shape=pickled(shape),
            run_id=self.at.run_id,
            node_id=self.node.id,
            params=pickled(dict(self.at.params)),
            metadata=pickled(dict(self.at.metadata)),
        )

    def _work(self, worker: Worker, job: Job) -> tuple[Result, float]:
        """In a thread."""
        result = Result()
        started = time.perf_counter()
        worker.prepare()
        rows = self._taken(job, result)
        if self.shape.takes == "list":
            self._work_list(worker, job, rows, result)
        else:
            self._work_rows(worker, job, rows, result)
        return result, time.perf_counter() - started

    def _taken(self, job: Job, result: Result) -> list[tuple[Row, Any]]:
        """Rows with what the function gets of them."""
        taken = []
        for row in job.rows:
            try:
                self.check_time(job, row)
                taken.append((row, self.take(row)))
            except ANYTHING as error:
                result.put_failure(row, self.told(error))
        return taken

    def _work_rows(self, worker: Worker, job: Job, rows: list[tuple[Row, Any]], result: Result) -> None:
        together = deque(rows)
        alone: deque[tuple[Row, Any]] = deque()
        while together or alone:
            part = list(together) if together else [alone.popleft()]
            is_alone = not together
            together.clear()
            asked = _Asked(self, job, part, result)
            try:
                asked.ask(worker)
            except RowTooLong:
                asked.too_long()
                (alone if is_alone else together).extend(asked.left())
            except WorkerDied as died:
                if is_alone:
                    row = part[0][0]
                    result.put_failure(row, ("apply", _words(died), ()), asked.own)
                else:
                    alone.extend(asked.left())
            except pickle.PicklingError as error:
                if len(part) > 1:
                    alone.extend(asked.left())
                else:
                    result.final.append((part[0][0], ("apply", str(error), ())))

    def _work_list(self, worker: Worker, job: Job, rows: list[tuple[Row, Any]], result: Result) -> None:
        """All rows at once; when that goes wrong, one by one, so that one row does not take the others with it."""
        if not rows:
            return
        lives = _LIVES if len(rows) == 1 else 1
        for life in range(lives):
            try:
                started = time.perf_counter()
                good, out = self._ask_list(worker, job, rows)
            except (WorkerDied, pickle.PicklingError) as error:
                if isinstance(error, WorkerDied) and life + 1 < lives:
                    continue
                said = _words(error) if isinstance(error, WorkerDied) else str(error)
                good, out = False, ("apply", said, (), False)
            break
        if good:
            row_s = (time.perf_counter() - started) / len(rows)
            for of, produced in zip(rows, out, strict=True):
                result.add(self.produced(job, of, produced, row_s))
            return
        *said_, is_final = out
        if is_final:
            result.final += [(row, tuple(said_)) for row, _ in rows]
        elif len(rows) == 1:
            result.put_failure(rows[0][0], tuple(said_))
        else:
            for of in rows:
                self._work_list(worker, job, [of], result)

    def _ask_list(self, worker: Worker, job: Job, rows: list[tuple[Row, Any]]) -> Answered:
        """
        Raises:
            WorkerDied: on the way.
            pickle.PicklingError: a row cannot be sent.
        """
        work = self.work_of(job, rows, each=False)
        for answers in worker.answers(work, lambda: None):
            return answers[0]
        raise AssertionError("a worker answers or dies")

    def work_of(self, job: Job, rows: list[tuple[Row, Any]], *, each: bool) -> Work:
        """
        Raises:
            pickle.PicklingError: a row cannot be sent.
        """
        try:
            values = pickled([value for _, value in rows])
        except Exception as error:
            words = f"cannot be sent to a worker process: {type(error).__name__}: {error}"
            raise pickle.PicklingError(words) from error
        shift = time.time() - time.monotonic()
        facts = []
        for row, _ in rows:
            end = self.until(job, row, job.until)
            facts.append(Facts(row.id, None if end is None else end + shift, self.at.turn(row)))
        timeout_s = self.timeout_s if job.until is None else None
        return Work(values, facts, job.attempt, timeout_s, each)


def _words(died: WorkerDied) -> str:
    return f"its worker process died ({died}) twice while it had this row"


class _Asked:
    """Rows that a worker has been sent, and how far it came with them."""

    def __init__(self, calls: InProcesses, job: Job, rows: list[tuple[Row, Any]], result: Result) -> None:
        self._calls = calls
        self._job = job
        self._rows = rows
        self._result = result
        self._done = 0
        self._since = 0.0
        self.own: float | None = None
        """When the time of the row at work is over, as far as the function limits it."""

    def ask(self, worker: Worker) -> None:
        """
        Raises:
            WorkerDied, RowTooLong: on the way; see `left`.
            pickle.PicklingError: a row cannot be sent.
        """
        calls = self._calls
        work = calls.work_of(self._job, self._rows, each=calls.timed or calls.durable is not None)
        worker.prepare()
        self._begin()
        for answers in worker.answers(work, self._until):
            now = time.perf_counter()
            row_s = (now - self._since) / len(answers)
            for answer in answers:
                self._take(answer, row_s)
                self._done += 1
            if self._done == len(self._rows):
                return
            self._begin()

    def left(self) -> list[tuple[Row, Any]]:
        """Rows of which nothing is known yet."""
        return self._rows[self._done :]

    def too_long(self) -> None:
        """The row at work is over."""
        calls, row = self._calls, self._rows[self._done][0]
        self._result.final.append((row, calls.told(calls.out_of_time(self._job, row))))
        self._done += 1

    def _begin(self) -> None:
        self._since = time.perf_counter()
        self.own = self._calls.own_until(self._job)

    def _until(self) -> float | None:
        return self._calls.until(self._job, self._rows[self._done][0], self.own) if self._calls.timed else None

    def _take(self, answer: Answered, row_s: float) -> None:
        good, out = answer
        row, value = self._rows[self._done]
        calls = self._calls
        if not good:
            kind, message, causes, _ = out
            self._result.put_failure(row, (kind, message, causes), self.own)
            return
        single = Result()
        try:
            calls.maker.put(row, out, single)
            if calls.durable is not None:
                single = calls.keep(row, value, single, row_s)
        except ANYTHING as error:
            self._result.put_failure(row, calls.told(error), self.own)
        else:
            self._result.add(single)
