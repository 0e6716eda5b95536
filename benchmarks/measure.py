"""Starts whole processes and reads what the system says they cost. Knows nothing of what they do."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str], **environment: str) -> Cost:
    """Runs `command` to its end; its output is shown only when it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - started
        if process.returncode != 0:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace")[-4000:])
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@contextmanager
def scripted_server(**script: float) -> Iterator[str]:
    """The stand-in in a process of its own; gives its URL."""
    flags = [part for key, value in script.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "chainette.engine.scripted", "--port", "0", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        yield line.split()[-1]
    finally:
        server.terminate()
        server.wait()


@contextmanager
def workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chainette-bench-") as folder:
        yield Path(folder)


def write_reviews(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"Review {number}: the lamp I bought is bright, came in {number % 9} days and I would buy it again."
            file.write(json.dumps({"text": text}) + "\n")


def write_numbers(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"value":{number}}}\n' for number in range(rows))


def engines_file(path: Path, url: str, window: int) -> Path:
    path.write_text(
        f"engines: [{{name: server, backend: openai, model: m, endpoint: '{url}', max_concurrency: {window}}}]\n"
    )
    return path


def chainette(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "chainette.cli", *arguments]


def spread(values: Sequence[float]) -> str:
    """`median (least to most)`."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
