"""How a run ends: what the folder and the events say, whatever ended it."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from chainette import Branch, Chain, RunFolderError, apply
from chainette.run import RunOptions, run
from tests.models import Answer, Number, Question, step

QA = step("qa", Question, Answer, output_format_instruction="")


def numbers(count):
    return [Number(value=i) for i in range(count)]


def last_event(folder):
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])


def status(folder):
    return json.loads((folder / "status.json").read_text())


def test_the_last_event_of_a_run_is_that_it_finished():
    result = Chain(name="c", steps=[apply(lambda items: items)]).run(numbers(3))
    assert (last_event(result.folder)["event"], last_event(result.folder)["state"]) == ("run_finished", "done")


def test_an_input_that_raises_leaves_what_was_read_before_and_says_why(tmp_path):
    def rows():
        yield from numbers(5)
        raise ValueError("the source is gone")

    def same(n: Number) -> Number:
        return n

    with pytest.raises(ValueError, match="the source is gone"):
        Chain(name="c", steps=[apply(same)]).run(rows(), output_dir=tmp_path / "run", chunk_size=2)
    assert len((tmp_path / "run/steps/same/000.jsonl").read_text().splitlines()) == 4
    assert status(tmp_path / "run")["state"] == "stopped"
    assert "the source is gone" in status(tmp_path / "run")["message"]


def test_a_value_that_does_not_fit_its_parquet_column_ends_as_stopped_with_the_reason(tmp_path):
    def huge(n: Number) -> Number:
        return Number(value=2**70)

    with pytest.raises(RunFolderError):
        Chain(name="c", steps=[apply(huge)]).run(numbers(2), output_dir=tmp_path / "run", format="parquet")
    assert status(tmp_path / "run")["state"] == "stopped"
    assert last_event(tmp_path / "run")["event"] == "run_finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_what_is_in_flight_and_what_was_finished_can_be_read(tmp_path, number):
    begun = threading.Event()

    def slow(n: Number) -> Number:
        if n.value == 3:
            begun.set()
            os.kill(os.getpid(), number)
        return n

    def never(n: Number) -> Number:
        return n

    chain = Chain(name="c", steps=[apply(slow), [Branch(name="b", steps=[apply(never)]).join("b")]], chunk_size=2)
    options = RunOptions(output_dir=tmp_path / "run", open_rows=2)
    result = run(chain, numbers(10_000), options, handle_signals=True)
    assert result.state == "interrupted"
    assert begun.is_set()
    assert 3 <= len((tmp_path / "run/steps/slow/000.jsonl").read_text().splitlines()) < 10_000
    assert status(tmp_path / "run")["state"] == "interrupted"


def test_an_interrupt_of_chain_run_is_a_keyboard_interrupt_for_the_caller(tmp_path):
    def slow(n: Number) -> Number:
        os.kill(os.getpid(), signal.SIGINT)
        return n

    with pytest.raises(KeyboardInterrupt):
        Chain(name="c", steps=[apply(slow)]).run(numbers(1), output_dir=tmp_path / "run")


def test_a_deadline_is_the_rows_own_over_all_its_steps(engine):
    engine(
        answers={"q": {"answer": "first", "confidence": 1}},
        faults=[{"kind": "hang", "containing": "again first"}],
    )
    second = step("second", Answer, Answer, "again {{ answer }}")
    result = Chain(name="c", steps=[QA, second], deadline_s=0.4).run([{"text": "q"}])
    assert [(f.node_id, f.kind) for f in result.failed] == [("second", "timeout")]


def test_a_step_of_higher_priority_goes_first(engine):
    seen = []

    def note(a: Answer) -> Answer:
        seen.append(a.answer)
        return a

    engine(answers={"low": {"answer": "low", "confidence": 1}, "high": {"answer": "high", "confidence": 1}}, slots=1)
    group = [
        Branch(name="l", steps=[QA.with_(id="l", user_prompt="low {{ text }}"), apply(note, id="note_l")]),
        Branch(name="h", steps=[QA.with_(id="h", user_prompt="high {{ text }}", priority=5), apply(note, id="note_h")]),
    ]
    result = Chain(name="c", steps=[group]).run([{"text": str(i)} for i in range(60)])
    first = [json.loads(line)["started_s"] for line in (result.folder / "calls/h/000.jsonl").read_text().splitlines()]
    later = [json.loads(line)["started_s"] for line in (result.folder / "calls/l/000.jsonl").read_text().splitlines()]
    assert sorted(first)[30] < sorted(later)[30]


def test_a_graph_has_no_edges_to_nodes_it_does_not_list():
    chain = Chain(name="c", steps=[[Branch(name="b", steps=[apply(lambda items: items, id="x")]).join("b")]])
    graph = json.loads((chain.run(numbers(1)).folder / "graph.json").read_text())
    known = {node["id"] for node in graph["nodes"]} | {"chain_input"}
    assert {end for edge in graph["edges"] for end in edge} <= known
