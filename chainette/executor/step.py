"""A step at work: renders, asks, judges the answer, asks again. Knows an engine only by its protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from chainette.engine.protocol import Answer, CallError, Choice, Engine, Prepared
from chainette.engine.runaways import runaway
from chainette.executor.call_record import MAX_RAW, error_record, is_whole, outcome_of, record_of, reused_record
from chainette.executor.flow import Flow
from chainette.executor.lane import Lane
from chainette.executor.past import Past
from chainette.executor.whereabouts import limits_of
from chainette.executor.wording import error_words, without_addresses
from chainette.files.writable import plain_type, unwritable
from chainette.graph import Node
from chainette.graph.reach import taker, turns_around
from chainette.graph.signature import digest, schema_of
from chainette.prompts import CompiledPrompt
from chainette.prompts.compiled import PromptError
from chainette.rows import Failure, FailureKind, Row, StepRow
from chainette.specs import EngineSpec

if TYPE_CHECKING:
    from chainette.executor.executor import Executor


class Refusal(Exception):
    """Why an answer was not taken, or a call not answered."""

    def __init__(self, kind: FailureKind, message: str, raw: str | None = None) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.raw = raw

    def __reduce__(self) -> tuple[Any, ...]:
        return Refusal, (self.kind, str(self), self.raw)


class Asking:
    """One row at a step: what it was asked so far, and what came of it."""

    __slots__ = ("attempt", "deadline", "given_up", "key", "messages", "recalled", "refusals", "row", "taken", "turns")

    def __init__(self, row: Row, deadline: float | None, samples: int) -> None:
        self.row = row
        self.deadline = deadline
        self.messages: list[dict[str, Any]] = []
        self.key = ""
        self.turns: tuple[int, ...] = ()
        """Which turn of each loop around the step this is, part of the key: a question asked again is another one."""
        self.attempt = 0
        """Calls that were made, now or before."""
        self.taken: list[StepRow | None] = [None] * samples
        self.refusals: list[Refusal | None] = [None] * samples
        self.given_up = False
        """No further call could help."""
        self.recalled: list[tuple[dict[str, Any], bool]] = []
        """Records of calls that were not made again, and whether each has to be noted down."""


class StepOperator:
    """One step of a run."""

    def __init__(self, node: Node, executor: Executor, prompt: CompiledPrompt, spec: EngineSpec) -> None:
        self.node = node
        self.prompt = prompt
        self._executor = executor
        self._router = executor.router
        self.lane: Lane | None = None
        """Until the step's stage comes, its rows are parked."""
        step = node.step
        self._take = taker(node)
        self._validate = step.output_model.__pydantic_validator__.validate_json
        self._plain = plain_type(step.output_model)
        self._limits = limits_of(executor.graph, node)
        self._depth = len(node.loops)
        self._attempts = step.retries + 1
        self._samples = step.samples
        self._schema = schema_of(step.output_model)
        many = self._samples > 1
        self._sampling = step.sampling.model_copy(update={"n": self._samples}) if many else step.sampling
        adapter = [step.lora] if step.lora is not None else []
        self._key_head = digest(self._schema, self._sampling.given(), spec.model, spec.revision, *adapter)
        self._earliest_s = 0.0
        """No row's time is over before this, on the monotonic clock: an engine's start is nobody's time."""
        self._engine: Engine | None = None
        self._prepared: Prepared | None = None

    def bind(self, engine: Engine) -> None:
        """Compiles what all calls of the step have in common, for the engine that is now alive."""
        self._prepared = engine.prepare(self._schema, self._sampling, self.node.step.lora)
        self._engine = engine
        given = [limit_s for _, limit_s in self._limits]
        if self.node.step.timeout_s is not None:
            given.append(self.node.step.timeout_s)
        self._earliest_s = time.monotonic() + min(given, default=0.0)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        replayer, lane = self._executor.replayer, self.lane
        for row in rows:
            if replayer is not None:
                replayer.put(self, flow, row, self._deadline(flow, row))
            elif lane is not None:
                lane.put(self.node.index, (self, flow, row, self._deadline(flow, row), None), ahead=self._is_late(row))
            else:
                flow.park(self.node.index, row, None)

    def take_back(self, flow: Flow) -> None:
        """The stage has come, and the chunk is back: its rows go on."""
        assert self.lane is not None
        for parked in flow.parked.pop(self.node.index):
            deadline, asking = self._deadline(flow, parked.row), parked.asking
            if asking is not None:
                asking.deadline = deadline
            self.lane.put(self.node.index, (self, flow, parked.row, deadline, asking), ahead=self._is_late(parked.row))

    def _deadline(self, flow: Flow, row: Row) -> float | None:
        """When the row's time at this step is over, on the monotonic clock; the smaller of step and chain."""
        timeout_s = self.node.step.timeout_s
        if timeout_s is None and not self._limits:
            return None
        ends = [time.monotonic() + timeout_s] if timeout_s is not None else []
        if self._limits:
            ends.append(flow.deadline(row, self._limits))
        return min(ends)

    def _is_late(self, row: Row) -> bool:
        """Whether it has been through the step before: the sooner such rows are done, the shorter a run's end."""
        return self._depth > 0 and max(turns_around(row, self._depth)) > 1

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)

    async def serve(self, flow: Flow, row: Row, deadline: float | None, asking: Asking | None) -> None:
        """The whole way of one row through this step, or what is left of it."""
        count = flow.counts[self.node.index]
        count.waiting -= 1
        count.running += 1
        try:
            if asking is None:
                asking = self._begin(row, deadline)
            if asking.deadline is not None:
                asking.deadline = max(asking.deadline, self._earliest_s)
            while not asking.given_up and asking.attempt < self._attempts and None in asking.taken:
                asking.attempt += 1
                count.retried += asking.attempt > 1
                await self._ask(flow, asking)
        except _UnfitRow as unfit:
            count.running -= 1
            self._router.fail(flow, self.node, row, unfit.failure)
            return
        except BaseException:
            count.running -= 1
            raise
        count.running -= 1
        self._hand_on(flow, asking)

    def _begin(self, row: Row, deadline: float | None) -> Asking:
        asking = Asking(row, deadline, self._samples)
        try:
            asking.messages = self.prompt.messages(row, self._take(row))
        except Exception as error:  # PromptError, ValidationError, or what a property or validator of the user's raises
            raise _UnfitRow(Failure(row.id, self.node.id, "prompt", _one_line(error))) from None
        if self._depth:
            asking.turns = turns_around(row, self._depth)
        asking.key = digest(self._key_head, asking.messages, *([asking.turns] if asking.turns else []))
        return asking

    def recall(self, flow: Flow, row: Row, deadline: float | None, past: Past) -> Asking | Failure:
        """As far as the row came without a call. In a thread."""
        try:
            asking = self._begin(row, deadline)
        except _UnfitRow as unfit:
            return unfit.failure
        again = flow.inputs.again
        if self._samples > 1 and again is not None and (self.node.id, row.id) in again.anew:
            self._keep_good(asking, past)
        while not asking.given_up and asking.attempt < self._attempts and None in asking.taken:
            found = past.find(self.node.id, row.id, asking.key, asking.attempt + 1, again)
            if found is None or not is_whole(found[0]):
                break
            asking.attempt += 1
            asking.recalled.append(found)
            self._weigh(asking, outcome_of(found[0]))
        return asking

    def _keep_good(self, asking: Asking, past: Past) -> None:
        """One call gives several answers: those that were good stay when the others are asked for again."""
        for attempt in range(1, self._attempts + 1):
            record = past.earlier(self.node.id, asking.row.id, asking.key, attempt)
            outcome = outcome_of(record) if record is not None and is_whole(record) else None
            if isinstance(outcome, Answer):
                self._weigh(asking, outcome)
        asking.refusals = [None] * self._samples

    def resume(self, flow: Flow, row: Row, asking: Asking | Failure) -> None:
        """Goes on from what `recall` found."""
        count = flow.counts[self.node.index]
        if isinstance(asking, Failure):
            count.waiting -= 1
            self._router.fail(flow, self.node, row, asking)
            return
        for position, (record, is_others) in enumerate(asking.recalled):
            self._count_recalled(flow, record, is_others, retried=position > 0)
            if is_others:
                self._write(reused_record(record, row.id, self._executor.past.other_run, turns=asking.turns))
        asking.recalled = []
        if asking.given_up or asking.attempt >= self._attempts or None not in asking.taken:
            count.waiting -= 1
            self._hand_on(flow, asking)
        elif self.lane is not None:
            self.lane.put(self.node.index, (self, flow, row, asking.deadline, asking), ahead=self._is_late(row))
        else:
            flow.park(self.node.index, row, asking)
            self._router.settle(flow)

    def _count_recalled(self, flow: Flow, record: dict[str, Any], is_others: bool, *, retried: bool) -> None:
        count = flow.counts[self.node.index]
        if self._executor.past.costs_counted and not is_others:
            return
        count.retried += retried
        if is_others or "reused" in record:
            count.reused += 1
            return
        count.calls += 1
        usage = record.get("usage")
        if usage is not None:
            count.prompt_tokens += usage["prompt_tokens"]
            count.completion_tokens += usage["completion_tokens"]
            count.cached_tokens += usage.get("cached_tokens", 0)
            count.seconds += record["seconds"]

    async def _ask(self, flow: Flow, asking: Asking) -> None:
        """One call. Fills what is still missing."""
        count = flow.counts[self.node.index]
        outcome: Answer | CallError
        began_s = time.time()
        try:
            outcome = await self._call(flow, asking)
        except CallError as error:
            outcome = error
        count.calls += 1
        refused = self._weigh(asking, outcome)
        row_id, key, attempt = asking.row.id, asking.key, asking.attempt
        if isinstance(outcome, CallError):
            self._write(error_record(row_id, key, attempt, outcome, turns=asking.turns, began_s=began_s))
        else:
            self._write(record_of(row_id, key, attempt, outcome, refused, turns=asking.turns))

    def _weigh(self, asking: Asking, outcome: Answer | CallError) -> list[str]:
        """Takes what is good and still missing. Returns why the others were refused."""
        if isinstance(outcome, CallError):
            refusal = Refusal(outcome.kind, str(outcome), outcome.raw)
            asking.refusals = [None if got is not None else refusal for got in asking.taken]
            asking.given_up = True
            return []
        refused: list[str] = []
        for position, choice in enumerate(outcome.choices[: self._samples]):
            if asking.taken[position] is None:
                try:
                    asking.taken[position] = self._judge(asking.row, position, choice)
                except Refusal as refusal:
                    asking.refusals[position] = refusal
                    refused.append(refusal.kind)
        for position in range(len(outcome.choices), self._samples):
            asking.refusals[position] = Refusal("http", f"{len(outcome.choices)} answers instead of {self._samples}")
        return refused

    async def _call(self, flow: Flow, asking: Asking) -> Answer:
        engine, count, deadline = self._engine, flow.counts[self.node.index], asking.deadline
        assert engine is not None
        if deadline is None:
            answer = await engine.call(self._prepared, asking.messages)
        else:
            left = deadline - time.monotonic()
            if left <= 0:
                # Word for word what an engine says: which of them it was is a matter of a millisecond.
                raise CallError("timeout", "the endpoint gave no answer within the row's time", sent=0)
            answer = await engine.call(self._prepared, asking.messages, left)
        count.prompt_tokens += answer.prompt_tokens
        count.completion_tokens += answer.completion_tokens
        count.cached_tokens += answer.cached_tokens
        count.seconds += answer.seconds
        return answer

    def _judge(self, row: Row, position: int, choice: Choice) -> StepRow:
        if choice.declined is not None:
            raise Refusal("refused", choice.declined, choice.text)
        if choice.finish_reason in ("length", "repetition"):
            raise Refusal("truncated", _cut_words(choice), choice.text)
        try:
            value = self._validated(choice.text)
        except ValidationError as error:
            raise Refusal("schema", _validation_words(error), choice.text) from None
        except Exception as error:  # a validator of the user's that raises something else
            raise Refusal("schema", error_words(error), choice.text) from None
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

    def _validated(self, text: str) -> Any:
        """
        Raises:
            ValidationError: it is no JSON, or does not fit.
        """
        try:
            return self._validate(text)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "json_invalid" or "control character" not in str(error):
                raise
        # A grammar may let a tab or a line break into a string as it is: what is meant is clear.
        try:
            mended = orjson.dumps(json.loads(text, strict=False))
        except ValueError:
            return self._validate(text)
        return self._validate(mended)

    def _hand_on(self, flow: Flow, asking: Asking) -> None:
        row = asking.row
        made = [got for got in asking.taken if got is not None]
        failures = []
        for position, refusal in enumerate(asking.refusals):
            if asking.taken[position] is None and refusal is not None:
                id = f"{row.id}.{position}" if self._samples > 1 else row.id
                order = (*row.order, position) if self._samples > 1 else row.order
                raw = refusal.raw[:MAX_RAW] if refusal.raw is not None else None
                failure = Failure(id, self.node.id, refusal.kind, str(refusal), asking.attempt, raw)
                failures.append((order, failure))
        self._router.leave(flow, self.node, [row], made, failures)

    def _write(self, record: dict[str, Any]) -> None:
        self._executor.folder.log_call(self.node.id, orjson.dumps(record))


class _UnfitRow(Exception):
    """No prompt can be made of the row."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _cut_words(choice: Choice) -> str:
    how = "stopped at max_tokens" if choice.finish_reason == "length" else "was cut by the server, as it repeats itself"
    why = runaway(choice.text)
    return f"the answer {how}: {why}" if why else f"the answer {how}"


def _validation_words(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    words = []
    for item in found[:3]:
        place = ".".join(str(part) for part in item["loc"])
        words.append(f"{place}: {item['msg']}" if place else str(item["msg"]))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return without_addresses("; ".join(words) + more)


def _one_line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return _validation_words(error)
    return without_addresses(str(error)) if isinstance(error, PromptError) else error_words(error)
