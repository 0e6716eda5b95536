"""What the pipeline costs beside a hand-written client: two LLM steps over HTTP, the server answers at once.

python -m benchmarks.overhead [ROWS] [ROUNDS]

Both clients and the server share this machine. Chainette validates every answer and writes the whole run folder; the
other reads one file and writes one.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks import measure

IN_FLIGHT = 256


def main(rows: int, rounds: int) -> None:
    ours, theirs, theirs_uvloop = [], [], []
    with measure.workspace() as folder, measure.scripted_server() as url:
        source = folder / "reviews.jsonl"
        measure.write_reviews(source, rows)
        engines = measure.engines_file(folder / "engines.yml", url, IN_FLIGHT)
        for turn in range(rounds):
            by_hand = [sys.executable, "-m", "benchmarks.handwritten", url, str(source), str(folder / "out.jsonl")]
            theirs.append(measure.run([*by_hand, str(IN_FLIGHT)]))
            theirs_uvloop.append(measure.run([*by_hand, str(IN_FLIGHT), "--uvloop"]))
            run = measure.chainette("run", "benchmarks.chains:two_steps", "-i", str(source), "--quiet")
            ours.append(measure.run([*run, "-f", str(engines), "-o", str(folder / f"run-{turn}")]))
    clients = {"chainette": ours, "aiohttp by hand": theirs, "the same on uvloop": theirs_uvloop}
    for name, costs in clients.items():
        cpu = measure.spread([cost.cpu_s / rows * 1000 for cost in costs])
        rate = measure.spread([rows / cost.wall_s for cost in costs])
        peak = max(cost.peak_mb for cost in costs)
        print(f"{name:18} CPU s per 1,000 rows {cpu}   rows/s {rate}   peak {peak:.0f} MB")
    for name, costs in (("aiohttp by hand", theirs), ("the same on uvloop", theirs_uvloop)):
        cpu_ratio = statistics.median(a.cpu_s / b.cpu_s for a, b in zip(ours, costs, strict=True))
        rate_ratio = statistics.median(b.wall_s / a.wall_s for a, b in zip(ours, costs, strict=True))
        print(f"against {name}: CPU ratio {cpu_ratio:.2f}, rate ratio {rate_ratio:.2f}")
    print("targets against aiohttp by hand: CPU ratio at most 1.6, rate ratio at least 0.5")


if __name__ == "__main__":
    main(*(int(value) for value in [*sys.argv[1:], "10000", "3"][:2]))
