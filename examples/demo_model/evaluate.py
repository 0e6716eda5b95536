"""Measure the demo model where it will live: llama.cpp's server, the schema as grammar, temperature 0, exact rows.

    python -m examples.demo_model.evaluate --rows 500                    # percentages, needs xllamacpp and pydantic
    python -m examples.demo_model.evaluate --write /tmp/heldout          # inputs and truths as files, runs nothing
    python -m examples.demo_model.evaluate --check                       # prompts agree with the steps of the examples

A row is exact when the whole parsed answer equals the truth. It knows nothing about training.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from .data import OTHER_TASKS, REVIEW_TASKS, held_out
from .prompts import PROMPTS
from .row import Row

MODEL = Path(__file__).resolve().parents[2] / "chainette" / "engine" / "demo.gguf"
SLOTS = 8
SCHEMA_NOTE = "\n\nAnswer with one JSON object that fits this JSON schema:\n"


class Price(BaseModel):
    amount: float = Field(ge=0, le=10_000)
    currency: Literal["EUR", "USD", "GBP"]


def _text(name: str, most: int) -> type[BaseModel]:
    return create_model(name.title(), **{name: (str, Field(max_length=most))})  # type: ignore[call-overload]


# The same shapes as in the examples, so that this script needs no Chainette; `--check` compares the two.
OUTPUTS: dict[str, type[BaseModel]] = {
    "extract": create_model(
        "Extract",
        product=(str, Field(max_length=80)),
        sentiment=(Literal["positive", "negative", "mixed"], ...),
        rating=(int, Field(ge=1, le=5)),
    ),
    "verdict_fr": _text("verdict", 200),
    "verdict_es": _text("verdict", 200),
    "summarise": _text("summary", 300),
    "qa": create_model("Answer", answer=(str, ...), confidence=(float, ...)),
    "offer": create_model(
        "Offer",
        name=(str, Field(max_length=80)),
        price=(Price, ...),
        tags=(list[str], Field(max_length=3)),
        in_stock=(bool, ...),
    ),
    "label": _text("label", 120),
    "documents": _text("summary", 200),
    "score": create_model("Score", score=(int, Field(ge=1, le=5)), reason=(str, Field(max_length=80))),
}


def _serve(model: str, parent: Connection) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * 1024
    params.cpuparams.n_threads = 1
    params.verbosity, params.warmup, params.ui, params.endpoint_slots = -1, False, False, False
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = ["local"]
    server = xllamacpp.Server(params)
    grammars = {
        task: xllamacpp.json_schema_to_grammar(
            {**output.model_json_schema(), "x-guidance": {"whitespace_flexible": False, "lenient": True}}
        )
        for task, output in OUTPUTS.items()
    }
    parent.send((server.listening_address, grammars))
    parent.recv()


def _ask(address: str, row: Row, grammar: str) -> str:
    system, user = row.prompt
    if row.task == "qa":
        system += SCHEMA_NOTE + json.dumps(OUTPUTS["qa"].model_json_schema(), separators=(",", ":"))
    body = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "temperature": 0.0,
        "max_tokens": 192,
        "grammar": grammar,
    }
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer local"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def _exact(answer: str, row: Row) -> bool:
    try:
        return bool(json.loads(answer) == row.answer)
    except ValueError:
        return False


def measure(model: Path, tasks: list[str], count: int, shown: int) -> dict[str, float]:
    """Percentage of exact rows per task. Prints the first `shown` wrong ones of each."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(str(model), there), daemon=True)
    process.start()
    address, grammars = here.recv()
    percentages: dict[str, float] = {}
    with ThreadPoolExecutor(SLOTS) as pool:
        for task in tasks:
            rows = held_out(task, count)
            began = time.monotonic()
            answers = list(pool.map(lambda row: _ask(address, row, grammars[row.task]), rows))
            wrong = [(row, answer) for row, answer in zip(rows, answers, strict=True) if not _exact(answer, row)]
            percentages[task] = 100 * (1 - len(wrong) / len(rows))
            speed = len(rows) / (time.monotonic() - began)
            print(f"{task:11} {percentages[task]:6.1f} % exact of {len(rows)} rows, {speed:.0f} rows/s", flush=True)
            for row, answer in wrong[:shown]:
                print(f"    {row.prompt[1]!r}\n      wanted {row.text}\n      got    {answer}")
    here.send("stop")
    process.join(10)
    process.kill()
    return percentages


def write(folder: Path, count: int) -> None:
    """`<task>.jsonl` with the step's input fields and `<task>.truth.jsonl` with the answers, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in (*REVIEW_TASKS, *OTHER_TASKS):
        rows = held_out(task, count)
        for suffix, records in (("", [row.scope for row in rows]), (".truth", [row.answer for row in rows])):
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (folder / f"{task}{suffix}.jsonl").write_text(lines, encoding="utf-8")


def check() -> list[str]:
    """Where the steps of the examples differ from what the model was trained on and is measured with."""
    import importlib

    from chainette import Step

    differences = []
    for task, (example, system, user) in PROMPTS.items():
        module = importlib.import_module(f"examples.{example}")
        name = "summarise" if task == "documents" else task
        step: Any = getattr(module, name)
        assert isinstance(step, Step)
        if (step.system_prompt, step.user_prompt) != (getattr(module, system), getattr(module, user)):
            differences.append(f"{example}.{name}: prompts")
        ours, theirs = (
            {key: value for key, value in _plain(output.model_json_schema()).items() if key != "title"}
            for output in (OUTPUTS[task], step.output_model)
        )
        if ours != theirs:
            differences.append(f"{example}.{name}: schema {ours} != {theirs}")
    return differences


def _plain(schema: Any) -> Any:
    """A schema without the docstrings and titles, which constrain nothing."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key not in ("description", "title")}
    return schema


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--task", action="append", choices=list(PROMPTS))
    parser.add_argument("--show", type=int, default=0, help="print this many wrong rows of each task")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if chosen.check:
        raise SystemExit("\n".join(check()) or 0)
    if chosen.write:
        write(chosen.write, chosen.rows)
    else:
        measure(chosen.model, chosen.task or [*REVIEW_TASKS, *OTHER_TASKS], chosen.rows, chosen.show)
