"""A row's calls in a log of many parts: only those parts are read in which they can be, unless that is not sure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette.files.json_text import encode
from chainette.files.reading import RunReader

CHUNK = 100_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Six chunks of 100,000 rows, a part of calls each, of which only a line is there; row 150,000 has one in parts 1
    and 5."""
    run = tmp_path / "run"
    for part in range(6):
        path = run / "calls" / "qa" / f"{part:03d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{part}", "150000", "150000.2", "15000", "1500001"] if part in (1, 5) else [f"{part}"]
        path.write_bytes(b"".join(encode({"_id": id, "key": "k", "part": part}) + b"\n" for id in ids))
    lines = []
    for chunk in range(6):
        calls = {"qa": chunk * CHUNK} if chunk else {}
        file = f"inputs/{chunk:03d}.jsonl"
        lines.append({"step": None, "chunk": chunk, "file": file, "bytes": 1, "rows": CHUNK, "calls": calls})
        lines.append({"chunk": chunk, "rows": CHUNK, "nodes": {}})
    (run / "commits.jsonl").write_bytes(b"".join(encode(line) + b"\n" for line in lines))
    options = {"chunk_size": CHUNK, "max_lines_per_file": CHUNK, "id_field": None}
    (run / "graph.json").write_text(json.dumps({"execution_order": [{"id": "qa"}], "nodes": [], "options": options}))
    (run / "events.jsonl").write_text('{"event":"run_started","time":"x"}\n')
    return run


def parts(run: Path, row_id: str = "150000") -> list[int]:
    return [call["part"] for call in RunReader(run).kin_calls("qa", row_id)]


def test_calls_are_looked_for_where_the_chunk_was_under_way(run: Path) -> None:
    assert parts(run) == [1, 1]


@pytest.mark.parametrize("why", ["resumed", "healed", "rows that failed before", "no commits"])
def test_calls_are_looked_for_everywhere_where_they_may_be_anywhere(run: Path, why: str) -> None:
    if why in ("resumed", "healed"):
        with open(run / "events.jsonl", "a") as file:
            file.write('{"event":"run_started","time":"y"}\n')
    elif why == "no commits":
        (run / "commits.jsonl").unlink()
    else:
        (run / "failed").mkdir()
        (run / "failed" / "chain_input.jsonl").write_text('{"_id":"3","kind":"input","message":"x"}\n')
    assert parts(run) == [1, 1, 5, 5]


def test_a_child_has_the_calls_of_its_parent(run: Path) -> None:
    assert [call["_id"] for call in RunReader(run).kin_calls("qa", "150000.2")] == ["150000", "150000.2"]
