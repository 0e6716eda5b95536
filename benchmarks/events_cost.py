"""What it costs that a run says what it does: `events.jsonl` and `trace.json`, with them and without.

python -m benchmarks.events_cost [ROWS OF PYTHON] [ROWS WITH CALLS] [ROUNDS]

Two runs: one map over a million rows, and two LLM steps over HTTP whose server answers at once. Each is made in turn as
it is, without the trace, and without both; what is left out is a method that does nothing, in this file. On a busy
machine rounds differ more from one another than by what is measured; the share of the processor's time that is spent
inside the methods is steadier.
"""

from __future__ import annotations

import atexit
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.chains import Number, two_steps
from chainette import Chain, apply

IN_FLIGHT = 256
MODES = {"as it is": (), "without trace": ("trace",), "without both": ("trace", "events")}
"""What is left out of each."""
COSTS = {"events.jsonl": ("without trace", "without both"), "trace.json": ("as it is", "without trace")}
"""Which modes differ by it."""


def plus_one(number: Number) -> Number:
    return Number(value=number.value + 1)


one_map = Chain(name="one map", steps=[apply(plus_one)])
steps = two_steps


def main(python_rows: int, call_rows: int, rounds: int) -> None:
    with measure.workspace() as folder, measure.scripted_server() as url:
        numbers, reviews = folder / "numbers.jsonl", folder / "reviews.jsonl"
        measure.write_numbers(numbers, python_rows)
        measure.write_reviews(reviews, call_rows)
        engines = measure.engines_file(folder / "engines.yml", url, IN_FLIGHT)
        of_python = ["run", "benchmarks.events_cost:one_map", "-i", str(numbers), "--quiet"]
        of_calls = ["run", "benchmarks.events_cost:steps", "-i", str(reviews), "-f", str(engines), "--quiet"]
        _compare(f"one map, {python_rows:,} rows", of_python, folder / "run", rounds)
        _compare(f"two steps, {call_rows:,} rows", of_calls, folder / "run", rounds)


def _compare(name: str, words: Sequence[str], target: Path, rounds: int) -> None:
    costs: dict[str, list[measure.Cost]] = {mode: [] for mode in MODES}
    for turn in range(rounds):
        for mode in list(MODES) if turn % 2 else reversed(MODES):
            costs[mode].append(measure.run([*_program(mode), *words, "-o", str(target)]))
            shutil.rmtree(target)
    print(name)
    for mode, found in costs.items():
        cpu, wall = (measure.spread([getattr(cost, field) for cost in found]) for field in ("cpu_s", "wall_s"))
        print(f"  {mode:14} CPU s {cpu}   s {wall}")
    inside = _inside([*_program("counted"), *words, "-o", str(target)])
    sizes = {path.name: path.stat().st_size for path in target.iterdir() if path.name in COSTS}
    shutil.rmtree(target)
    for what, (more, less) in COSTS.items():
        ratios = [a.cpu_s / b.cpu_s for a, b in zip(costs[more], costs[less], strict=True)]
        best = min(cost.cpu_s for cost in costs[more]) / min(cost.cpu_s for cost in costs[less])
        said = " ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"  {what:14} CPU with it / without it: {statistics.median(ratios):.3f} (rounds: {said}; of the quickest "
            f"{best:.3f})\n{'':17}{inside.get(what, 0.0):.2%} of the processor's time is spent inside, "
            f"{sizes.get(what, 0):,} bytes"
        )


def _program(mode: str) -> list[str]:
    # On one core, so that the rounds differ by what is done and not by who was moved where.
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    return [*pin, sys.executable, "-m", "benchmarks.events_cost", mode]


def _inside(command: list[str]) -> dict[str, float]:
    """Which share of a run's processor time each thing takes."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    spent = json.loads(done.stderr.splitlines()[-1])
    return {what: seconds / spent["all"] for what, seconds in spent.items()}


def _methods() -> dict[str, list[tuple[type, str]]]:
    """What is at work for each."""
    from chainette.files.call_log import CallLog
    from chainette.run.job import Job
    from chainette.run.telling import Telling

    events = [(Telling, "_write"), (CallLog, "_write_events")]
    return {"events.jsonl": events, "trace.json": [(Job, "_write_trace")]}


def _count_inside() -> None:
    """Says at the end, on stderr, how long was spent in the methods, and in the process, in seconds."""
    spent: dict[str, float] = {}

    def timed(what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                spent[what] = spent.get(what, 0.0) + time.thread_time() - began

        return call

    for what, methods in _methods().items():
        for owner, name in methods:
            if hasattr(owner, name):
                setattr(owner, name, timed(what, getattr(owner, name)))
    atexit.register(lambda: print(json.dumps({**spent, "all": time.process_time()}), file=sys.stderr))


def _leave_out(what: str) -> None:
    from chainette.run.job import Job
    from chainette.run.telling import Telling

    if what == "trace":
        Job._write_trace = lambda *_: None  # type: ignore[method-assign]
    else:
        Telling._write = lambda *_: None  # type: ignore[method-assign]


def _program_itself(mode: str) -> None:
    from chainette.cli.main import main as chainette

    if mode == "counted":
        _count_inside()
    for what in MODES.get(mode, ()):
        _leave_out(what)
    chainette()


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in (*MODES, "counted"):
        _program_itself(sys.argv.pop(1))
    else:
        main(*(int(value) for value in [*sys.argv[1:], *["1000000", "10000", "5"][len(sys.argv) - 1 :]]))
