"""How busy the engine is kept: 64 slots, lognormal service time (mean 50 ms, sigma 0.6), two steps.

python -m benchmarks.utilisation [ROWS] [ROUNDS] [CHAIN]

CHAIN is `two_steps`, or `refine`: the same steps in a loop that rows leave after one to six turns.

The ideal makespan is the service time of all answers, as the server drew it, over the slots. The share is taken over
the whole process, start-up and imports included, and over the run alone.
"""

from __future__ import annotations

import json
import sys
import urllib.request

from benchmarks import measure

SLOTS, MEAN_S, SIGMA = 64, 0.05, 0.6


def main(rows: int, rounds: int, chain: str) -> None:
    whole, run_only = [], []
    with measure.workspace() as folder:
        source = folder / "reviews.jsonl"
        measure.write_reviews(source, rows)
        for turn in range(rounds):
            with measure.scripted_server(slots=SLOTS, service_mean=MEAN_S, service_sigma=SIGMA) as url:
                engines = measure.engines_file(folder / "engines.yml", url, SLOTS * 2)
                target = folder / f"run-{turn}"
                run = measure.chainette("run", f"benchmarks.chains:{chain}", "-i", str(source), "--quiet")
                cost = measure.run([*run, "-f", str(engines), "-o", str(target)])
                with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
                    ideal_s = json.load(reply)["service_s"] / SLOTS
            whole.append(ideal_s / cost.wall_s)
            run_only.append(ideal_s / json.loads((target / "status.json").read_text())["seconds"])
    print(f"{rows} rows, ideal makespan {ideal_s:.2f} s")
    print(f"share of ideal, whole process {measure.spread([100 * v for v in whole])} %")
    least = 95 if chain == "two_steps" else 90
    print(f"share of ideal, the run alone {measure.spread([100 * v for v in run_only])} % (target: at least {least} %)")


if __name__ == "__main__":
    given = [*sys.argv[1:], *("10000", "3", "two_steps")[len(sys.argv) - 1 :]]
    main(int(given[0]), int(given[1]), given[2])
