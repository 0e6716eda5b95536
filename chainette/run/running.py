"""`run`, `arun` and what `Chain.run` calls: checks, opens input and folder, hands both to a job."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from chainette.chain import Chain
from chainette.errors import InputError
from chainette.events import Listener
from chainette.files.inputs import Input, open_input
from chainette.files.run_folder import RunFolder
from chainette.files.validate import RowValidator, check_input
from chainette.graph import Graph
from chainette.graph.types import fields_of
from chainette.rows import InputChunk, Row
from chainette.run.checking import Checked, check
from chainette.run.id_guard import IdGuard
from chainette.run.job import Job, Results, only
from chainette.run.loops import Stopper, calm_collector, in_new_loop, in_thread, loop_is_running
from chainette.run.options import RunOptions
from chainette.run.result import RunResult

CHUNK_WITH_CALLS = 128
"""Calls are slow: small chunks, so that little is under way when a run is stopped."""
CHUNK_OF_PYTHON = 1024
"""Functions are quick: large chunks, so that the way to a thread and to disk costs little a row."""


def run_chain(chain: Chain, inputs: Any, **options: Any) -> RunResult:
    """`Chain.run`. Ctrl-C finishes what is in flight, closes the folder and raises KeyboardInterrupt."""
    result = run(chain, inputs, RunOptions.of(**options), handle_signals=True)
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

    With `handle_signals`, where the caller is the main thread, the first SIGINT, SIGTERM or SIGHUP finishes what is in
    flight, the second stops at once.

    Raises:
        ChainError, InputError, PlanError, EngineError, RunFolderError, RunStoppedError: see `Chain.run`.
    """
    options = options or RunOptions()

    stopper = Stopper()

    async def main() -> RunResult:
        signals = handle_signals and threading.current_thread() is threading.main_thread()
        return await arun(chain, inputs, options, listener, handle_signals=signals, stopper=stopper)

    with calm_collector():
        return in_thread(main, stopper) if loop_is_running() else in_new_loop(main)


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
    job = Job(checked, options, source, folder, listener, stopper)
    try:
        return await job.go(chunks, handle_signals, results, finals)
    except BaseException as error:
        raise only(error) from None


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _open(checked: Checked, inputs: Any, options: RunOptions) -> tuple[Input, Iterator[InputChunk]]:
    """The input and its validated chunks; what can be checked cheaply is checked now."""
    input_type = checked.graph.input_type
    fields = list(fields_of(input_type) or {})
    source = open_input(inputs, columns=options.columns, model_fields=fields, limit=options.limit)

    def validator() -> RowValidator:
        return RowValidator(input_type, id_field=options.id_field, keep_bad=options.max_failed is not None)

    if source.cheap and source.rereadable:
        # What spoils a whole file is raised by this in any case; bad rows only count when none may fail.
        problems = check_input(source, lambda: RowValidator(input_type, id_field=options.id_field, keep_bad=True))
        if problems and options.max_failed is None:
            raise InputError("\n".join(problems))
    default = CHUNK_WITH_CALLS if checked.graph.steps else CHUNK_OF_PYTHON
    size = options.chunk_size or checked.graph.chain.chunk_size or default

    def chunks() -> Iterator[InputChunk]:
        validate = validator()
        guard = IdGuard() if options.id_field is not None and _expands(checked.graph) else None
        for index, raw in enumerate(source.chunks(size)):
            chunk = validate.chunk(raw, index)
            if guard is not None:
                guard.check(chunk.ids)
            yield chunk

    return source, chunks()


def _expands(graph: Graph) -> bool:
    """Whether a node may make several rows of one."""
    return any(
        node.step.samples > 1 if node.kind == "step" else node.kind == "apply" and node.apply.shape.makes in _SEVERAL
        for node in graph.nodes
    )


_SEVERAL = ("many", "list")
