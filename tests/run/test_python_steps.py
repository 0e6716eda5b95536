"""Python steps in worker processes, classes, tries and time limits, rows that are dropped with a word why."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from chainette import Chain, ChainError, Drop, PlanError, RunStoppedError, apply, context
from chainette.devices import Device
from tests.models import Number
from tests.run import python_steps as steps

ROOT = Path(__file__).parents[2]


def numbers(count):
    return [Number(value=i) for i in range(count)]


def run(fn, rows, tmp_path=None, **options):
    node = fn if hasattr(fn, "shape") else apply(fn)
    return Chain(name="c", steps=[node]).run(rows, tmp_path, **options)


def pairs(result):
    return list(zip(result.outputs.ids, [row.value for row in result.outputs], strict=True))


def failed(result):
    return [(failure.row_id, failure.kind, failure.message) for failure in result.failed]


def in_processes(fn, **options):
    return apply(fn, workers="process", **{"replicas": 2, **options})


# --- worker processes


def test_a_function_runs_in_other_processes_and_rows_keep_their_order():
    result = run(in_processes(steps.where), numbers(300))
    assert [row.value for row in result.outputs] == list(range(300))
    assert os.getpid() not in {row.pid for row in result.outputs}


def test_functions_in_processes_filter_expand_and_work_on_chunks():
    assert pairs(run(in_processes(steps.odd), numbers(4))) == [("1", 1), ("3", 3)]
    assert pairs(run(in_processes(steps.split), numbers(3))) == [("1.0", 0), ("2.0", 0), ("2.1", 1)]
    assert pairs(run(in_processes(steps.small), numbers(6), chunk_size=4)) == [("0", 0), ("1", 1), ("2", 2)]


def test_what_a_function_raises_in_a_process_is_the_failure_of_its_row_with_its_line():
    result = run(in_processes(steps.touchy), numbers(6))
    assert failed(result) == [("3", "apply", "ValueError: three")]
    assert "python_steps.py:" in result.failed[0].cause[0]


def test_what_cannot_be_sent_back_is_the_failure_of_its_row():
    result = run(in_processes(steps.unsendable), numbers(2))
    assert {(f.row_id, "cannot be sent from a worker process" in f.message) for f in result.failed} == {
        ("0", True),
        ("1", True),
    }


@pytest.mark.parametrize("fn", [steps.exits, steps.is_killed])
def test_a_worker_that_dies_costs_only_the_row_that_kills_it(fn):
    result = run(in_processes(fn, replicas=1), numbers(40))
    code = 7 if fn is steps.exits else -9
    words = f"its worker process died (exit code {code}) twice while it had this row"
    assert failed(result) == [("3", "apply", words)]
    assert result.outputs.ids == [str(i) for i in range(40) if i != 3]


def test_a_row_whose_worker_was_killed_once_is_tried_again(tmp_path):
    result = run(apply(functools.partial(steps.DiesOnce, str(tmp_path / "mark"))), numbers(40))
    assert pairs(result) == [(str(i), i) for i in range(40)]
    assert (tmp_path / "mark").exists()


def test_a_row_that_never_ends_in_a_process_is_out_of_time_and_the_others_are_not():
    result = run(in_processes(steps.hangs, timeout_s=3), numbers(12))
    assert failed(result) == [("3", "timeout", "its time was over (3 s for a row, timeout_s)")]
    assert result.outputs.ids == [str(i) for i in range(12) if i != 3]


def test_no_worker_outlives_its_run():
    result = run(in_processes(steps.where), numbers(50))
    assert not any(psutil.pid_exists(pid) for pid in {row.pid for row in result.outputs})


# --- classes


def test_a_class_is_built_once_per_worker_and_closed_at_the_end(tmp_path):
    log = tmp_path / "log"
    result = run(apply(functools.partial(steps.Counted, str(log)), replicas=2), numbers(3000))
    assert len(result.outputs) == 3000
    lives = {}
    for line in log.read_text().splitlines():
        what, pid = line.split()
        lives.setdefault(pid, []).append(what)
    assert 1 <= len(lives) <= 2
    assert set(map(tuple, lives.values())) == {("built", "setup", "close")}


def test_a_class_may_get_lists_as_a_function_may():
    result = run(apply(steps.Batched, shape="map"), numbers(6), chunk_size=3)
    assert [row.value for row in result.outputs] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("cls", "words"),
    [(steps.Broken, "RuntimeError: no model here"), (steps.Stillborn, r"died \(exit code 9\) while it was set up")],
)
def test_a_class_that_cannot_be_set_up_ends_the_run_before_a_row_has_failed(cls, words, tmp_path):
    with pytest.raises(RunStoppedError, match=words):
        run(apply(cls), numbers(5), tmp_path / "run")
    assert not list((tmp_path / "run" / "failed").glob("*"))


def test_a_run_that_ended_at_a_setup_goes_on_when_that_works(tmp_path):
    chain = Chain(name="c", steps=[apply(functools.partial(steps.MendedBy, str(tmp_path / "model")))])
    with pytest.raises(RunStoppedError, match="FileNotFoundError"):
        chain.run(numbers(5), tmp_path / "run")
    (tmp_path / "model").touch()
    result = chain.run(numbers(5), resume=tmp_path / "run")
    assert (result.state, len(result.outputs)) == ("done", 5)


class NoCall:
    pass


class NeedsMore:
    def __init__(self, model) -> None:
        pass

    def __call__(self, n: Number) -> Number:
        return n


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: apply(NoCall), "NoCall has no __call__"),
        (lambda: apply(NeedsMore), "NeedsMore cannot be built: missing a required argument: 'model'"),
        (lambda: apply(steps.Batched, workers="thread"), "a class is built in worker processes"),
        (lambda: apply(steps.double, replicas=2), "replicas is for worker processes"),
        (lambda: apply(steps.double, gpus=1), "gpus is for worker processes"),
        (lambda: apply(steps.double, retries=-1), "retries must be a whole number from 0"),
        (lambda: apply(steps.double, version=2), "version is for results that are kept"),
        (lambda: apply(steps.small, durable=True), "may look across them"),
        (lambda: apply(steps.double, scope="run", timeout_s=1), 'scope="run" and timeout_s do not go together'),
        (lambda: apply(steps.Batched, scope="run"), 'scope="run" and a class do not go together'),
    ],
)
def test_options_that_make_no_sense_are_refused_where_they_are_declared(declare, words):
    with pytest.raises(ChainError, match=words):
        declare()


def test_an_async_function_is_refused_in_worker_processes():
    async def later(n: Number) -> Number:
        return n

    with pytest.raises(ChainError, match="async def does not go with worker processes"):
        apply(later, workers="process")


# --- what processes cannot import


def test_a_function_that_processes_cannot_import_is_refused_before_the_run(tmp_path):
    def inner(n: Number) -> Number:
        return n

    for fn in (inner, lambda n: n):
        with pytest.raises(ChainError, match="define it at the top of a module"):
            run(apply(fn, workers="process"), numbers(2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_stands_in_a_chain_file_is_refused_as_what_a_process_gets(tmp_path):
    (tmp_path / "chain.yml").write_text(
        "name: numbers\n"
        "models: {Number: {value: int}}\n"
        'steps: [{apply: "copy:copy", input_model: Number, workers: process}]\n'
    )
    with pytest.raises(ChainError, match=r"Number is no class of a module, but of \S+chain\.yml"):
        Chain.from_yaml(tmp_path / "chain.yml").run(numbers(2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


STEPS_FILE = """
from pydantic import BaseModel
from chainette import Chain, apply

class Item(BaseModel):
    value: int

def double(item: Item) -> Item:
    return Item(value=item.value * 2)

chain = Chain(name="doubles", steps=[apply(double, workers="process", replicas=2)])
"""


def python(*words, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("name", ["doubles.py", "with-a-dash.py"])
def test_a_chain_from_a_file_runs_in_worker_processes(name, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / name).write_text(STEPS_FILE)
    (tmp_path / "in.jsonl").write_text('{"value": 1}\n{"value": 2}\n')
    target = f"elsewhere/{name}:chain"
    done = python("-m", "chainette.cli", "run", target, "-i", "in.jsonl", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "steps" / "double" / "000.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == [2, 4]


def test_a_module_that_starts_a_run_when_it_is_loaded_is_told_so_and_its_workers_start_no_others(tmp_path):
    (tmp_path / "script.py").write_text(STEPS_FILE + 'chain.run([{"value": 1}])\n')
    done = python("-c", "import runpy; runpy.run_path('script.py')", cwd=tmp_path)
    assert done.returncode == 1
    assert 'put the run under `if __name__ == "__main__":`' in done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_functions_of_a_script_that_guards_its_run_work_in_processes(tmp_path):
    script = STEPS_FILE + 'if __name__ == "__main__":\n    print(len(chain.run([{"value": 1}], "out").outputs))\n'
    (tmp_path / "script.py").write_text(script)
    done = python("script.py", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_a_script_that_does_not_guard_its_run_is_told_so_and_starts_no_others(tmp_path):
    (tmp_path / "script.py").write_text(STEPS_FILE + 'chain.run([{"value": 1}])\n')
    done = python("script.py", cwd=tmp_path)
    assert done.returncode == 1
    assert 'needs `if __name__ == "__main__":` around it' in done.stderr
    assert 'put the run under `if __name__ == "__main__":`' in done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_function_of_a_session_without_a_file_is_refused(tmp_path):
    done = python("-c", STEPS_FILE + "chain.run([{'value': 1}])", cwd=tmp_path)
    assert done.returncode == 1
    assert "define it at the top of a module (a .py file)" in done.stderr
    assert not (tmp_path / "runs").exists()


# --- the end of the run's own process


def test_workers_die_with_a_run_that_is_killed(tmp_path):
    script = (
        "from chainette import Chain, apply\n"
        "from tests.models import Number\n"
        "from tests.run import python_steps as steps\n"
        'chain = Chain(name="c", steps=[apply(steps.waits_for, workers="process", replicas=1)])\n'
        'if __name__ == "__main__":\n'
        '    chain.run([Number(value=9)], "out")\n'
    )
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment)
    reached = tmp_path / "reached"
    try:
        while not (reached.exists() and reached.read_text()):
            assert process.poll() is None
            threading.Event().wait(0.02)
    finally:
        process.kill()
        process.wait()
    pid = int(reached.read_text())
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(30)
    assert not psutil.pid_exists(pid)


# --- devices


@pytest.fixture
def gpus(monkeypatch):
    """Two devices that nobody has."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    from chainette.devices import DevicesHere
    from chainette.run import checking

    two = tuple(Device(index, "made up", visible=visible) for index, visible in enumerate(("4", "6")))
    monkeypatch.setattr(checking, "_devices", lambda registry: DevicesHere(two, ""))


def test_each_worker_sees_only_its_own_devices(gpus):
    chain = Chain(name="c", steps=[apply(steps.Devices, gpus=1, id="one"), apply(steps.Devices, gpus=1, id="two")])
    with pytest.raises(ChainError):
        chain.run(numbers(1))  # a text is no number: the second could not take what the first gives
    one = apply(steps.Devices, gpus=1, id="one")
    assert list(run(one, numbers(3)).outputs) == ["4"] * 3
    assert list(run(apply(steps.Devices, gpus=2), numbers(3)).outputs) == ["4,6"] * 3


def test_too_few_devices_are_a_plan_error_with_the_arithmetic(gpus):
    words = r'"Devices" 3 × 1 = 3 devices for worker processes, but there are 2: 2 here, 0 with engines'
    with pytest.raises(PlanError, match=words):
        run(apply(steps.Devices, replicas=3, gpus=1), numbers(3))


# --- tries and time


def fails_twice(n: Number) -> Number:
    if context().attempt < 3:
        raise ConnectionError(f"try {context().attempt}")
    return Number(value=context().attempt)


async def fails_twice_later(n: Number) -> Number:
    return fails_twice(n)


@pytest.mark.parametrize("fn", [fails_twice, fails_twice_later, steps.FailsTwice])
def test_a_row_is_tried_as_often_as_was_asked_for(fn):
    result = run(apply(fn, retries=2), numbers(5))
    assert [row.value for row in result.outputs] == [3] * 5
    result = run(apply(fn, retries=1, id="f"), numbers(5))
    assert {(f.kind, f.message, f.attempts) for f in result.failed} == {("apply", "ConnectionError: try 2", 2)}
    assert result.stats["nodes"]["f"]["retried"] == 5


def test_a_list_function_that_raises_is_tried_again_row_by_row():
    tries = []

    def together(rows: list[Number]) -> list[Number]:
        if len(rows) > 1 or context().attempt < 2:
            raise ConnectionError("all at once")
        tries.append(rows[0].value)
        return rows

    assert pairs(run(apply(together, retries=1), numbers(3))) == [("0", 0), ("1", 1), ("2", 2)]
    assert sorted(tries) == [0, 1, 2]


def test_a_plain_function_that_never_returns_fails_its_row_and_the_others_go_on():
    never = threading.Event()

    def hangs(n: Number) -> Number:
        if n.value % 5 == 3:
            never.wait()
        return n

    result = run(apply(hangs, timeout_s=2, retries=2), numbers(12))
    words = "its time was over (2 s for a row, timeout_s)"
    assert failed(result) == [("3", "timeout", words), ("8", "timeout", words)]
    assert result.outputs.ids == [str(i) for i in range(12) if i % 5 != 3]
    never.set()


def test_an_async_function_is_cancelled_when_its_time_is_over():
    cancelled = []

    async def hangs(n: Number) -> Number:
        if n.value == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(n.value)
                raise
        return n

    result = run(apply(hangs, timeout_s=2), numbers(3))
    assert [(row_id, kind) for row_id, kind, _ in failed(result)] == [("1", "timeout")]
    assert cancelled == [1]


def test_tries_and_waits_are_the_rows_own_time():
    def never(n: Number) -> Number:
        raise ConnectionError("gone")

    result = run(apply(never, retries=1000, timeout_s=0.5), numbers(2))
    assert {kind for _, kind, _ in failed(result)} == {"apply"}
    assert all("no time for another try, timeout_s" in message for _, _, message in failed(result))


def test_a_run_that_is_stopped_waits_for_no_further_try():
    def fails(n: Number) -> Number:
        if n.value == 0:
            raise ValueError("zero")
        return n

    slow = apply(fails, retries=50, id="slow")
    chain = Chain(name="c", steps=[apply(fails, id="first"), slow], chunk_size=1)
    result = chain.run(numbers(4), max_failed=0)
    assert result.state == "stopped"


# --- drops


def test_a_dropped_row_says_why_and_is_no_failure(tmp_path):
    def short(n: Number) -> Number | Drop:
        return n if n.value > 2 else Drop("too small" if n.value else "zero")

    result = run(short, numbers(6), tmp_path / "run")
    assert pairs(result) == [("3", 3), ("4", 4), ("5", 5)]
    node = json.loads((tmp_path / "run" / "status.json").read_text())["nodes"]["short"]
    assert (node["dropped"], node["failed"], node["dropped_why"]) == (3, 0, {"zero": 1, "too small": 2})
    assert result.rows_dropped == 3


def test_the_type_of_a_filter_that_says_why_is_that_of_the_rows_it_keeps():
    def keep(n: Number) -> Number | Drop | None:
        return n if n.value == 1 else None if n.value else Drop("zero")

    def next_one(n: Number) -> Number:
        return Number(value=n.value + 1)

    result = Chain(name="c", steps=[apply(keep), apply(next_one)]).run(numbers(4))
    assert pairs(result) == [("1", 2)]
    node = result.stats["nodes"]["keep"]
    assert (node["dropped"], node["dropped_why"]) == (3, {"zero": 1})


def test_list_functions_drop_with_a_word_in_the_place_of_the_row():
    def mapped(rows: list[Number]) -> list[Number | Drop]:
        return [Drop("even") if n.value % 2 == 0 else Number(value=n.value * 10) for n in rows]

    def kept(rows: list[Number]) -> list[Number | Drop]:
        out = []
        for n in rows:
            out.append(Drop("even") if n.value % 2 == 0 else n)  # noqa: PERF401
        return out

    assert pairs(run(mapped, numbers(4))) == [("1", 10), ("3", 30)]
    result = run(kept, numbers(4))
    assert pairs(result) == [("1", 1), ("3", 3)]
    assert result.stats["nodes"]["kept"]["dropped_why"] == {"even": 2}


def test_functions_without_annotations_and_in_processes_may_say_why_too():
    def plain(n: Number):
        return Drop("all")

    assert run(plain, numbers(2)).stats["nodes"]["plain"]["dropped_why"] == {"all": 2}
    result = run(in_processes(steps.says_why), numbers(6))
    assert result.stats["nodes"]["says_why"]["dropped_why"] == {"too large": 2}


def test_reasons_that_are_too_many_are_counted_together():
    def each(n: Number) -> Number | Drop:
        return Drop(f"number {n.value}")

    why = run(each, numbers(50)).stats["nodes"]["each"]["dropped_why"]
    assert (len(why), why["other reasons"]) == (21, 30)


def test_reasons_are_counted_once_through_resume_and_retry(tmp_path):
    marker = tmp_path / "well"

    def expand(n: Number) -> list[Number]:
        return [n, Number(value=n.value + 100)]

    def drop(n: Number) -> Number | Drop:
        return n if n.value < 100 else Drop("large")

    def sound(n: Number) -> Number:
        if n.value == 2 and not marker.exists():
            raise ValueError("two")
        return n

    chain = Chain(name="c", steps=[apply(expand), apply(drop), apply(sound)], chunk_size=2)
    first = chain.run(numbers(6), tmp_path / "run")
    assert (first.rows_failed, first.stats["nodes"]["drop"]["dropped_why"]) == (1, {"large": 6})
    marker.touch()
    second = chain.run(None, retry=tmp_path / "run")
    assert (second.rows_failed, second.stats["nodes"]["drop"]["dropped_why"]) == (0, {"large": 6})
