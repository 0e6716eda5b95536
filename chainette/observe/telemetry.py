"""A run as OpenTelemetry spans and metrics: run > stage > step > call, run > chunk. With `telemetry_export.py` the one
door to OpenTelemetry; opens no file.

Times are those of the events and calls, not those of their telling. One thread tells it everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainette.events import (
    ChunkCommitted,
    ChunkRead,
    EngineStarted,
    Event,
    NodeCount,
    Progressed,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
)
from chainette.observe.genai import StepFacts, call_attributes, captures_content, error_type
from chainette.observe.telemetry_export import Sender, Way

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

CALLS_AT_FIRST, CALLS_PER_S = 2_000, 100.0
"""Calls that become spans: so many, and from then on so many a second of the run. All are in the metrics."""
_BATCH = 512
_SETTLE_S = 2.0
"""Calls come from their log, later than events: a stage's spans are ended when no more of them can come."""
_TOKEN_BUCKETS = [4.0**power for power in range(14)]
_SECOND_BUCKETS = [0.01 * 2**power for power in range(14)]


@dataclass(slots=True)
class _Stage:
    span: Span
    steps: dict[str, Span]
    ended_s: float | None = None


@dataclass(slots=True)
class _Calls:
    """How many calls of a step there were, and how many became spans."""

    all: int = 0
    exported: int = 0


@dataclass(slots=True)
class _Allowance:
    """Which calls become spans: evenly, by the time they ended."""

    began_s: float = 0.0
    used: int = 0

    def takes(self, at_s: float) -> bool:
        if self.used >= CALLS_AT_FIRST + CALLS_PER_S * max(0.0, at_s - self.began_s):
            return False
        self.used += 1
        return True


@dataclass(slots=True)
class _Run:
    """What is under way."""

    root: Span
    started: RunStarted
    facts: dict[str, StepFacts]
    names: frozenset[str]
    stages: dict[int, _Stage] = field(default_factory=dict)
    settling: list[_Stage] = field(default_factory=list)
    chunks: dict[int, tuple[float, ChunkRead]] = field(default_factory=dict)
    calls: dict[str, _Calls] = field(default_factory=dict)
    before: dict[str, NodeCount] = field(default_factory=dict)
    answered: _Allowance = field(default_factory=_Allowance)
    failed: _Allowance = field(default_factory=_Allowance)
    ended_s: float | None = None


class Telemetry:
    """One process's share of a run."""

    def __init__(self, way: Way) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider

        self.sender = Sender(way)
        self._content = captures_content()
        self._finished: list[ReadableSpan] = []
        resource = Resource.create({SERVICE_NAME: _service_name()})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(_collecting(self._finished))
        self._tracer = self._tracers.get_tracer("chainette")
        self._reader = InMemoryMetricReader()
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(buckets))
            for name, buckets in (
                ("gen_ai.client.token.usage", _TOKEN_BUCKETS),
                ("gen_ai.client.operation.duration", _SECOND_BUCKETS),
            )
        ]
        self._meters = MeterProvider([self._reader], resource=resource, views=views, shutdown_on_exit=False)
        meter = self._meters.get_meter("chainette")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of a call")
        self._seconds = meter.create_histogram("gen_ai.client.operation.duration", "s", "How long a call took")
        self._rows = meter.create_counter("chainette.rows", "{row}", "Rows that left a step")
        self._in_flight = meter.create_gauge("chainette.rows.in_flight", "{row}", "Rows read and not yet finished")
        self._load = meter.create_gauge("chainette.engine.calls", "{call}", "Calls that run in an engine, or wait")
        self._run: _Run | None = None

    def begin(self, started: RunStarted, at_s: float, facts: dict[str, StepFacts]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ
        }
        root = self._tracer.start_span(
            f"chainette.run {started.chain}",
            context=TraceContextTextMapPropagator().extract(carrier),
            start_time=_ns(at_s),
            attributes={
                "chainette.run.id": started.run_id,
                "chainette.chain": started.chain,
                "chainette.rows.before": started.rows_before,
                **({} if started.rows_total is None else {"chainette.rows.total": started.rows_total}),
            },
        )
        names = frozenset(id for id, _, _ in started.nodes)
        self._run = _Run(root, started, facts, names)
        self._run.answered.began_s = self._run.failed.began_s = at_s

    def take(self, event: Event, at_s: float) -> None:
        """After `begin`, in the order in which they were said."""
        run = self._run
        if run is None:
            return
        match event:
            case StageStarted():
                self._begin_stage(run, event, at_s)
            case StageFinished():
                stage = run.stages.pop(event.stage, None)
                if stage is not None:
                    stage.ended_s = at_s
                    run.settling.append(stage)
            case ChunkRead(recovered=False):
                run.chunks[event.chunk] = (at_s, event)
            case ChunkCommitted(recovered=False):
                self._end_chunk(run, event, at_s)
            case Progressed():
                self._count(run, event.nodes)
                self._in_flight.set(event.rows_read - event.rows_done)
                for name, engine in event.engines.items():
                    self._load.set(engine.running, {"chainette.engine": name, "chainette.state": "running"})
                    self._load.set(engine.waiting, {"chainette.engine": name, "chainette.state": "waiting"})
            case EngineStarted() if event.seconds > 0:
                attributes = {"chainette.engine": event.engine, "chainette.replicas": event.replicas}
                begun = _ns(at_s - event.seconds)
                self._child(f"engine start {event.engine}", run.root, begun, attributes).end(_ns(at_s))
            case RunFinished():
                self._count(run, event.nodes)
                self._end(run, event, at_s)
            case _:
                self._note(run, event, at_s)

    def _child(self, name: str, parent: Span, start_ns: int, attributes: Mapping[str, Any], **more: Any) -> Span:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        return self._tracer.start_span(name, context, start_time=start_ns, attributes=dict(attributes), **more)

    def _begin_stage(self, run: _Run, event: StageStarted, at_s: float) -> None:
        nodes = [id for id in event.nodes if id in run.names]
        attributes = {
            "chainette.stage": event.stage,
            "chainette.steps": nodes,
            "chainette.engines": list(event.engines),
        }
        name = f"chainette.stage {event.stage + 1} of {event.stages}"
        span = self._child(name, run.root, _ns(at_s), attributes)
        steps = {id: self._child(f"chainette.step {id}", span, _ns(at_s), {"chainette.step": id}) for id in nodes}
        run.stages[event.stage] = _Stage(span, steps)

    def _end_chunk(self, run: _Run, event: ChunkCommitted, at_s: float) -> None:
        read_s, chunk = run.chunks.pop(event.chunk, (at_s, None))
        if chunk is not None:
            attributes = {"chainette.chunk": event.chunk, "chainette.rows": chunk.rows, "chainette.first": chunk.first}
            self._child("chainette.chunk", run.root, _ns(read_s), attributes).end(_ns(at_s))

    def _note(self, run: _Run, event: Event, at_s: float) -> None:
        """What is no span of its own is an event on the run's. Errors' words may quote what a model said."""
        told = {
            f"chainette.{name}": value
            for name in ("engine", "replica", "reason", *(("why", "message") if self._content else ()))
            if (value := getattr(event, name, None)) not in (None, "")
        }
        run.root.add_event(f"chainette.{type(event).__name__}", told, _ns(at_s))

    def _count(self, run: _Run, nodes: Mapping[str, NodeCount]) -> None:
        for id, count in nodes.items():
            # The counts of a run that goes on begin with those of the processes before.
            before = run.before.get(id) or (count if run.started.rows_before else NodeCount())
            for outcome in ("done", "failed", "dropped"):
                more = getattr(count, outcome) - getattr(before, outcome)
                if more > 0:
                    self._rows.add(more, {"chainette.step": id, "chainette.outcome": outcome})
            run.before[id] = NodeCount(done=count.done, failed=count.failed, dropped=count.dropped)

    def call(self, step: str, record: Mapping[str, Any]) -> None:
        """A line of `calls/`. One that is no call of this process, or says no time, is passed over."""
        run = self._run
        if run is None or "reused" in record or not ("usage" in record or "error" in record):
            return
        facts = run.facts.get(step)
        started_s, seconds = record.get("started_s"), record.get("seconds")
        if facts is None or not isinstance(started_s, float) or not isinstance(seconds, int | float):
            return
        calls = run.calls.setdefault(step, _Calls())
        calls.all += 1
        error = error_type(record)
        labels = facts.common if error is None else {**facts.common, "error.type": error}
        self._seconds.record(seconds, labels)
        usage = record.get("usage")
        if usage is not None:
            self._tokens.record(usage.get("prompt_tokens", 0), {**facts.common, "gen_ai.token.type": "input"})
            self._tokens.record(usage.get("completion_tokens", 0), {**facts.common, "gen_ai.token.type": "output"})
        end_s = started_s + seconds
        if (run.answered if error is None else run.failed).takes(end_s):
            calls.exported += 1
            self._call_span(run, facts, record, started_s, end_s, error)

    def _call_span(
        self, run: _Run, facts: StepFacts, record: Mapping[str, Any], started_s: float, end_s: float, error: str | None
    ) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        attributes = {**facts.common, **facts.request, **call_attributes(record, content=self._content)}
        parent = self._parent(run, facts.step, started_s)
        span = self._child(facts.name, parent, _ns(started_s), attributes, kind=SpanKind.CLIENT)
        if error is not None:
            # The words of a failure may hold what the model said.
            span.set_status(Status(StatusCode.ERROR, _message(record) if self._content else error))
        span.end(_ns(end_s))

    def _parent(self, run: _Run, step: str, at_s: float) -> Span:
        for stage in (*run.settling, *run.stages.values()):
            if step in stage.steps and (stage.ended_s is None or at_s <= stage.ended_s):
                return stage.steps[step]
        return run.root

    def tick(self) -> None:
        """Ends what may be ended, and sends what there is."""
        run = self._run
        if run is not None:
            due_s = time.time() - _SETTLE_S
            for stage in [stage for stage in run.settling if (stage.ended_s or 0.0) < due_s]:
                run.settling.remove(stage)
                self._end_stage(run, stage, stage.ended_s or due_s)
        self._send_spans()

    def _send_spans(self) -> None:
        while self._finished:
            batch = self._finished[:_BATCH]
            del self._finished[:_BATCH]
            self.sender.spans(batch)

    def send_metrics(self) -> None:
        data = self._reader.get_metrics_data()
        if data is not None:
            self.sender.metrics(data)

    def _end_stage(self, run: _Run, stage: _Stage, at_s: float) -> None:
        for id, span in stage.steps.items():
            count, calls = run.before.get(id, NodeCount()), run.calls.get(id)
            for name in ("done", "failed", "dropped"):
                span.set_attribute(f"chainette.rows.{name}", getattr(count, name))
            if calls is not None:
                # Fewer spans than calls: the others are in the metrics, and in the run folder.
                span.set_attribute("chainette.calls", calls.all)
                span.set_attribute("chainette.calls.exported", calls.exported)
            span.end(_ns(at_s))
        stage.span.end(_ns(at_s))

    def _end(self, run: _Run, event: RunFinished, at_s: float) -> None:
        for name in ("state", "rows_in", "rows_out", "rows_failed", "rows_dropped"):
            run.root.set_attribute(f"chainette.{name.replace('rows_', 'rows.')}", getattr(event, name))
        if event.cost is not None:
            run.root.set_attribute("chainette.cost", event.cost)
        if event.state != "done":
            from opentelemetry.trace import Status, StatusCode

            run.root.set_status(Status(StatusCode.ERROR, event.message if self._content else event.state))
        run.ended_s = at_s

    def finish(self) -> None:
        """After the last call. What is still open is ended, and all is sent."""
        run, self._run = self._run, None
        if run is not None:
            at_s = run.ended_s or time.time()
            for stage in (*run.settling, *run.stages.values()):
                self._end_stage(run, stage, stage.ended_s or at_s)
            run.root.set_attribute("chainette.calls", sum(calls.all for calls in run.calls.values()))
            run.root.set_attribute("chainette.calls.exported", sum(calls.exported for calls in run.calls.values()))
            run.root.end(_ns(at_s))
        self._send_spans()
        self.send_metrics()
        self.sender.close()
        self._tracers.shutdown()
        self._meters.shutdown()


def _collecting(finished: list[ReadableSpan]) -> Any:
    from opentelemetry.sdk.trace import SpanProcessor

    class Collecting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            finished.append(span)

    return Collecting()


def _service_name() -> str:
    """The user's, where one is said."""
    said_so = dict(
        pair.split("=", 1) for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",") if "=" in pair
    )
    return os.environ.get("OTEL_SERVICE_NAME") or said_so.get("service.name", "").strip() or "chainette"


def _message(record: Mapping[str, Any]) -> str:
    return str(record["error"]["message"]) if "error" in record else ", ".join(map(str, record.get("refused", ())))


def _ns(at_s: float) -> int:
    return int(at_s * 1e9)
