"""One run from its first check to its closed folder. The order of things; the things themselves are the rooms'."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio

from chainette.chain import Chain
from chainette.engine.broker import Broker
from chainette.errors import ChainetteError, InputError
from chainette.events import ChunkCommitted, Event, Interrupted, Listener, Progressed, RunFinished, RunStarted, Warned
from chainette.executor import Executor, ExecutorOptions, Outcome
from chainette.files.inputs import Input, open_input
from chainette.files.run_folder import NodeOutput, RunFolder
from chainette.files.validate import RowValidator, check_input
from chainette.graph.types import fields_of
from chainette.observe import event_line
from chainette.rows import InputChunk, Row
from chainette.run.checking import Checked, check
from chainette.run.options import RunOptions
from chainette.run.record import graph_record, status_record
from chainette.run.result import RunResult

DEFAULT_CHUNK = 512

Results = Callable[[int, Sequence[Row]], Awaitable[None] | None]


def run_chain(chain: Chain, inputs: Any, **options: Any) -> RunResult:
    """`Chain.run`. Ctrl-C finishes what is in flight, closes the folder and raises KeyboardInterrupt."""
    in_main = threading.current_thread() is threading.main_thread()
    result = run(chain, inputs, RunOptions.of(**options), handle_signals=in_main)
    if result.state == "interrupted":
        raise KeyboardInterrupt(f"interrupted; what was finished is in {result.folder}")
    return result


async def arun_chain(chain: Chain, inputs: Any, **options: Any) -> RunResult:
    """`Chain.arun`."""
    return await arun(chain, inputs, RunOptions.of(**options))


def run(
    chain: Chain,
    inputs: Any,
    options: RunOptions | None = None,
    listener: Listener | None = None,
    *,
    handle_signals: bool = False,
) -> RunResult:
    """Runs `chain` over `inputs` and blocks until it is over; inside an event loop it works in a thread of its own.

    With `handle_signals`, the first SIGINT or SIGTERM finishes what is in flight, the second stops at once.

    Raises:
        ChainError, InputError, PlanError, EngineError, RunFolderError, RunStoppedError: see `Chain.run`.
    """
    options = options or RunOptions()

    stopper = Stopper()

    async def main() -> RunResult:
        with _calm_collector():
            signals = handle_signals and threading.current_thread() is threading.main_thread()
            return await arun(chain, inputs, options, listener, handle_signals=signals, stopper=stopper)

    if _loop_is_running():
        return _in_thread(main, stopper)
    return _in_new_loop(main)


class Stopper:
    """Ends a run from another thread the way the first Ctrl-C does."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] | None = None

    def arm(self, interrupt: Callable[[], None]) -> None:
        """Called on the run's loop; `interrupt` will be called there too."""
        loop = asyncio.get_running_loop()
        self._interrupt = lambda: loop.call_soon_threadsafe(interrupt)  # type: ignore[assignment, return-value]

    def pull(self) -> None:
        if self._interrupt is not None:
            self._interrupt()


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Rows are many, live briefly and hold no cycles; by default the collector would look at each of them several
    times, which took half the CPU of a pure-Python chain (benchmarks/pure_python.py)."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _in_new_loop(main: Callable[[], Awaitable[RunResult]]) -> RunResult:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return anyio.run(main)
    return anyio.run(main, backend_options={"use_uvloop": True})


def _in_thread(main: Callable[[], Awaitable[RunResult]], stopper: Stopper) -> RunResult:
    """A notebook's loop is already running, and `run` blocks: so the run gets a thread."""
    outcome: list[RunResult | BaseException] = []

    def work() -> None:
        try:
            outcome.append(_in_new_loop(main))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="chainette-run")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        stopper.pull()
        thread.join()
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


async def arun(
    chain: Chain,
    inputs: Any,
    options: RunOptions | None = None,
    listener: Listener | None = None,
    *,
    handle_signals: bool = False,
    stopper: Stopper | None = None,
    results: Results | None = None,
    finals: Callable[[Sequence[Row]], None] | None = None,
) -> RunResult:
    """`run` for code that has an event loop."""
    options = options or RunOptions()
    checked = check(chain, options)
    checked.require()
    source, chunks = _open(checked, inputs, options)
    folder = RunFolder.create(_path(options.output_dir), chain.name, runs_dir=Path(options.runs_dir))
    job = _Run(checked, options, source, folder, listener, stopper)
    try:
        return await job.go(chunks, handle_signals, results, finals)
    except BaseException as error:
        raise _only(error) from None


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _open(checked: Checked, inputs: Any, options: RunOptions) -> tuple[Input, Iterator[InputChunk]]:
    """The input and its validated chunks; what can be checked cheaply is checked now."""
    input_type = checked.graph.input_type
    fields = list(fields_of(input_type) or {})
    source = open_input(inputs, columns=options.columns, model_fields=fields, limit=options.limit)

    def validator() -> RowValidator:
        return RowValidator(input_type, id_field=options.id_field, keep_bad=options.max_failed is not None)

    if source.cheap and source.rereadable and options.max_failed is None:
        problems = check_input(source, validator)
        if problems:
            raise InputError("\n".join(problems))
    size = options.chunk_size or checked.graph.chain.chunk_size or DEFAULT_CHUNK

    def chunks() -> Iterator[InputChunk]:
        validate = validator()
        for index, raw in enumerate(source.chunks(size)):
            yield validate.chunk(raw, index)

    return source, chunks()


class _Run:
    """One run: what it says, what it writes down, how it ends."""

    def __init__(
        self,
        checked: Checked,
        options: RunOptions,
        source: Input,
        folder: RunFolder,
        listener: Listener | None,
        stopper: Stopper | None,
    ) -> None:
        self._checked = checked
        self._options = options
        self._source = source
        self._folder = folder
        self._listener = listener
        self._stopper = stopper
        self._started = time.time()
        self._interrupted = 0

    def say(self, event: Event) -> None:
        if not isinstance(event, Progressed | ChunkCommitted):
            self._folder.log_event(event_line(event))
        if self._listener is not None:
            self._listener(event)

    async def go(
        self,
        chunks: Iterator[InputChunk],
        handle_signals: bool,
        results: Results | None,
        finals: Callable[[Sequence[Row]], None] | None,
    ) -> RunResult:
        broker = Broker(self._checked.registry, self.say)
        executor, state, message = None, "stopped", ""
        try:
            self._prepare()
            executor = self._executor(broker, results, finals)
            self._say_started()
            outcome = await self._drive(executor, chunks, handle_signals)
            state, message = self._ending(outcome)
        except BaseException as error:
            message = str(_only(error)) or type(error).__name__
            state = "interrupted" if self._interrupted else "stopped"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(broker.flush, True)
            self._close(executor, state, message)
        if outcome.error is not None:
            raise outcome.error
        return self._result(executor, state, message)

    def _prepare(self) -> None:
        graph, options = self._checked.graph, self._options
        nodes = [NodeOutput(node.id, node.output_type, node.written) for node in graph.nodes]
        self._folder.configure(
            nodes,
            format=options.format,
            max_lines_per_file=options.max_lines_per_file,
            flattened=options.flattened,
        )
        self._folder.write_graph(graph_record(self._checked, options, self._source.describe(), self._folder.run_id))
        self._folder.write_status(status_record(self._folder, graph, "running", self._started, None, Outcome()))

    def _executor(
        self, broker: Broker, results: Results | None, finals: Callable[[Sequence[Row]], None] | None
    ) -> Executor:
        checked, options = self._checked, self._options
        rows, share = options.allowed_failures()
        settings = ExecutorOptions(
            open_rows=options.open_rows,
            max_failed=rows,
            max_failed_share=share,
            rows_total=self._source.total,
            params=MappingProxyType(dict(options.params)),
        )
        return Executor(
            checked.graph,
            checked.plan,
            checked.prompts,
            self._folder,
            broker,
            settings,
            self._listener,
            results=results,
            finals=finals,
            sync=self._sync,
        )

    def _sync(self, progress: Progressed) -> None:
        self._folder.sync()
        outcome = Outcome(progress.rows_read, progress.rows_done)
        graph = self._checked.graph
        self._folder.write_status(status_record(self._folder, graph, "running", self._started, progress, outcome))

    async def _drive(self, executor: Executor, chunks: Iterator[InputChunk], handle_signals: bool) -> Outcome:
        written = self._written(chunks)
        if self._stopper is not None:
            self._stopper.arm(lambda: self._interrupt(executor))
        if not handle_signals:
            return await executor.run(written)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_signals, executor, tasks.cancel_scope)
            outcome = await executor.run(written)
            if self._interrupted < 2:
                tasks.cancel_scope.cancel()
        if self._interrupted >= 2:
            outcome = executor.outcome
            outcome.stopped = outcome.stopped or "interrupted"
        return outcome

    def _written(self, chunks: Iterator[InputChunk]) -> Iterator[InputChunk]:
        for chunk in chunks:
            self._folder.add_inputs(chunk)
            yield chunk

    async def _watch_signals(self, executor: Executor, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._interrupt(executor)
                if self._interrupted > 1:
                    scope.cancel()
                    return

    def _interrupt(self, executor: Executor) -> None:
        self._interrupted += 1
        if self._interrupted == 1:
            self.say(Interrupted())
            executor.stop("interrupted")

    def _ending(self, outcome: Outcome) -> tuple[str, str]:
        if self._interrupted:
            return "interrupted", "interrupted"
        if outcome.stopped:
            return "stopped", outcome.stopped
        return "done", ""

    def _say_started(self) -> None:
        checked = self._checked
        self.say(
            RunStarted(
                run_id=self._folder.run_id,
                folder=str(self._folder.path),
                chain=checked.graph.chain.name,
                rows_total=self._source.total,
                nodes=tuple(
                    (node.id, node.kind, f"{node.emoji} {node.label}".strip())
                    for node in checked.graph.nodes
                    if node.kind in ("step", "apply", "join")
                ),
                tree=checked.graph.outline,
                engines=tuple((name, checked.plan.capabilities[name].description) for name in checked.plan.engines),
                warnings=tuple(checked.warnings),
            )
        )

    def _close(self, executor: Executor | None, state: str, message: str) -> None:
        """The folder's last word. An error here does not hide the one that ended the run."""
        outcome = executor.outcome if executor is not None else Outcome()
        progress = executor.statistics() if executor is not None else None
        try:
            self._folder.sync()
            self._folder.close(seal=True)
            graph = self._checked.graph
            record = status_record(self._folder, graph, state, self._started, progress, outcome, message)
            self._folder.write_status(record)
        except ChainetteError as error:
            if state == "done":
                raise
            self.say(Warned(str(error)))
        if progress is None:
            return
        causes = sorted(outcome.causes.items(), key=lambda item: (-item[1], item[0]))
        self.say(
            RunFinished(
                run_id=self._folder.run_id,
                folder=str(self._folder.path),
                state=state,
                rows_in=outcome.rows_read,
                rows_out=outcome.rows_out,
                rows_failed=outcome.rows_failed,
                rows_dropped=outcome.rows_dropped,
                elapsed_s=progress.elapsed_s,
                nodes=progress.nodes,
                engines=progress.engines,
                failures=tuple((*key, times) for key, times in causes[:20]),
                message=message,
            )
        )

    def _result(self, executor: Executor, state: str, message: str) -> RunResult:
        outcome = executor.outcome
        rows, share = self._options.allowed_failures()
        allowed = rows if rows is not None else (share or 0.0) * outcome.rows_read
        return RunResult(
            folder=self._folder.path,
            state=state,
            rows_in=outcome.rows_read,
            rows_out=outcome.rows_out,
            rows_failed=outcome.rows_failed,
            rows_dropped=outcome.rows_dropped,
            stats=status_record(
                self._folder, self._checked.graph, state, self._started, executor.statistics(), outcome, message
            ),
            message=message,
            allowed_failed=outcome.rows_failed <= allowed,
            _graph=self._checked.graph,
            _observed=executor.observed,
        )


def _only(error: BaseException) -> BaseException:
    """The error inside task groups' groups: ours before others, any before a cancellation."""
    while isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        ours = [e for e in inner if isinstance(_only(e), ChainetteError)]
        error = (ours or list(inner))[0]
    return error
