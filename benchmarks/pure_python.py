"""A chain of two pure-Python applies over a million rows, from file to run folder, on one core.

python -m benchmarks.pure_python [ROWS] [ROUNDS]

Peak memory is shown beside that of a tenth of the rows: it must not grow with them.
"""

from __future__ import annotations

import shutil
import sys

from benchmarks import measure


def main(rows: int, rounds: int) -> None:
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    rates, peaks, small = [], [], []
    with measure.workspace() as folder:
        for count, costs in ((rows // 10, small), (rows, peaks)):
            source = folder / f"numbers-{count}.jsonl"
            measure.write_numbers(source, count)
            for turn in range(rounds):
                target = folder / f"run-{count}-{turn}"
                run = measure.chainette("run", "benchmarks.chains:two_applies", "-i", str(source), "--quiet")
                cost = measure.run([*pin, *run, "-o", str(target)])
                shutil.rmtree(target)
                costs.append(cost.peak_mb)
                if count == rows:
                    rates.append(rows / cost.wall_s)
                    print(f"  {rows / cost.wall_s:,.0f} rows/s, CPU {cost.cpu_s / rows * 1e6:.1f} us a row")
    print(f"{rows:,} rows on one core: {measure.spread(rates)} rows/s (target: at least 60,000)")
    print(f"peak memory {max(peaks):.0f} MB, with a tenth of the rows {max(small):.0f} MB (target: within 20 MB)")


if __name__ == "__main__":
    main(*(int(value) for value in [*sys.argv[1:], "1000000", "3"][:2]))
