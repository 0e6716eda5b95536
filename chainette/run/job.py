"""One run: what it says, what it writes down, how it ends. The order of things; the things are the rooms'."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from chainette.engine.broker import Broker
from chainette.errors import ChainetteError
from chainette.events import (
    EngineCount,
    Event,
    Interrupted,
    Listener,
    NodeCount,
    Progressed,
    RunFinished,
    RunStarted,
    Warned,
)
from chainette.executor import Executor, ExecutorOptions, Outcome
from chainette.executor.past import Past
from chainette.files.cancelling import asked_to_stop, forget_asking
from chainette.files.reading import RunReader
from chainette.files.run_folder import NodeOutput
from chainette.graph import INPUT_ID
from chainette.graph.run_scope import barriers
from chainette.rows import InputChunk, Row
from chainette.run.checking import Checked
from chainette.run.costs import Costs
from chainette.run.loops import Stopper
from chainette.run.opening import Opening
from chainette.run.record import Clock, standing, status_record
from chainette.run.result import RunResult
from chainette.run.telling import Telling
from chainette.specs import EngineRegistry

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_OPEN_WITHOUT_CALLS = 4096
"""Rows under way when nothing is waited for but functions: few enough to stay in the processor's cache."""

_LISTEN_S = 0.5

Results = Callable[[int, Sequence[Row]], Awaitable[None] | None]


class Job:
    """One run: what it says, what it writes down, how it ends."""

    def __init__(
        self,
        checked: Checked,
        opening: Opening,
        listener: Listener | None,
        stopper: Stopper | None,
    ) -> None:
        self._checked = checked
        self._opening = opening
        self._options = opening.options
        self._folder = opening.folder
        self._telling = Telling(opening.folder, listener)
        self.say = self._telling.say
        self._stopper = stopper
        self._clock = Clock(opening.status)
        self._costs = Costs(checked.graph, checked.plan, opening.status)
        self._interrupted = 0
        self._scope = anyio.CancelScope()
        self._outcome = Outcome()
        self._rows_before = 0

    async def go(
        self,
        handle_signals: bool,
        results: Results | None,
        finals: Callable[[Sequence[Row]], None] | None,
    ) -> RunResult:
        """The whole run. From its first line on, a signal means what `_interrupt` says and nothing else."""
        plan = self._checked.plan
        broker = Broker(EngineRegistry(plan.engines), self.say, devices=lambda: plan.devices)
        executor, state, message = None, "stopped", ""
        unwritten: ChainetteError | None = None
        with anyio.open_signal_receiver(*_SIGNALS) if handle_signals else nullcontext() as signals:
            try:
                past, missing = await anyio.to_thread.run_sync(self._prepare)
                for event in missing:
                    self.say(event)
                executor = self._executor(broker, results, finals, past)
                self._outcome = executor.outcome
                self._say_started()
                outcome = await self._drive(executor, self._opening.chunks(self._folder.before), signals)
                state, message = self._ending(outcome)
            except BaseException as error:
                state = "interrupted" if self._interrupted else "stopped"
                message = "interrupted" if self._interrupted else str(only(error)) or type(only(error)).__name__
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(broker.flush, True)
                unwritten = self._close(executor, state, message)
        if unwritten is not None or outcome.error is not None:
            raise unwritten or outcome.error  # type: ignore[misc]
        return self._result(executor, state, message)

    def _prepare(self) -> tuple[Past | None, list[Event]]:
        """Opens the files, cut back to what is whole, and the calls that need not be made again. In a thread.

        Also returns what is still to be said of what processes before this one did.
        """
        graph, options = self._checked.graph, self._options
        forget_asking(self._folder.path)
        nodes = [NodeOutput(node.id, node.output_type, node.written, len(node.loops)) for node in graph.shown]
        self._folder.configure(
            nodes,
            format=options.format,
            max_lines_per_file=options.max_lines_per_file,
            flattened=options.flattened,
            input_type=graph.input_type,
            flat_columns=[INPUT_ID, *(node.id for node in graph.nodes if node.written)],
            in_one=bool(barriers(graph.nodes)),
        )
        before = self._folder.before.count
        self._rows_before = before.rows
        self._outcome = Outcome(before, rows_read=before.rows)
        if before.rows_failed and not self._opening.heals:
            self._count_causes()
        past = self._opening.past(self._folder.before)
        stored = self._folder.before.rows_read(options.max_lines_per_file)
        missing = self._telling.missing(stored, in_one=bool(barriers(graph.nodes)))
        self._folder.write_graph(self._opening.graph)
        self._folder.write_status(self._status("running", before.nodes, {}))
        return past, missing

    def _count_causes(self) -> None:
        self._outcome.causes.clear()
        for failure in RunReader(self._folder.path).failures():
            self._outcome.count_cause(failure.node_id, failure.kind, failure.message)

    def _executor(
        self,
        broker: Broker,
        results: Results | None,
        finals: Callable[[Sequence[Row]], None] | None,
        past: Past | None,
    ) -> Executor:
        checked, options = self._checked, self._options
        rows, share = options.allowed_failures()
        settings = ExecutorOptions(
            open_rows=options.open_rows if checked.graph.steps else min(options.open_rows, _OPEN_WITHOUT_CALLS),
            max_failed=rows,
            max_failed_share=share,
            rows_total=self._opening.source.total,
            params=MappingProxyType(dict(options.params)),
        )
        return Executor(
            checked.graph,
            checked.plan,
            checked.prompts,
            self._folder,
            broker,
            settings,
            self.say,
            results=results,
            finals=finals,
            sync=self._sync,
            outcome=self._outcome,
            past=past,
        )

    def _sync(self, progress: Progressed) -> None:
        self._folder.sync()
        for trouble in self._folder.remote.take_warnings():
            anyio.from_thread.run_sync(self.say, Warned(trouble))
        self._folder.write_status(self._status("running", progress.nodes, progress.engines))

    def _status(
        self, state: str, nodes: Mapping[str, NodeCount], engines: Mapping[str, EngineCount], message: str = ""
    ) -> dict[str, Any]:
        return status_record(
            self._folder,
            self._checked.graph,
            state,
            self._clock,
            nodes,
            self._outcome,
            message,
            costs=self._costs,
            engines=engines,
        ) | standing(self._opening.graph, self._opening.source.total)

    async def _drive(
        self, executor: Executor, chunks: Iterator[InputChunk], signals: AsyncIterator[signal.Signals] | None
    ) -> Outcome:
        written = self._written(chunks)
        if self._stopper is not None:
            self._stopper.arm(lambda: self._interrupt(executor))
        async with anyio.create_task_group() as tasks:
            self._scope = tasks.cancel_scope
            if signals is not None:
                tasks.start_soon(self._watch, signals, executor)
            tasks.start_soon(self._listen, executor)
            outcome = await executor.run(written)
            if self._interrupted < 2:
                tasks.cancel_scope.cancel()
        if self._interrupted >= 2:
            outcome = executor.outcome
            outcome.stopped = outcome.stopped or "interrupted"
        return outcome

    def _written(self, chunks: Iterator[InputChunk]) -> Iterator[InputChunk]:
        if self._opening.heals:
            yield from chunks
            return
        rows = self._folder.before.count.rows
        for chunk in chunks:
            self._folder.add_inputs(chunk, replays=self._opening.forced)
            rows = chunk.first + len(chunk.ids)
            yield chunk
        self._folder.end_inputs(rows)

    async def _watch(self, signals: AsyncIterator[signal.Signals], executor: Executor) -> None:
        async for _ in signals:
            self._interrupt(executor)

    async def _listen(self, executor: Executor) -> None:
        """To other processes: `chainette cancel` asks by a file."""
        while self._interrupted < 2:
            await anyio.sleep(_LISTEN_S)
            asked = await anyio.to_thread.run_sync(asked_to_stop, self._folder.path)
            while self._interrupted < asked:
                self._interrupt(executor)

    def _interrupt(self, executor: Executor) -> None:
        """The first time what is in flight finishes, the second time all stops at once."""
        self._interrupted += 1
        if self._interrupted == 1:
            self.say(Interrupted())
            executor.stop("interrupted")
        else:
            self._scope.cancel()

    def _ending(self, outcome: Outcome) -> tuple[str, str]:
        if self._interrupted:
            return "interrupted", "interrupted"
        if outcome.stopped:
            return "stopped", outcome.stopped
        before = self._folder.before
        if self._opening.heals and not (before.ended and before.count.rows == outcome.count.rows):
            return "stopped", "its last rows are still to come (chainette resume)"
        return "done", ""

    def _say_started(self) -> None:
        checked = self._checked
        self.say(
            RunStarted(
                run_id=self._folder.run_id,
                folder=self._folder.place,
                chain=checked.graph.chain.name,
                rows_total=self._opening.source.total,
                nodes=tuple((node.id, node.kind, f"{node.emoji} {node.label}".strip()) for node in checked.graph.shown),
                tree=checked.graph.outline,
                engines=tuple((name, checked.plan.capabilities[name].description) for name in checked.plan.engines),
                warnings=tuple(checked.warnings),
                rows_before=self._rows_before,
            )
        )

    def _close(self, executor: Executor | None, state: str, message: str) -> ChainetteError | None:
        """The run's last words, in the folder and to the listener. Returns what could not be written."""
        outcome = self._outcome
        progress = executor.statistics() if executor is not None else None
        failed: ChainetteError | None = None
        try:
            self._folder.sync()
            self._folder.seal()
            if self._opening.heals:
                self._count_causes()
        except ChainetteError as error:
            failed = error
            if state == "done":
                state, message = "stopped", str(error)
            else:  # another error ends the run and will be the one that is raised
                self.say(Warned(str(error)))
        if executor is not None and progress is not None:
            executor.say_committed()
            self._telling.say_last(progress)
            self.say(self._finished(outcome, progress, state, message))
        try:
            self._folder.sync_log()
            if progress is not None:
                self._write_trace()
            # Last: in a run that is done nobody would look for what is missing.
            nodes = progress.nodes if progress is not None else outcome.count.nodes
            engines = progress.engines if progress is not None else {}
            self._folder.write_status(self._status(state, nodes, engines, message))
        except ChainetteError as error:
            failed = failed or error
        forget_asking(self._folder.path)
        try:
            self._folder.close(seal=False)
        except ChainetteError as error:
            failed = failed or error
        return failed

    def _write_trace(self) -> None:
        """It is made of the other files, and can be made again: a run is no worse without it."""
        from chainette.reports.trace import MAX_SPANS_OF_RUN, write_trace

        try:
            write_trace(RunReader(self._folder.path), max_spans=MAX_SPANS_OF_RUN)
        except Exception as error:
            self.say(Warned(f"trace.json was not written: {error} (chainette trace {self._folder.place} makes it)"))

    def _finished(self, outcome: Outcome, progress: Progressed, state: str, message: str) -> RunFinished:
        causes = sorted(outcome.causes.items(), key=lambda item: (-item[1], item[0]))
        return RunFinished(
            run_id=self._folder.run_id,
            folder=self._folder.place,
            state=state,
            rows_in=outcome.rows_read,
            rows_out=outcome.count.rows_out,
            rows_failed=outcome.count.rows_failed,
            rows_dropped=outcome.count.rows_dropped,
            elapsed_s=progress.elapsed_s,
            nodes=progress.nodes,
            engines=self._costs.priced(progress.nodes, progress.engines),
            failures=tuple((*key, times) for key, times in causes),
            message=message,
            rows_before=self._rows_before,
            cost=self._costs.cost(progress.nodes),
        )

    def _result(self, executor: Executor, state: str, message: str) -> RunResult:
        outcome = executor.outcome
        rows, share = self._options.allowed_failures()
        allowed = rows if rows is not None else (share or 0.0) * outcome.rows_read
        progress = executor.statistics()
        return RunResult(
            folder=self._folder.path,
            url=self._folder.remote.url,
            state=state,
            rows_in=outcome.rows_read,
            rows_out=outcome.count.rows_out,
            rows_failed=outcome.count.rows_failed,
            rows_dropped=outcome.count.rows_dropped,
            stats=self._status(state, progress.nodes, progress.engines, message),
            message=message,
            allowed_failed=outcome.count.rows_failed <= allowed,
            _graph=self._checked.graph,
            _observed=executor.observed,
        )


def only(error: BaseException) -> BaseException:
    """The error inside task groups' groups: ours before others, any before a cancellation."""
    while isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        ours = [e for e in inner if isinstance(only(e), ChainetteError)]
        error = (ours or list(inner))[0]
    return error
