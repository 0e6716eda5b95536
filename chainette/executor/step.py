"""A step at work: renders, asks, judges the answer, asks again. Knows an engine only by its protocol."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from chainette.engine.protocol import Answer, CallError, Choice, Engine, Prepared
from chainette.executor.flow import Flow
from chainette.executor.lane import Lane
from chainette.files.writable import plain_type, unwritable
from chainette.graph import Node
from chainette.graph.reach import taker
from chainette.graph.signature import digest, schema_of
from chainette.prompts import CompiledPrompt
from chainette.prompts.compiled import PromptError
from chainette.rows import Failure, FailureKind, Row, StepRow

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_MAX_RAW = 100_000
"""Characters of a refused answer that go into `failed/`; `calls/` has all of it."""


class Refusal(Exception):
    """Why an answer was not taken, or a call not answered."""

    def __init__(self, kind: FailureKind, message: str, raw: str | None = None) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.raw = raw


class StepOperator:
    """One step of a run."""

    def __init__(self, node: Node, executor: Executor, prompt: CompiledPrompt, lane: Lane) -> None:
        self.node = node
        self.prompt = prompt
        self._executor = executor
        self.lane = lane
        self.count = executor.counts[node.index]
        step = node.step
        self._take = taker(node)
        self._validate = step.output_model.__pydantic_validator__.validate_json
        self._plain = plain_type(step.output_model)
        self._attempts = step.retries + 1
        self._samples = step.samples
        self._key_head = ""
        self._engine: Engine | None = None
        self._prepared: Prepared | None = None
        self.calls = 0
        """Requests that were answered or given up, as many as there are lines in `calls/`."""

    def bind(self, engine: Engine) -> None:
        """Compiles what all calls of the step have in common, for the engine that is now alive."""
        step = self.node.step
        sampling = step.sampling.model_copy(update={"n": self._samples}) if self._samples > 1 else step.sampling
        schema = schema_of(step.output_model)
        self._prepared = engine.prepare(schema, sampling)
        self._engine = engine
        self._key_head = digest(schema, sampling.given(), engine.spec.model, engine.spec.revision)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        for row in rows:
            self.lane.put(self.node.index, (self, flow, row, self._deadline(flow, row)))
        self.count.waiting += len(rows)

    def _deadline(self, flow: Flow, row: Row) -> float | None:
        """When the row's time at this step is over, on the monotonic clock; the smaller of step and chain."""
        timeout_s, deadline_s = self.node.step.timeout_s, self._executor.graph.chain.deadline_s
        if timeout_s is None and deadline_s is None:
            return None
        limits = [time.monotonic() + timeout_s] if timeout_s is not None else []
        if deadline_s is not None:
            limits.append(flow.deadline(row, deadline_s))
        return min(limits)

    def drained(self, flow: Flow) -> None:
        self._executor.close_if_empty(flow, self.node.index)

    async def serve(self, flow: Flow, row: Row, deadline: float | None) -> None:
        """The whole way of one row through this step."""
        count = self.count
        count.waiting -= 1
        count.running += 1
        try:
            value = self._take(row)
            messages = self.prompt.messages(row, value)
        except Exception as error:  # PromptError, ValidationError, or what a property or validator of the user's raises
            count.running -= 1
            self._executor.fail(flow, self.node, row, Failure(row.id, self.node.id, "prompt", _one_line(error)))
            return
        taken: list[StepRow | None] = [None] * self._samples
        refusals: list[Refusal | None] = [None] * self._samples
        attempt = 0
        try:
            while attempt < self._attempts and None in taken:
                attempt += 1
                if attempt > 1:
                    count.retried += 1
                if not await self._ask(row, messages, attempt, deadline, taken, refusals):
                    break
        finally:
            count.running -= 1
        self._hand_on(flow, row, taken, refusals, attempt)

    async def _ask(
        self,
        row: Row,
        messages: list[dict[str, Any]],
        attempt: int,
        deadline: float | None,
        taken: list[StepRow | None],
        refusals: list[Refusal | None],
    ) -> bool:
        """One call. Fills what is still missing; returns whether another call could help."""
        try:
            answer = await self._call(messages, deadline)
        except CallError as error:
            self._log(row, messages, attempt, None, error)
            refusal = Refusal(error.kind, str(error), error.raw)
            refusals[:] = [None if got is not None else refusal for got in taken]
            return False
        outcomes: list[str] = []
        for position, choice in enumerate(answer.choices[: self._samples]):
            if taken[position] is None:
                try:
                    taken[position] = self._judge(row, position, choice)
                except Refusal as refusal:
                    refusals[position] = refusal
                    outcomes.append(refusal.kind)
        for position in range(len(answer.choices), self._samples):
            refusals[position] = Refusal("http", f"{len(answer.choices)} answers instead of {self._samples}")
        self._log(row, messages, attempt, answer, None, outcomes)
        return True

    async def _call(self, messages: list[dict[str, Any]], deadline: float | None) -> Answer:
        engine, count = self._engine, self.count
        assert engine is not None
        if deadline is None:
            answer = await engine.call(self._prepared, messages)
        else:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CallError("timeout", "its time was over before an engine was free")
            answer = await engine.call(self._prepared, messages, left)
        count.prompt_tokens += answer.prompt_tokens
        count.completion_tokens += answer.completion_tokens
        count.seconds += answer.seconds
        return answer

    def _judge(self, row: Row, position: int, choice: Choice) -> StepRow:
        if choice.finish_reason == "length":
            raise Refusal("truncated", "the answer stopped at max_tokens", choice.text)
        try:
            value = self._validate(choice.text)
        except ValidationError as error:
            raise Refusal("schema", _validation_words(error), choice.text) from None
        except Exception as error:  # a validator of the user's that raises something else
            raise Refusal("schema", f"{type(error).__name__}: {error}", choice.text) from None
        reason = None if self._plain else unwritable(value)
        if reason is not None:
            raise Refusal("schema", reason, choice.text)
        many = self._samples > 1
        made = StepRow(
            f"{row.id}.{position}" if many else row.id,
            (*row.order, position) if many else row.order,
            value,
            self.node.index,
            row,
            row.ticket,
        )
        made.reasoning = choice.reasoning
        return made

    def _hand_on(
        self,
        flow: Flow,
        row: Row,
        taken: list[StepRow | None],
        refusals: list[Refusal | None],
        attempts: int,
    ) -> None:
        made = [got for got in taken if got is not None]
        failures = []
        for position, refusal in enumerate(refusals):
            if taken[position] is None and refusal is not None:
                id = f"{row.id}.{position}" if self._samples > 1 else row.id
                order = (*row.order, position) if self._samples > 1 else row.order
                raw = refusal.raw[:_MAX_RAW] if refusal.raw is not None else None
                failure = Failure(id, self.node.id, refusal.kind, str(refusal), attempts, raw)
                failures.append((order, failure))
        self._executor.leave(flow, self.node, [row], made, failures)

    def _log(
        self,
        row: Row,
        messages: list[dict[str, Any]],
        attempt: int,
        answer: Answer | None,
        error: CallError | None,
        outcomes: Sequence[str] = (),
    ) -> None:
        self.calls += 1
        record: dict[str, Any] = {"_id": row.id, "key": digest(self._key_head, messages), "attempt": attempt}
        if answer is not None:
            first = answer.choices[0] if answer.choices else None
            if self._samples > 1:
                record["texts"] = [choice.text for choice in answer.choices]
            else:
                record["text"] = first.text if first else None
            record["reasoning"] = first.reasoning if first else None
            record["finish_reason"] = first.finish_reason if first else None
            if first is not None and first.logprobs is not None:
                record["logprobs"] = first.logprobs
            record["usage"] = {
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "cached_tokens": answer.cached_tokens,
            }
            record["started_s"] = answer.started_s
            record["seconds"] = answer.seconds
            record["replica"] = answer.replica
            record["sent"] = answer.sent
            if outcomes:
                record["refused"] = list(outcomes)
        if error is not None:
            record["error"] = {"kind": error.kind, "message": str(error)}
            record["sent"] = error.sent
        self._executor.folder.log_call(self.node.id, orjson.dumps(record))


def _validation_words(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    words = []
    for item in found[:3]:
        place = ".".join(str(part) for part in item["loc"])
        words.append(f"{place}: {item['msg']}" if place else str(item["msg"]))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(words) + more


def _one_line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return _validation_words(error)
    return str(error) if isinstance(error, PromptError) else f"{type(error).__name__}: {error}"
