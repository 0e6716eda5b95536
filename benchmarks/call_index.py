"""How long it takes to know which calls of a run are there, what memory that costs, and how fast they are found.

python -m benchmarks.call_index [--records N]

Records of about 400 bytes lie in three nodes, each with a key of its own, and a tenth of them in a fourth node, all
with one key. A fresh process reads them; then rows ask for their own calls, and new rows for those of others.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import orjson

from benchmarks import measure
from chainette.files.call_index import CallIndex
from chainette.files.call_log import CALLS_PER_FILE

NODES = ("extract", "judge", "outer__inner")
LOOK_UPS = 200_000
WORDS = "The lamp is bright, came in three days, and I would buy it again. "


def key_of(number: int) -> str:
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()


def record(row: int, key: int) -> bytes:
    content = {
        "_id": str(row),
        "key": key_of(key),
        "attempt": 0,
        "text": f'{{"product":"lamp {row}","words":"{WORDS}"}}',
        "reasoning": None,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 41, "completion_tokens": 23, "cached_tokens": 0},
        "started_s": 1_750_000_000.123456,
        "seconds": 0.734512,
        "replica": "http://127.0.0.1:8000/v1",
        "sent": 1,
    }
    return orjson.dumps(content) + b"\n"


def write_node(folder: Path, keys: range, step: int) -> None:
    """A record per row; the key of the n-th is the n-th of `keys`, or always the first where `step` is 0."""
    folder.mkdir(parents=True)
    for part, first in enumerate(range(0, len(keys), CALLS_PER_FILE)):
        rows = range(first, min(first + CALLS_PER_FILE, len(keys)))
        with (folder / f"{part:03d}.jsonl").open("wb") as file:
            # One by one: the peak memory of this process would be seen as that of the one it starts.
            file.writelines(record(row, keys[row * step]) for row in rows)


def look_up(index: CallIndex, wanted: Iterable[tuple[int, str]]) -> float:
    """Look-ups per second, all of which must find something."""
    asked = [(key_of(key), row_id) for key, row_id in wanted]
    started = time.perf_counter()
    missed = sum(index.take(key, 0, row_id) is None for key, row_id in asked)
    rate = len(asked) / (time.perf_counter() - started)
    if missed:
        raise SystemExit(f"{missed} of {len(asked)} calls were not found")
    return rate


def read(run: Path, records: int) -> None:
    import numpy  # noqa: F401 (what it takes alone is not measured)

    before_mb = peak_mb()
    started = time.perf_counter()
    index = CallIndex.of(run)
    seconds = time.perf_counter() - started
    print(f"{len(index):,} records read in {seconds:.2f} s: {len(index) / seconds:,.0f} records/s")
    print(f"peak memory {peak_mb():.0f} MB, {peak_mb() - before_mb:.0f} MB above the interpreter with its imports")
    alone = records - records // 10
    count = min(LOOK_UPS, alone // 6)
    rates = {
        "own": look_up(index, ((3 * row, str(row)) for row in range(count))),
        "own, spread over the run": look_up(index, ((n, str(n // 3)) for n in range(1, alone, max(alone // count, 4)))),
        "of another row": look_up(index, ((3 * row + 2, f"new {row}") for row in range(count))),
        "of another row, equal prompts": look_up(index, ((alone, f"new {n}") for n in range(records // 20))),
        "own or another, equal prompts": look_up(index, ((alone, str(n)) for n in range(records // 20))),
    }
    for name, rate in rates.items():
        print(f"look-ups {name:30} {rate:10,.0f} a second")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(records: int) -> None:
    with measure.workspace() as run:
        alone = records - records // 10
        for number, node in enumerate(NODES):
            write_node(run / "calls" / node, range(number, alone, len(NODES)), 1)
        write_node(run / "calls" / "equal", range(alone, records), 0)
        size = sum(path.stat().st_size for path in run.rglob("*.jsonl"))
        print(f"{records:,} records, {size / records:.0f} bytes each", flush=True)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.call_index", "--read", run, "--records", str(records)], check=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read, arguments.records)
    else:
        main(arguments.records)
