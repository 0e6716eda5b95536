"""How long `stats` takes for a run of many calls, and what memory that costs.

python -m benchmarks.stats [--calls N] [--text BYTES]

Two steps of one chain, each with an engine of its own of four replicas; every row is asked first by the one, then by
the other. Events are those of a run with a snapshot a second. A fresh process makes the figures, as the command does.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import orjson

from benchmarks import measure
from benchmarks.call_index import key_of
from chainette.files.call_log import CALLS_PER_FILE

STEPS = ("extract", "judge")
REPLICAS = 4
WINDOW = 64
BEGAN_S = 1_750_000_000.0
CHUNK = 128


def record(row: int, number: int, started_s: float, seconds: float, text: str) -> bytes:
    content = {
        "_id": str(row),
        "key": key_of(number),
        "attempt": 1,
        "text": text,
        "reasoning": None,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 410, "completion_tokens": 123, "cached_tokens": 200},
        "started_s": started_s,
        "seconds": seconds,
        "queue_s": seconds / 10,
        "first_token_s": seconds / 5,
        "replica": number % REPLICAS,
        "sent": 1,
    }
    return orjson.dumps(content) + b"\n"


def write_calls(run: Path, rows: int, text: str) -> float:
    """Seconds that the run seems to have taken: each slot one call after another, the second step as rows come."""
    random.seed(7)
    end_s = 0.0
    for number, step in enumerate(STEPS):
        folder = run / "calls" / step
        folder.mkdir(parents=True)
        free_s = [BEGAN_S + 30.0 + number * 1.5] * WINDOW
        for first in range(0, rows, CALLS_PER_FILE):
            part = folder / f"{first // CALLS_PER_FILE:03d}.jsonl"
            with part.open("wb") as file:
                for row in range(first, min(first + CALLS_PER_FILE, rows)):
                    slot, seconds = row % WINDOW, 0.8 + 0.4 * random.random()
                    file.write(record(row, row, free_s[slot], seconds, text))
                    free_s[slot] += seconds
        end_s = max(free_s)
    return end_s - BEGAN_S


def write_events(run: Path, rows: int, seconds: float) -> None:
    def moment(at_s: float) -> str:
        from chainette.observe import utc

        return utc(BEGAN_S + at_s)

    nodes = [{"id": step, "kind": "step", "label": step} for step in STEPS]
    with (run / "events.jsonl").open("wb") as file:

        def say(event: str, at_s: float, **fields: object) -> None:
            file.write(orjson.dumps({"event": event, "time": moment(at_s), **fields}) + b"\n")

        say("run_started", 0, run_id="r", folder="r", chain="c", rows_total=rows, nodes=nodes, tree=[], engines=[])
        for step in STEPS:
            say("engine_started", 30, engine=f"of_{step}", description="", seconds=30.0, replicas=REPLICAS)
        chunks = -(-rows // CHUNK)
        for chunk in range(chunks):
            at_s = 30 + (seconds - 30) * chunk / chunks
            say("chunk_read", at_s, chunk=chunk, first=chunk * CHUNK, rows=CHUNK)
            say("chunk_committed", at_s + 3, chunk=chunk, rows_committed=(chunk + 1) * CHUNK)
        for second in range(30, int(seconds), max(1, int(seconds) // 1000)):
            count = {"entered": rows, "running": WINDOW, "waiting": WINDOW}
            engine = {"window": WINDOW, "running": WINDOW, "waiting": WINDOW}
            said = {"nodes": dict.fromkeys(STEPS, count), "engines": {f"of_{step}": engine for step in STEPS}}
            say("progressed", second, rows_read=rows, rows_done=0, elapsed_s=second, **said)


def write_documents(run: Path, rows: int, seconds: float) -> None:
    nodes = [{"id": step, "name": step, "type": "step", "engine": f"of_{step}"} for step in STEPS]
    edges = [["chain_input", STEPS[0]], [STEPS[0], STEPS[1]]]
    graph = {"run_id": "r", "chain": "c", "execution_order": nodes, "nodes": nodes, "edges": edges, "engines": []}
    (run / "graph.json").write_text(json.dumps(graph))
    counts = {step: {"rows_in": rows, "done": rows, "rows_out": rows, "calls": rows} for step in STEPS}
    status = {"state": "interrupted", "rows_in": rows, "rows_done": rows, "nodes": counts, "seconds": seconds}
    (run / "status.json").write_text(json.dumps(status))


def main(calls: int, text_bytes: int) -> None:
    with measure.workspace() as folder:
        run = folder / "run"
        rows = calls // len(STEPS)
        seconds = write_calls(run, rows, "x" * text_bytes)
        write_events(run, rows, seconds)
        write_documents(run, rows, seconds)
        size = sum(path.stat().st_size for path in run.glob("calls/*/*.jsonl"))
        print(f"{calls:,} calls, {size / calls:.0f} bytes each, of a run of {seconds:,.0f} s", flush=True)
        bare = measure.run(measure.chainette("stats", "--help"))
        for _ in range(3):
            cost = measure.run(measure.chainette("stats", str(run), "--json"))
            rest = f"cpu {cost.cpu_s:.2f} s, peak {cost.peak_mb:.0f} MB ({bare.peak_mb:.0f} MB with --help)"
            print(f"stats: {cost.wall_s:.2f} s, {rest}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--text", type=int, default=400, help="Bytes of each answer.")
    arguments = parser.parse_args()
    main(arguments.calls, arguments.text)
