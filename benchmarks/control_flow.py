"""What control flow costs: pure-Python rows through a cond, a loop of three turns and an expand with its gather, beside
straight chains that call as many functions for each row.

python -m benchmarks.control_flow [ROWS] [ROUNDS]

A cond calls its predicate and one function (beside two applies, and beside one); three turns call the function three
times and the predicate four times (beside seven applies, and beside three); expand and gather call two functions and
write three rows for each (beside two applies, and beside three). Peak memory is shown beside that of a tenth of the
rows: it must not grow with them.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from benchmarks import measure

PAIRS = (
    ("conditional", "two_in_a_row"),
    ("conditional", "one_apply"),
    ("loop_of_three", "seven_in_a_row"),
    ("loop_of_three", "three_in_a_row"),
    ("expand_and_gather", "two_in_a_row"),
    ("expand_and_gather", "three_in_a_row"),
)


def main(rows: int, rounds: int) -> None:
    names = list(dict.fromkeys(name for pair in PAIRS for name in pair))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peaks: dict[str, list[float]] = {name: [] for name in names}
    with measure.workspace() as folder:
        source, tenth = folder / "numbers.jsonl", folder / "tenth.jsonl"
        measure.write_numbers(source, rows)
        measure.write_numbers(tenth, rows // 10)
        for _ in range(rounds):
            for name in names:
                cost = _run(name, source, folder / "run")
                seconds[name].append(cost.wall_s)
                peaks[name].append(cost.peak_mb)
        small = {name: _run(name, tenth, folder / "run").peak_mb for name, _ in PAIRS}
    for name, beside in PAIRS:
        ratios = [a / b for a, b in zip(seconds[name], seconds[beside], strict=True)]
        print(
            f"{name} beside {beside}: {statistics.median(ratios):.2f} of its time "
            f"({min(ratios):.2f} to {max(ratios):.2f}; target: at most 1.5), "
            f"{rows / statistics.median(seconds[name]):,.0f} rows/s, "
            f"peak {max(peaks[name]):.0f} MB, with a tenth of the rows {small[name]:.0f} MB"
        )


def _run(name: str, source: Path, target: Path) -> measure.Cost:
    run = measure.chainette("run", f"benchmarks.chains:{name}", "-i", str(source), "--quiet", "-o", str(target))
    cost = measure.run(run)
    shutil.rmtree(target)
    return cost


if __name__ == "__main__":
    main(*(int(value) for value in [*sys.argv[1:], "1000000", "3"][:2]))
