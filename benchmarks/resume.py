"""Going on with a run of which all rows but 2,000 are done: how long until the first call, and how much memory.

python -m benchmarks.resume [ROWS]

The run is a real one, killed with `kill -9`; only its engine is a constant, so that it takes minutes and not hours. A
tenth of the rows is shown beside it: neither time nor memory may grow with rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.log_cost import one_step

__all__ = ["one_step"]

CHAIN = "benchmarks.resume:one_step"
LEFT = 2_000
ANSWER_AT_MOST = "CHAINETTE_BENCHMARK_CALLS"
"""How many calls the constant engine answers; the others wait until somebody ends the process."""


def main(rows: int) -> None:
    for count in (rows // 10, rows):
        with measure.workspace() as folder, measure.scripted_server() as url:
            source, target = folder / "reviews.jsonl", folder / "run"
            measure.write_reviews(source, count)
            engines = measure.engines_file(folder / "engines.yml", url, 256)
            filled_s = fill(source, engines, target, count - LEFT, end=False)
            began = time.monotonic()
            cost = measure.run(measure.chainette("resume", str(target), "-f", str(engines), "--quiet"))
            stats = seen(url)
            status = json.loads((target / "status.json").read_text())
        print(f"{count:,} rows, {LEFT:,} left (the run before took {filled_s:.0f} s)")
        print(f"  first new call after {stats['first_s'] - began:.2f} s (target for 1,000,000: under 10 s)")
        print(f"  whole command {cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s, peak memory {cost.peak_mb:.0f} MB")
        print(f"  {stats['calls']:,} calls made; {status['rows_done']:,} rows done, state {status['state']}")


def seen(url: str) -> dict[str, Any]:
    """What the scripted server counted."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
        stats: dict[str, Any] = json.load(reply)
    return stats


def fill(source: Path, engines: Path, target: Path, calls: int, *, end: bool) -> float:
    """A run with a constant for an engine: to its end, or until so many calls are on disk, and then killed.

    Returns the seconds it took.
    """
    command = [sys.executable, "-m", "benchmarks.resume", "constant", "run", CHAIN, "-i", str(source)]
    command += ["-f", str(engines), "-o", str(target), "--quiet"]
    environment = {} if end else {ANSWER_AT_MOST: str(calls)}
    began = time.monotonic()
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        while program.poll() is None and (end or _logged(target) < calls):
            time.sleep(0.2)
        if end and program.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {program.returncode}")
    finally:
        program.kill()
        program.wait()
    return time.monotonic() - began


def _logged(target: Path) -> int:
    return sum(_lines(path) for path in (target / "calls").rglob("*.jsonl"))


def _lines(path: Path) -> int:
    count = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count


def _constant_engine() -> None:
    """Puts the same answer in the place of every request."""
    from chainette.engine.endpoint import EndpointEngine

    text = json.dumps({"product": "lamp", "sentiment": "positive", "rating": 4})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    reply = json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()
    left = int(os.environ.get(ANSWER_AT_MOST, "0")) or sys.maxsize

    async def post(self: EndpointEngine, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        nonlocal left
        left -= 1
        await (asyncio.sleep(0) if left >= 0 else asyncio.get_running_loop().create_future())
        return 200, {}, reply

    EndpointEngine.post = post  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1:2] == ["constant"]:
        del sys.argv[1]
        _constant_engine()
        from chainette.cli.main import main as chainette

        chainette()
    else:
        main(*(int(value) for value in [*sys.argv[1:], "1000000"][:1]))
