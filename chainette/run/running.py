"""`run`, `arun` and what `Chain.run` calls: checks, opens input and folder, hands both to a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from chainette.chain import Chain
from chainette.events import Listener
from chainette.executor.workers import refuse_in_worker
from chainette.reports.telemetry import with_telemetry
from chainette.rows import Row
from chainette.run.carrying import open_run
from chainette.run.job import Job, Results, only
from chainette.run.loops import Stopper, calm_collector, in_new_loop, in_thread, loop_is_running
from chainette.run.options import RunOptions
from chainette.run.result import RunResult


def run_chain(chain: Chain, inputs: Any, **options: Any) -> RunResult:
    """`Chain.run`. Ctrl-C finishes what is in flight, closes the folder and raises KeyboardInterrupt."""
    result = run(chain, inputs, RunOptions.of(**options), handle_signals=True)
    if result.state == "interrupted":
        raise KeyboardInterrupt(f"interrupted; what was finished is in {result.place}")
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
    refuse_in_worker()
    options = options or RunOptions()
    async with with_telemetry(options.otel, listener) as told:
        opening = open_run(chain, inputs, options)
        if isinstance(opening, RunResult):
            return opening
        job = Job(opening.checked, opening, told, stopper)
        try:
            return await job.go(handle_signals, results, finals)
        except BaseException as error:
            raise only(error) from None
