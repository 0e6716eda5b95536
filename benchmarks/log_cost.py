"""What the call log costs: one step over HTTP, the server answers at once, with the log and without it.

python -m benchmarks.log_cost [ROWS] [ROUNDS]

Without: `RunFolder.log_call` does nothing; everything else is as it is. The rates are those of the run alone, without
Python's start. On a busy machine they differ more from round to round than by the log; the share of the processor's
time that is spent inside the log is steadier. At the end, how long after its end a call stood on disk.
"""

from __future__ import annotations

import atexit
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.chains import two_steps
from chainette import Chain

IN_FLIGHT = 256

one_step = Chain(name="one step", steps=two_steps.steps[:1])


def main(rows: int, rounds: int) -> None:
    costs: dict[str, list[measure.Cost]] = {"with": [], "without": []}
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with measure.workspace() as folder, measure.scripted_server() as url:
        source = folder / "reviews.jsonl"
        measure.write_reviews(source, rows)
        engines = measure.engines_file(folder / "engines.yml", url, IN_FLIGHT)
        words = ["run", "benchmarks.log_cost:one_step", "-i", str(source), "-f", str(engines), "--quiet", "-o"]
        for turn in range(rounds):
            for mode in ("with", "without") if turn % 2 else ("without", "with"):
                target = folder / f"{mode}-{turn}"
                costs[mode].append(measure.run([*_program(mode), *words, str(target)]))
                rates[mode].append(rows / json.loads((target / "status.json").read_text())["seconds"])
        inside = [_inside([*_program("counted"), *words, str(folder / f"counted-{n}")]) for n in range(3)]
        lags = _lags([*_program("with"), *words, str(folder / "watched")], folder / "watched" / "calls" / "extract")
    for mode in ("with", "without"):
        cpu = measure.spread([cost.cpu_s / rows * 1000 for cost in costs[mode]])
        print(f"{mode:8} the log: rows/s {measure.spread(rates[mode])}   CPU s per 1,000 rows {cpu}")
    slower = [1 - a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
    more = [a.cpu_s / b.cpu_s - 1 for a, b in zip(costs["with"], costs["without"], strict=True)]
    print(f"the log costs {statistics.median(slower):.1%} of the rows/s (target: under 3%), {_all(slower)}")
    print(f"              {statistics.median(more):.1%} more CPU, {_all(more)}")
    print(f"              {statistics.median(inside):.1%} of the processor's time is spent inside the log")
    if lags:
        print(f"on disk {statistics.median(lags):.2f} s after its end, at most {max(lags):.2f} s (target: 1 s)")


def _program(mode: str) -> list[str]:
    # On one core, so that the rounds differ by what is done and not by who was moved where.
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    return [*pin, sys.executable, "-m", "benchmarks.log_cost", mode]


def _all(shares: list[float]) -> str:
    return "rounds: " + " ".join(f"{share:.1%}" for share in shares)


def _inside(command: list[str]) -> float:
    """The share of a run's processor time that its call log takes."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    inside_s, all_s = json.loads(done.stderr.splitlines()[-1])
    return float(inside_s / all_s)


def _lags(command: list[str], calls: Path) -> list[float]:
    """Per call, the seconds from its end until another process could read it."""
    lags: list[float] = []
    at = 0
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended = False
    while not ended:
        ended = program.poll() is not None
        time.sleep(0.02)
        for path in sorted(calls.glob("*.jsonl"))[:1]:
            now_s = time.time()
            with path.open("rb") as file:
                file.seek(at)
                lines = file.read()
            lines = lines[: lines.rfind(b"\n") + 1]
            at += len(lines)
            for line in lines.splitlines():
                record = json.loads(line)
                lags.append(now_s - record["started_s"] - record["seconds"])
    return lags


def _count_inside(folder: Any) -> None:
    """Says at the end, on stderr, how long was spent in `log_call` and `sync_log`, and in the process, in seconds."""
    spent = [0.0]

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began = time.thread_time()
            method(*arguments)
            spent[0] += time.thread_time() - began

        return call

    folder.log_call, folder.sync_log = timed(folder.log_call), timed(folder.sync_log)
    atexit.register(lambda: print(json.dumps([spent[0], time.process_time()]), file=sys.stderr))


def _program_itself(mode: str) -> None:
    from chainette.cli.main import main as chainette
    from chainette.files import RunFolder

    if mode == "without":
        RunFolder.log_call = lambda *_: None  # type: ignore[method-assign]
    if mode == "counted":
        _count_inside(RunFolder)
    chainette()


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("with", "without", "counted"):
        _program_itself(sys.argv.pop(1))
    else:
        main(*(int(value) for value in [*sys.argv[1:], "20000", "9"][:2]))
