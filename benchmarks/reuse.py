"""A new run that takes every call from an old one, in the same order and in another one.

python -m benchmarks.reuse [ROWS]

The old run is made with a constant for an engine (see `benchmarks.resume`). A tenth of the rows is shown beside it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from benchmarks import measure
from benchmarks.resume import CHAIN, fill, seen


def main(rows: int) -> None:
    for count in (rows // 10, rows):
        with measure.workspace() as folder, measure.scripted_server() as url:
            source, shuffled = folder / "reviews.jsonl", folder / "shuffled.jsonl"
            measure.write_reviews(source, count)
            # In a process of its own: a child's peak memory begins with that of its parent.
            measure.run([sys.executable, "-m", "benchmarks.reuse", "shuffle", str(source), str(shuffled)])
            engines = measure.engines_file(folder / "engines.yml", url, 256)
            filled_s = fill(source, engines, folder / "old", count, end=True)
            print(f"{count:,} calls to take from (the old run took {filled_s:.0f} s)")
            for name, inputs in (("in the same order", source), ("shuffled", shuffled)):
                command = measure.chainette("run", CHAIN, "-i", str(inputs), "--reuse", str(folder / "old"), "--quiet")
                target = folder / inputs.stem
                cost = measure.run([*command, "-f", str(engines), "-o", str(target)])
                rate = f"{count / cost.wall_s:,.0f} rows/s, CPU {cost.cpu_s / count * 1e6:.0f} us a row"
                print(f"  {name}: {rate}, peak memory {cost.peak_mb:.0f} MB, {seen(url)['calls']:,} calls made")


def shuffle(source: str, target: str) -> None:
    lines = Path(source).read_bytes().splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    Path(target).write_bytes(b"".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["shuffle"]:
        shuffle(*sys.argv[2:])
    else:
        main(*(int(value) for value in [*sys.argv[1:], "1000000"][:1]))
