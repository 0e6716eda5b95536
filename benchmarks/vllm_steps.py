"""Two steps on one real vLLM engine in one run, beside the same steps as two runs, one after the other; and how soon
the first request leaves when the engine is warm.

CHAINETTE_VLLM_PYTHON=… python -m benchmarks.vllm_steps MODEL [ROWS] [ROUNDS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import orjson

from benchmarks import measure
from benchmarks.vllm_throughput import CPU


def main(model: str, rows: int, rounds: int) -> None:
    together, apart, firsts = [], [], []
    engine = json.loads(os.environ.get("BENCH_ENGINE") or "null") or CPU
    with measure.workspace() as folder:
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        os.environ["CHAINETTE_ENGINES"] = str(folder / "engines.yml")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        texts = [f"row {n} " + "some words of no weight " * 12 for n in range(rows)]
        source = folder / "rows.jsonl"
        source.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
        blocks = [{"name": "engine", "backend": "vllm", "model": model, **engine}]
        (folder / "engines.yml").write_text(json.dumps({"engines": blocks}), encoding="utf-8")
        _chainette("warmup")
        try:
            _run("one_short_step", source, folder / "warm")
            for turn in range(rounds):
                seconds, first_s = _run("short_and_again", source, folder / f"both-{turn}")
                together.append(seconds)
                firsts.append(first_s)
                one = folder / f"one-{turn}"
                alone, _ = _run("one_short_step", source, one)
                between = folder / f"between-{turn}.jsonl"
                _join(source, one, between)
                apart.append(alone + _run("short_after", between, folder / f"after-{turn}")[0])
        finally:
            _chainette("kill", "--all")
    print(f"both steps in one run      s {measure.spread(together)}")
    print(f"one run after the other    s {measure.spread(apart)}")
    ratio = statistics.median(a / b for a, b in zip(apart, together, strict=True))
    print(f"apart / together: {ratio:.2f} (median of {rounds})")
    print(f"from `chainette run` to the first request, warm: s {measure.spread(firsts)}; target: under 1")


def _run(chain: str, source: Path, out: Path) -> tuple[float, float]:
    """Seconds of the whole command, and from its start to the first request."""
    began = time.time()
    run = ["run", f"benchmarks.chains:{chain}", "-i", str(source), "-o", str(out), "--quiet", "--max-failed", "100%"]
    _chainette(*run)
    seconds = time.time() - began
    first = min(
        orjson.loads(line)["started_s"]
        for file in (out / "calls").rglob("*.jsonl")
        for line in file.read_bytes().splitlines()
        if b'"started_s"' in line
    )
    return seconds, first - began


def _join(source: Path, run: Path, target: Path) -> None:
    texts = {str(n): orjson.loads(line)["text"] for n, line in enumerate(source.read_bytes().splitlines())}
    with target.open("wb") as file:
        for part in sorted((run / "steps").rglob("*.jsonl")):
            for line in part.read_bytes().splitlines():
                row = orjson.loads(line)
                file.write(orjson.dumps({**row, "text": texts[row.pop("_id")]}) + b"\n")


def _chainette(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "chainette.cli", *words], check=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in [*sys.argv[2:], "1000", "3"][:2]))
