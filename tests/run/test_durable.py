"""Functions whose results are kept: what is not run again when a run goes on, is reused or healed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, Field

from chainette import Chain, Drop, apply
from tests.folders import calls, derived, lines, reused
from tests.models import Number

ROOT = Path(__file__).parents[2]


class Noted:
    """What functions were called with. Of the module: what a function closes over is part of its key."""

    called: ClassVar[list] = []
    well: ClassVar[list] = []


@pytest.fixture(autouse=True)
def nothing_noted():
    Noted.called.clear()
    Noted.well.clear()


def numbers(count):
    return [Number(value=i) for i in range(count)]


def chain_of(*nodes, **fields):
    return Chain(name="c", steps=[node if hasattr(node, "shape") else apply(node) for node in nodes], **fields)


def records(run, node):
    return [record for path in sorted((run / "calls" / node).glob("*.jsonl")) for record in lines(path)]


SCRIPT = """
import asyncio, os, pathlib, sys, threading
from chainette import Chain, Drop, apply
from tests.models import Number

how = sys.argv[2]

def logged():
    return sum(file.read_bytes().count(b"\\n") for file in pathlib.Path("run/calls/slow").glob("*.jsonl"))

def slow(n: Number) -> Number | Drop:
    with open("called", "a") as file:
        print(n.value, file=file)
    if n.value == 30 and sys.argv[1] == "die":
        while logged() < 20:
            threading.Event().wait(0.01)
        os.kill(os.getppid() if how == "process" else os.getpid(), 9)
        threading.Event().wait()
    return Drop("seventh") if n.value % 7 == 0 else Number(value=n.value * 2)

async def slow_later(n: Number) -> Number | Drop:
    return await asyncio.to_thread(slow, n)

OPTIONS = {"thread": {}, "process": {"workers": "process", "replicas": 1}, "async": {}}
fn = slow_later if how == "async" else slow
chain = Chain(name="c", steps=[apply(fn, id="slow", durable=True, **OPTIONS[how])], chunk_size=64)

if __name__ == "__main__":
    rows = [Number(value=i) for i in range(40)]
    if sys.argv[1] == "resume":
        chain.run(rows, resume="run")
    else:
        chain.run(rows, "run" if sys.argv[1] == "die" else "whole")
"""


@pytest.mark.parametrize("how", ["thread", "process", "async"])
def test_a_killed_run_goes_on_without_calling_what_it_has(how, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    def script(what):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "script.py", what, how], cwd=tmp_path, env=environment, timeout=30, check=False
        ).returncode

    assert script("die") == -9
    kept = [record["_id"] for record in records(tmp_path / "run", "slow")]
    assert len(kept) >= 20
    (tmp_path / "called").unlink()
    assert script("resume") == 0
    called = (tmp_path / "called").read_text().split()
    assert sorted([*kept, *called], key=int) == [str(i) for i in range(40)]
    assert script("whole") == 0
    assert derived(tmp_path / "run") == derived(tmp_path / "whole")


class Rich(BaseModel):
    model_config = {"populate_by_name": True}

    when: datetime.date
    data: bytes
    tags: frozenset[str]
    numbered: dict[int, float | None] = Field(alias="byNumber")


def test_reused_results_are_what_the_function_gave(tmp_path):
    def rich(n: Number) -> Rich:
        Noted.called.append(n.value)
        return Rich(when=datetime.date(2026, 1, 1), data=b"\xff\x00", tags={"b", "a"}, numbered={n.value: None})

    def told(r: Rich) -> str:
        return f"{r.when:%Y} {r.data!r} {sorted(r.tags)} {r.numbered}"

    chain = chain_of(apply(rich, durable=True), told)
    first = chain.run(numbers(3), tmp_path / "first")
    second = chain.run(numbers(3), tmp_path / "second", reuse=tmp_path / "first")
    assert Noted.called == [0, 1, 2]
    assert list(first.outputs) == list(second.outputs)
    assert "b'\\xff\\x00'" in first.outputs[0]
    assert derived(tmp_path / "first") == derived(tmp_path / "second")
    node = second.stats["nodes"]["rich"]
    assert (node["reused"], node["calls"], first.stats["nodes"]["rich"]["calls"]) == (3, 0, 3)
    assert records(tmp_path / "second", "rich")[0]["reused"] == {"run": "first", "_id": "0"}


def test_only_rows_that_changed_are_called_again(tmp_path):
    def tripled(n: Number) -> Number:
        Noted.called.append(n.value)
        return Number(value=n.value * 3)

    chain = chain_of(apply(tripled, durable=True))
    chain.run(numbers(4), tmp_path / "first")
    Noted.called.clear()
    rows = [Number(value=v) for v in (2, 9, 0, 1)]
    result = chain.run(rows, tmp_path / "second", reuse=tmp_path / "first")
    assert Noted.called == [9]
    assert [row.value for row in result.outputs] == [6, 27, 0, 3]


def test_children_and_drops_are_kept_and_failures_are_tried_again(tmp_path):
    def several(n: Number) -> list[Number | Drop]:
        Noted.called.append(n.value)
        if n.value == 2 and not Noted.well:
            raise ConnectionError("gone")
        return [Number(value=i) if i else Drop("zero") for i in range(n.value)]

    chain = chain_of(apply(several, durable=True))
    first = chain.run(numbers(5), tmp_path / "first")
    assert [f.message for f in first.failed] == ["ConnectionError: gone"]
    Noted.well.append(True)
    Noted.called.clear()
    second = chain.run(numbers(5), tmp_path / "second", reuse=tmp_path / "first")
    assert Noted.called == [2]
    assert second.outputs.ids == ["2.0", "3.0", "3.1", "4.0", "4.1", "4.2"]
    assert second.stats["nodes"]["several"]["dropped_why"] == {"zero": 4}


def test_healing_a_later_failure_does_not_call_the_function_again(tmp_path):
    def costly(n: Number) -> Number:
        Noted.called.append(n.value)
        return Number(value=n.value + 1)

    def sound(n: Number) -> Number:
        if n.value == 3 and not Noted.well:
            raise ValueError("three")
        return n

    chain = chain_of(apply(costly, durable=True), sound)
    assert chain.run(numbers(5), tmp_path / "run").rows_failed == 1
    Noted.well.append(True)
    healed = chain.run(None, retry=tmp_path / "run")
    assert (healed.rows_failed, sorted(Noted.called)) == (0, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(("versions", "again"), [((None, None), True), (("1", "1"), False), (("1", 2), True)])
def test_with_a_version_the_source_does_not_count(versions, again, tmp_path):
    def first_form():
        def same(n: Number) -> Number:
            Noted.called.append("first")
            return n

        return same

    def second_form():
        def same(n: Number) -> Number:
            # The same, in other words.
            Noted.called.append("second")
            return n

        return same

    for name, form, version in (("first", first_form(), versions[0]), ("second", second_form(), versions[1])):
        options = {"reuse": tmp_path / "first"} if name == "second" else {}
        chain_of(apply(form, durable=True, version=version)).run(numbers(1), tmp_path / name, **options)
    assert Noted.called == (["first", "second"] if again else ["first"])


def test_what_a_function_is_bound_to_is_part_of_its_key(tmp_path):
    def made(by):
        def added(n: Number) -> Number:
            Noted.called.append(by)
            return Number(value=n.value + by)

        return added

    for name, by in (("first", 1), ("second", 2)):
        options = {"reuse": tmp_path / "first"} if name == "second" else {}
        chain_of(apply(made(by), durable=True)).run(numbers(1), tmp_path / name, **options)
    assert Noted.called == [1, 2]


def test_without_annotations_only_plain_values_are_kept(tmp_path):
    def plain(n: Number):
        return {"number": [n.value, None]}

    def model(n: Number):
        return n

    chain = chain_of(apply(plain, durable=True))
    chain.run(numbers(1), tmp_path / "run")
    assert list(chain.run(numbers(1), reuse=tmp_path / "run").outputs) == [{"number": [0, None]}]
    result = chain_of(apply(model, durable=True)).run(numbers(1))
    assert "keeps only with an annotation: T -> Number" in result.failed[0].message


def test_a_function_on_lists_that_gives_one_for_each_is_kept_row_by_row(tmp_path):
    def embed(rows: list[Number]) -> list[Number]:
        Noted.called.append(len(rows))
        return [Number(value=-n.value) for n in rows]

    chain = chain_of(apply(embed, durable=True, shape="map"), chunk_size=4)
    chain.run(numbers(4), tmp_path / "first")
    result = chain.run(numbers(6), tmp_path / "second", reuse=tmp_path / "first")
    assert Noted.called == [4, 2]
    assert [row.value for row in result.outputs] == [0, -1, -2, -3, -4, -5]
    assert calls(tmp_path / "second") == [("embed", "4", 1), ("embed", "5", 1)]
    assert reused(tmp_path / "second") == [("embed", str(n)) for n in range(4)]
