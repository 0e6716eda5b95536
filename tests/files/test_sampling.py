"""The calls of a run as blocks of lines: all of them, or an even sample that is read without the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette.files.sampling import BLOCK_BYTES, SampledCalls


def log(run: Path, step: str, *parts: range, words: int = 20) -> None:
    folder = run / "calls" / step
    folder.mkdir(parents=True)
    for number, part in enumerate(parts):
        lines = [json.dumps({"_id": str(n), "text": "word " * words}) for n in part]
        (folder / f"{number:03}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def ids(calls: SampledCalls, step: str) -> list[int]:
    blocks = list(calls.blocks(step))
    assert all(block.endswith(b"\n") for block in blocks)
    return [int(json.loads(line)["_id"]) for block in blocks for line in block.splitlines()]


def test_all_calls_are_there_in_order_over_all_parts(tmp_path: Path) -> None:
    log(tmp_path, "a", range(20_000), range(20_000, 20_500))
    calls = SampledCalls(tmp_path, ["a"], 100_000)
    assert ids(calls, "a") == list(range(20_500))
    assert not calls.is_sampled


def test_half_a_line_at_the_end_waits_for_its_other_half(tmp_path: Path) -> None:
    log(tmp_path, "a", range(3))
    with (tmp_path / "calls" / "a" / "000.jsonl").open("a") as file:
        file.write('{"_id": "3"')
    assert ids(SampledCalls(tmp_path, ["a"], 10), "a") == [0, 1, 2]


def test_a_sample_is_spread_over_all_parts_and_steps(tmp_path: Path) -> None:
    log(tmp_path, "a", range(40_000), range(40_000, 80_000))
    log(tmp_path, "b", range(40_000))
    calls = SampledCalls(tmp_path, ["a", "b"], 30_000)
    assert calls.is_sampled
    assert calls.about == pytest.approx(120_000, rel=0.05)
    first, second = ids(calls, "a"), ids(calls, "b")
    assert len(first) + len(second) == pytest.approx(30_000, rel=0.1)
    assert len(first) == pytest.approx(2 * len(second), rel=0.2)
    assert first == sorted(set(first))
    for tenth in range(10):
        assert sum(n // 8_000 == tenth for n in first) > 500


def test_lines_longer_than_a_block_are_whole_too(tmp_path: Path) -> None:
    log(tmp_path, "a", range(30), words=BLOCK_BYTES // 4)
    found = ids(SampledCalls(tmp_path, ["a"], 10), "a")
    assert 5 <= len(found) <= 15
    assert found == sorted(set(found))


def test_a_step_without_calls_has_none(tmp_path: Path) -> None:
    log(tmp_path, "a", range(10))
    calls = SampledCalls(tmp_path, ["a", "none"], 5)
    assert ids(calls, "none") == []
    assert SampledCalls(tmp_path, ["none"], 0).about == 0


def test_a_sample_of_none_reads_none(tmp_path: Path) -> None:
    log(tmp_path, "a", range(10))
    assert ids(SampledCalls(tmp_path, ["a"], 0), "a") == []
