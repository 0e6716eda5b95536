"""Measure the demo model as users meet it: held-out rows of each review task through `chain.run`, exact rows counted.

    python -m examples.demo_model.through_run --rows 500

Needs Chainette only. The rows are those of `evaluate.py`, which asks llama.cpp's server itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainette import Chain, Step
from examples import reviews

HELD_OUT = Path(__file__).with_name("heldout")


class Joined(reviews.Verdicts):
    """What the summary is written from: the extracted facts and both verdicts."""

    extract: reviews.Extract


STEPS: dict[str, Step] = {
    "extract": reviews.extract,
    "verdict_fr": reviews.verdict_fr,
    "verdict_es": reviews.verdict_es,
    "summarise": reviews.summarise.with_(input_model=Joined),
}


def shipped(task: str) -> list[dict[str, Any]]:
    """The 100 held-out rows in the repository: `{"input": …, "expected": …}`."""
    return [json.loads(line) for line in (HELD_OUT / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def generated(task: str, count: int) -> list[dict[str, Any]]:
    """More of the same."""
    from examples.demo_model.data import held_out

    return [{"input": row.scope, "expected": row.answer} for row in held_out(task, count)]


def exact_share(task: str, rows: Sequence[dict[str, Any]]) -> float:
    """Of the rows, how many came back just as expected."""
    inputs = [{"extract": row["input"], **row["input"]} for row in rows]
    result = Chain(name=f"Held-out {task}", steps=[STEPS[task]]).run(inputs)
    answers = {id: answer.model_dump() for id, answer in zip(result.outputs.ids, result.outputs, strict=True)}
    return sum(answers.get(str(n)) == row["expected"] for n, row in enumerate(rows)) / len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    count = parser.parse_args().rows
    for name in STEPS:
        print(f"{name:11} {exact_share(name, generated(name, count)):7.1%} exact of {count} rows", flush=True)
