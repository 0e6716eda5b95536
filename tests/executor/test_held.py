"""A row that takes long holds up no other, however many there are behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from chainette import Chain, Step

ROWS = [{"text": f"row {n}"} for n in range(400)]


class Text(BaseModel):
    text: str


class Answer(BaseModel):
    answer: str


def _chain(timeout_s: float | None) -> Chain:
    step = Step(id="ask", input_model=Text, output_model=Answer, user_prompt="<{{ text }}>", timeout_s=timeout_s)
    return Chain(name="held", steps=[step], chunk_size=5)


def _calls(folder: Path) -> list[str]:
    return [json.loads(line)["_id"] for line in (folder / "calls/ask/000.jsonl").read_text().splitlines()]


def test_a_row_without_an_answer_is_the_last_of_many_more_than_may_be_under_way(engine, tmp_path):
    engine(faults=[{"kind": "hang", "containing": "<row 0>"}])
    result = _chain(timeout_s=2).run(ROWS, tmp_path / "out", open_rows=20)
    assert _calls(result.folder)[-1] == "0"
    assert [failure.row_id for failure in result.failed] == ["0"]
    assert result.steps["ask"].ids == [str(n) for n in range(1, 400)]
    assert (result.rows_in, result.rows_out, result.rows_failed) == (400, 399, 1)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_chunks_that_waited_on_disk_are_the_same_bytes(engine, tmp_path, format):
    engine(faults=[{"kind": "mismatch", "containing": "7>"}, {"kind": "hang", "containing": "<row 0>"}])
    options = {"format": format, "max_lines_per_file": 30, "max_failed": 400}
    held = _chain(timeout_s=2).run(ROWS, tmp_path / "held", open_rows=20, **options)
    at_once = _chain(timeout_s=2).run(ROWS, tmp_path / "at_once", **options)
    for part in sorted(path for path in at_once.folder.rglob("*") if path.is_file()):
        name = part.relative_to(at_once.folder)
        if name.parts[0] in ("steps", "flattened", "failed", "inputs"):
            assert (held.folder / name).read_bytes() == part.read_bytes(), name
    assert held.stats["nodes"]["ask"]["done"] == at_once.stats["nodes"]["ask"]["done"]
