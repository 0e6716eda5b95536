"""What events and trace cost: two steps over HTTP, the server answers at once, as in `benchmarks.overhead`.

python -m benchmarks.trace_cost [ROWS] [ROUNDS]

The share of the whole process's processor time, Python's start included, that is spent saying events and writing
`trace.json`. Rounds with and without them differ more by what else the machine does.
"""

from __future__ import annotations

import atexit
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import measure

IN_FLIGHT = 256


def main(rows: int, rounds: int) -> None:
    shares: dict[str, list[float]] = {"events": [], "trace": [], "both": []}
    with measure.workspace() as folder, measure.scripted_server() as url:
        source = folder / "reviews.jsonl"
        measure.write_reviews(source, rows)
        engines = measure.engines_file(folder / "engines.yml", url, IN_FLIGHT)
        words = ["run", "benchmarks.chains:two_steps", "-i", str(source), "-f", str(engines), "--quiet", "-o"]
        for turn in range(rounds):
            command = [sys.executable, "-m", "benchmarks.trace_cost", "counted", *words, str(folder / f"run-{turn}")]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
            events_s, trace_s, all_s = json.loads(done.stderr.splitlines()[-1])
            shares["events"].append(events_s / all_s)
            shares["trace"].append(trace_s / all_s)
            shares["both"].append((events_s + trace_s) / all_s)
            size = (folder / f"run-{turn}" / "trace.json").stat().st_size
    for name, found in shares.items():
        each = " ".join(f"{share:.2%}" for share in found)
        print(f"{name:7} {statistics.median(found):.2%} of the processor's time, rounds: {each}")
    print(f"{2 * rows} calls, trace.json {size / 1e6:.1f} MB (target for both: under 2%)")


def _count() -> None:
    """Says at the end, on stderr, the seconds in events, in the trace, and in the process."""
    from chainette.reports import trace
    from chainette.run.telling import Telling

    spent = {"events": 0.0, "trace": 0.0}

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                spent[name] += time.thread_time() - began

        return call

    Telling.say = timed("events", Telling.say)  # type: ignore[method-assign]
    trace.write_trace = timed("trace", trace.write_trace)
    atexit.register(lambda: print(json.dumps([*spent.values(), time.process_time()]), file=sys.stderr))


if __name__ == "__main__":
    if sys.argv[1:2] == ["counted"]:
        from chainette.cli.main import main as chainette

        sys.argv.pop(1)
        gc.disable()  # as the program itself does before it imports
        _count()
        chainette()
    else:
        main(*(int(value) for value in [*sys.argv[1:], "10000", "5"][:2]))
