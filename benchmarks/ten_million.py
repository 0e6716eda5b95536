"""A table of ten million rows: how soon the first page is there, how long a filter takes, and in what memory.

python -m benchmarks.ten_million [--rows N] [--format jsonl|parquet] [--keep FOLDER]

A run folder of one step with N rows of about 110 bytes is made in a temporary folder (or in FOLDER, where it stays).
Each question is asked in a process of its own that has read nothing before; the files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import measure

LINES_A_FILE = 100_000
CHUNK = 1_000
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi omicron".split()
LABELS = ("good", "bad", "neutral")
SCHEMA = {
    "title": "Answer",
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "label": {"type": "string"},
        "confidence": {"type": "number"},
        "pages": {"type": "integer"},
    },
}


def write_run(folder: Path, rows: int) -> None:
    """A run folder as a run leaves it, but for its inputs and calls."""
    steps = folder / "steps" / "qa"
    steps.mkdir(parents=True)
    chance = random.Random(1)
    texts = [" ".join(chance.choice(WORDS) for _ in range(8)) for _ in range(5_000)]
    with (folder / "commits.jsonl").open("w", encoding="utf-8") as commits:
        for first in range(0, rows, LINES_A_FILE):
            path = steps / f"{first // LINES_A_FILE:03d}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for start in range(first, min(first + LINES_A_FILE, rows), CHUNK):
                    stop = min(start + CHUNK, first + LINES_A_FILE, rows)
                    file.write("".join(line(number, texts) for number in range(start, stop)))
                    mark = {"file": f"steps/qa/{path.name}", "bytes": file.tell(), "rows": stop - first}
                    commits.write(json.dumps({"step": "qa", "chunk": start // CHUNK, **mark}) + "\n")
    node = {"id": "qa", "name": "qa", "type": "step"}
    graph = {
        "run_id": folder.name,
        "chain": "Ten million",
        "execution_order": [node],
        "nodes": [{**node, "written": True, "schema": SCHEMA}],
        "options": {"max_lines_per_file": LINES_A_FILE, "format": "jsonl"},
    }
    (folder / "graph.json").write_text(json.dumps(graph))
    status = {"run_id": folder.name, "chain": "Ten million", "state": "done", "rows_in": rows, "rows_done": rows}
    (folder / "status.json").write_text(json.dumps(status))


def line(number: int, texts: list[str]) -> str:
    mixed = number * 7919
    return (
        f'{{"_id":"{number}","answer":"{texts[mixed % 5_000]}","label":"{LABELS[number % 3]}",'
        f'"confidence":{mixed % 1000 / 1000:.3f},"pages":{number % 97}}}\n'
    )


def as_parquet(folder: Path) -> None:
    from chainette.files.schema import schema_layout
    from chainette.files.sealing import seal

    for part in sorted((folder / "steps" / "qa").glob("*.jsonl")):
        seal(part, part.with_suffix(".parquet"), "parquet", [schema_layout(SCHEMA)])


QUESTIONS: dict[str, Callable[[Any, int], str]] = {}


def question(name: str) -> Callable[[Callable[[Any, int], str]], None]:
    def keep(ask: Callable[[Any, int], str]) -> None:
        QUESTIONS[name] = ask

    return keep


@question("first page")
def _(tables: Any, rows: int) -> str:
    return f"{len(tables.page('qa', 0, 50).rows)} rows"


@question("page in the middle")
def _(tables: Any, rows: int) -> str:
    return str(tables.page("qa", rows // 2, 50).rows[0]["_id"])


@question("last page")
def _(tables: Any, rows: int) -> str:
    return str(tables.page("qa", rows - 50, 50).rows[-1]["_id"])


def _selected(**asked: Any) -> Callable[[Any, int], str]:
    def ask(tables: Any, rows: int) -> str:
        from chainette.files.tables import Condition, Query

        where = tuple(Condition(*words) for words in asked.pop("where", ()))
        selection = tables.select("qa", Query(where, **asked))
        began = time.perf_counter()
        selection.page(0, 50)
        first_s = time.perf_counter() - began
        while not selection.advance(60):
            pass
        return f"{selection.found:,} rows, the first 50 after {first_s:.2f} s"

    return ask


question("filter: confidence > 0.99")(_selected(where=[("confidence", ">", 0.99)]))
question("filter: confidence > 0.5")(_selected(where=[("confidence", ">", 0.5)]))
question("filter: label = bad")(_selected(where=[("label", "=", "bad")]))
question("filter: both")(_selected(where=[("label", "=", "bad"), ("confidence", ">", 0.99)]))
question("filter: answer contains")(_selected(where=[("answer", "contains", "Zeta zeta zeta")]))
question("filter: answer contains, often")(_selected(where=[("answer", "contains", "zeta")]))
question("search, rare")(_selected(search="zeta ZETA zeta"))
question("search, often")(_selected(search="zeta"))
question("sort by a number")(_selected(order="confidence", descending=True))
question("sort by a text")(_selected(order="answer"))


@question("SQL: group by label")
def _(tables: Any, rows: int) -> str:
    return _sql("select label, count(*), avg(confidence) from qa group by 1")


@question("SQL: where, order by, limit")
def _(tables: Any, rows: int) -> str:
    return _sql("select * from qa where confidence > 0.9 order by confidence desc, _id limit 50")


def _sql(query: str) -> str:
    from chainette.files.reading import RunReader
    from chainette.files.tables.sql import RunSql

    with RunSql(RunReader(os.environ["RUN"])) as database:
        return f"{len(database.ask(query).rows)} rows"


def ask(name: str, run: Path, rows: int) -> None:
    from chainette.files.reading import RunReader
    from chainette.files.tables import Tables

    began, busy = time.perf_counter(), time.process_time()
    tables = Tables(RunReader(run))
    said = QUESTIONS[name](tables, rows)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - busy
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:32} {wall_s:7.2f} s  {cpu_s:6.2f} s of CPU  {peak_mb:4.0f} MB  {said}", flush=True)
    tables.close()


def main(rows: int, format: str, keep: Path | None, only: str) -> None:
    with measure.workspace() as place:
        run = keep or place / "run"
        if not run.exists():
            write_run(run, rows)
            if format == "parquet":
                as_parquet(run)
        files = list((run / "steps" / "qa").iterdir())
        size = sum(path.stat().st_size for path in files)
        for path in files:
            path.read_bytes()
        print(f"{rows:,} rows in {len(files)} files, {size / 1e6:,.0f} MB", flush=True)
        for name in QUESTIONS:
            if only in name:
                command = [sys.executable, "-m", "benchmarks.ten_million", "--ask", name, "--rows", str(rows)]
                subprocess.run(command, check=True, env={**os.environ, "RUN": str(run)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--keep", type=Path, help="make the run here, or use the one that is here")
    parser.add_argument("--only", default="", help="questions with this in their name")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        ask(arguments.ask, Path(os.environ["RUN"]), arguments.rows)
    else:
        main(arguments.rows, arguments.format, arguments.keep, arguments.only)
