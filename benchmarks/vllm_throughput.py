"""Tokens per second of `chainette run` on a real vLLM server beside vLLM's own offline `LLM.chat`.

CHAINETTE_VLLM_PYTHON=… python -m benchmarks.vllm_throughput MODEL [ROWS] [ROUNDS]

One step with a schema; the same prompts, sampling and schema on both sides; the server is warm and the offline engine
loaded before the clock starts. MODEL is a folder or hub name. The two sides take turns, so that what else the machine
does meets both. $BENCH_ENGINE: the engine's arguments as JSON, instead of those for a toy model on a CPU.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks import measure
from benchmarks.chains import SHORT, Item

CPU: dict[str, Any] = {"dtype": "bfloat16", "enforce_eager": True, "max_model_len": 1024, "max_num_seqs": 64}
GRAMMAR = {"backend": "xgrammar", "disable_any_whitespace": True}
WARM_UP_ROWS = 64


def main(model: str, rows: int, rounds: int) -> None:
    engine = json.loads(os.environ.get("BENCH_ENGINE") or "null") or CPU
    offline, served = [], []
    with measure.workspace() as folder:
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        os.environ["CHAINETTE_ENGINES"] = str(folder / "engines.yml")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        texts = [f"row {n} " + "some words of no weight " * 12 for n in range(rows)]
        (folder / "rows.jsonl").write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
        blocks = [{"name": "engine", "backend": "vllm", "model": model, **engine}]
        (folder / "engines.yml").write_text(json.dumps({"engines": blocks}), encoding="utf-8")
        for turn in range(rounds):
            offline.append(_offline(folder, model, engine, texts))
            _chainette("warmup")
            try:
                _served(folder, f"warm-{turn}", WARM_UP_ROWS)
                served.append(_served(folder, f"run-{turn}", rows))
            finally:
                _chainette("kill", "--all")
    for name, rates in (("LLM.chat", offline), ("chainette run", served)):
        print(f"{name:14} tokens/s {measure.spread(rates)}")
    ratio = statistics.median(ours / theirs for ours, theirs in zip(served, offline, strict=True))
    print(f"chainette run / LLM.chat: {ratio:.3f} (median of {rounds}); target on a GPU: at least 0.97")


def _offline(folder: Path, model: str, engine: dict[str, Any], texts: list[str]) -> float:
    job = {
        "engine": {"model": model, "structured_outputs_config": GRAMMAR, **engine},
        "sampling": SHORT.given(),
        "schema": Item.model_json_schema(),
        "prompts": [[{"role": "user", "content": text}] for text in texts],
        "rounds": 1,
    }
    (folder / "job.json").write_bytes(orjson.dumps(job))
    command = [os.environ["CHAINETTE_VLLM_PYTHON"], "-m", "benchmarks.vllm_offline", str(folder / "job.json")]
    with (folder / "offline.log").open("w") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True)
    if done.returncode:
        raise SystemExit((folder / "offline.log").read_text()[-3000:])
    [round_] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[{")))
    return float(round_["tokens"] / round_["seconds"])


def _served(folder: Path, name: str, rows: int) -> float:
    out = folder / name
    run = ["run", "benchmarks.chains:one_short_step", "-i", str(folder / "rows.jsonl"), "-o", str(out)]
    _chainette(*run, "--limit", str(rows), "--quiet", "--max-failed", "100%")
    status = json.loads((out / "status.json").read_text(encoding="utf-8"))
    return float(status["completion_tokens"] / status["seconds"])


def _chainette(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "chainette.cli", *words], check=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in [*sys.argv[2:], "2000", "3"][:2]))
