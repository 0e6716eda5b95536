"""Failed rows made again in their places: the files as if they had never failed, and every other row as it was."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, field_validator

from chainette import Branch, Chain, ChainError, Drop, EngineDiedError, RunFolderError, apply, cond, while_loop
from chainette.files.healing import complete_swap
from chainette.files.reading import RunReader
from tests.folders import calls, counts, derived, everything, lines, status
from tests.models import Answer, Number, Question, step
from tests.run.conftest import ROWS
from tests.run.pipeline import chain, items

QA = step("qa", Question, Answer, output_format_instruction="", retries=0)
COSTS = ("retried", "calls", "prompt_tokens", "completion_tokens")


def questions(count):
    return [{"text": f"q{n}."} for n in range(count)]


def mismatch(*texts):
    return [{"kind": "mismatch", "containing": text} for text in texts]


def rows_of(run):
    """The counts but for what calls cost, which is the sum of all that was spent."""
    found = counts(run)
    for node in found["nodes"].values():
        for cost in COSTS:
            node.pop(cost)
    return found


def failures(result):
    return [(failure.node_id, failure.row_id, failure.kind) for failure in result.failed]


LAYOUTS = [
    {"chunk_size": 3},
    {"chunk_size": 5, "max_lines_per_file": 4},
    {"chunk_size": 4, "max_lines_per_file": 5, "format": "parquet"},
    {"chunk_size": 3, "max_lines_per_file": 4, "format": "csv"},
]


@pytest.mark.parametrize("options", LAYOUTS, ids=["one file", "jsonl", "parquet", "csv"])
def test_healed_rows_and_what_follows_from_them_stand_as_if_they_had_never_failed(stand_in, tmp_path, options):
    stand_in(answers={})
    run = chain().run(items(ROWS), tmp_path / "run", **options).folder
    stand_in(answers={}, faults=[])
    result = chain().run(None, retry=run)
    whole = chain().run(items(ROWS), tmp_path / "whole", **options).folder
    assert (result.state, result.rows_failed) == ("done", 0)
    assert derived(run) == derived(whole)
    assert rows_of(run) == rows_of(whole)


def test_only_failed_calls_and_those_that_follow_from_them_are_made(stand_in, tmp_path):
    second = step("second", Answer, Answer, "again {{ answer }}", output_format_instruction="")
    of = Chain(name="c", steps=[QA, second], chunk_size=4)
    stand_in(answers={}, faults=mismatch("q3.", "q6."))
    of.run(questions(9), tmp_path / "run")
    before = sorted(calls(tmp_path / "run"))
    stand_in(answers={}, faults=[])
    of.run(None, retry=tmp_path / "run")
    made = sorted(calls(tmp_path / "run"))
    for call in before:
        made.remove(call)
    assert made == [("qa", "3", 1), ("qa", "6", 1), ("second", "3", 1), ("second", "6", 1)]


@pytest.mark.parametrize("force", [False, True])
def test_failed_rows_are_asked_of_the_engine_the_run_was_told_to_use(stand_in, tmp_path, force):
    stand_in(spec={"name": "other", "model": "mo"})
    of = Chain(name="c", steps=[QA.with_(engine_name="other")], chunk_size=4)
    stand_in(answers={}, faults=mismatch("q3."))
    of.run(questions(9), tmp_path / "run", engines={"qa": "stand_in"})
    stand_in(answers={}, faults=[])
    assert of.run(None, retry=tmp_path / "run", force=force).rows_failed == 0
    record = RunReader(tmp_path / "run").graph()
    assert (record["nodes"][0]["engine"], record["options"]["engines"]) == ("stand_in", {"qa": "stand_in"})


def test_what_calls_cost_is_added_up(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA.with_(retries=1)])
    stand_in(faults=mismatch("q1."))
    before = of.run(questions(3), tmp_path / "run").stats["nodes"]["qa"]
    stand_in(faults=[])
    after = of.run(None, retry=tmp_path / "run").stats["nodes"]["qa"]
    assert (before["calls"], after["calls"]) == (4, 5)
    assert after["prompt_tokens"] == before["prompt_tokens"] + 1
    assert sum(record["usage"]["prompt_tokens"] for record in lines(tmp_path / "run/calls/qa/000.jsonl")) == 5


def test_rows_of_a_function_that_never_gives_the_same_twice_keep_what_they_had(stand_in, tmp_path):
    def numbered(answer: Answer) -> Answer:
        return Answer(answer=os.urandom(8).hex())

    of = Chain(name="c", steps=[QA, apply(numbered)], chunk_size=3)
    stand_in(faults=mismatch("q4."))
    of.run(questions(8), tmp_path / "run")
    before = {row["_id"]: row for row in lines(tmp_path / "run/steps/numbered/000.jsonl")}
    stand_in(faults=[])
    of.run(None, retry=tmp_path / "run")
    after = lines(tmp_path / "run/steps/numbered/000.jsonl")
    assert [row["_id"] for row in after] == [str(n) for n in range(8)]
    assert {row["_id"]: row for row in after if row["_id"] != "4"} == before


def failing_twice(tmp_path):
    """Fails at a function while a file is there, and at a step by what the engine is told."""
    (tmp_path / "broken").touch()

    def careful(number: Answer) -> Answer:
        if number.answer == "bad" and Path(tmp_path / "broken").exists():
            raise ValueError("not now")
        return number

    return Chain(name="c", steps=[QA, apply(careful)], chunk_size=2)


def test_a_function_that_works_now_heals_its_rows_without_a_call(stand_in, tmp_path):
    of = failing_twice(tmp_path)
    stand_in(answers={"q1.": {"answer": "bad"}})
    of.run(questions(5), tmp_path / "run")
    (tmp_path / "broken").unlink()
    stand_in(die_after=0)
    result = of.run(None, retry=tmp_path / "run")
    assert result.rows_out == 5
    assert [row["_id"] for row in lines(tmp_path / "run/steps/careful/000.jsonl")] == [str(n) for n in range(5)]
    assert not (tmp_path / "run/failed").exists()


def test_rows_dropped_on_the_different_ways_of_failed_rows_are_counted_once(tmp_path):
    broken = tmp_path / "broken"

    def twice(number: Number) -> list[Number]:
        return [number, Number(value=number.value + 1)]

    def even(number: Number) -> Number | Drop:
        return number if number.value % 2 == 0 else Drop("odd")

    def one_less(number: Number) -> Number | None:
        return Number(value=number.value - 1) if number.value != 7 else None

    def careful(number: Number) -> Number:
        if number.value in (0, 4) and broken.exists():
            raise ValueError("broken")
        return number

    small = [while_loop([apply(one_less)], until=lambda row: row.value % 3 == 0, max_iterations=3)]
    steps = [
        apply(twice),
        cond(lambda row: row.value < 5, [apply(even)], small),
        apply(careful),
    ]
    of = Chain(name="c", steps=steps, chunk_size=3)
    numbers = [{"value": n} for n in range(9)]
    whole = of.run(numbers, tmp_path / "whole").folder
    broken.touch()
    assert of.run(numbers, tmp_path / "run").rows_failed
    broken.unlink()
    of.run(None, retry=tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(whole)


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"retry_step": "qa"}, [("careful", "1", "apply")]),
        ({"retry_step": "careful"}, [("qa", "3", "schema")]),
        ({"retry_kind": "schema"}, [("careful", "1", "apply")]),
        ({"retry_kind": "apply"}, [("qa", "3", "schema")]),
        ({"retry_kind": "timeout"}, [("qa", "3", "schema"), ("careful", "1", "apply")]),
        ({"retry_step": "qa", "retry_kind": "apply"}, [("qa", "3", "schema"), ("careful", "1", "apply")]),
    ],
)
def test_step_and_kind_choose_which_failures_are_healed(stand_in, tmp_path, chosen, left):
    of = failing_twice(tmp_path)
    stand_in(answers={"q1.": {"answer": "bad"}}, faults=mismatch("q3."))
    of.run(questions(5), tmp_path / "run")
    (tmp_path / "broken").unlink()
    stand_in(answers={"q1.": {"answer": "bad"}}, faults=[])
    assert failures(of.run(None, retry=tmp_path / "run", **chosen)) == left
    assert failures(of.run(None, retry=tmp_path / "run")) == []


def test_a_row_with_two_failures_of_which_one_is_chosen_keeps_the_other(stand_in, tmp_path):
    group = [Branch(name=n, steps=[QA.with_(id=n, user_prompt=f"{n} {{{{ text }}}}")]) for n in ("a", "b")]
    of = Chain(name="c", steps=[group, QA], chunk_size=2)
    stand_in(faults=mismatch("a q1.", "b q1."))
    of.run(questions(3), tmp_path / "run")
    stand_in(faults=[])
    assert failures(of.run(None, retry=tmp_path / "run", retry_step="a")) == [("b", "1", "schema")]
    assert [row["_id"] for row in lines(tmp_path / "run/steps/a/000.jsonl")] == ["0", "1", "2"]


def test_a_failure_that_stood_on_a_healed_one_goes_with_it(stand_in, tmp_path):
    """The branch may be missing, and the prompt after the join cannot do without it."""
    first = QA.with_(id="first", user_prompt="first {{ text }}")
    last = QA.with_(id="last", user_prompt="last {{ f.answer }}")
    of = Chain(name="c", steps=[[Branch(name="f", steps=[first]).join("f", missing="none")], last])
    stand_in(faults=mismatch("first q1."))
    assert failures(of.run(questions(3), tmp_path / "run")) == [("first", "1", "schema"), ("last", "1", "prompt")]
    stand_in(faults=[])
    result = of.run(None, retry=tmp_path / "run", retry_step="first")
    assert failures(result) == []


def test_a_join_is_healed_with_the_branch_it_waited_for(stand_in, tmp_path):
    branch = Branch(name="f", steps=[QA.with_(id="first", user_prompt="first {{ text }}")]).join("f")
    of = Chain(name="c", steps=[[branch], QA.with_(user_prompt="{{ f.answer }}")])
    stand_in(faults=mismatch("first q1."))
    result = of.run(questions(3), tmp_path / "run")
    assert [kind for _, _, kind in failures(result)] == ["schema", "join"]
    stand_in(faults=[])
    assert failures(of.run(None, retry=tmp_path / "run", retry_kind="join")) == []
    assert derived(tmp_path / "run") == derived(of.run(questions(3), tmp_path / "whole").folder)


def test_what_fails_again_has_its_new_reason(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=2)
    stand_in(faults=mismatch("q1.", "q3."))
    of.run(questions(5), tmp_path / "run")
    stand_in(faults=[{"kind": "truncate", "containing": "q1."}])
    result = of.run(None, retry=tmp_path / "run")
    assert failures(result) == [("qa", "1", "truncated")]
    assert (result.rows_failed, result.rows_out) == (1, 4)
    assert len(lines(tmp_path / "run/failed/qa.jsonl")) == 1


def test_a_run_may_be_retried_until_nothing_fails(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=2)
    bad = ["q1.", "q2.", "q5."]
    for tries in range(len(bad) + 1):
        stand_in(faults=mismatch(*bad[tries:]))
        result = of.run(questions(7), tmp_path / "run") if not tries else of.run(None, retry=tmp_path / "run")
        assert [failure.row_id for failure in result.failed] == [text[1] for text in bad[tries:]]
    assert derived(tmp_path / "run") == derived(of.run(questions(7), tmp_path / "whole").folder)


def test_where_nothing_failed_a_retry_says_so_and_leaves_the_run_as_it_is(stand_in, tmp_path):
    Chain(name="c", steps=[QA]).run(questions(3), tmp_path / "run")
    before = everything(tmp_path / "run")
    result = Chain(name="c", steps=[QA]).run(None, retry=tmp_path / "run")
    assert result.nothing_to_do
    assert everything(tmp_path / "run") == before


def test_of_a_call_with_several_answers_all_are_asked_for_again(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA.with_(n=3)], chunk_size=2)
    stand_in(faults=mismatch("q1."))
    assert len(of.run(questions(3), tmp_path / "run").failed) == 3
    stand_in(faults=[])
    of.run(None, retry=tmp_path / "run")
    assert derived(tmp_path / "run") == derived(of.run(questions(3), tmp_path / "whole").folder)
    assert sorted(calls(tmp_path / "run")) == [("qa", "0", 1), ("qa", "1", 1), ("qa", "1", 1), ("qa", "2", 1)]


def test_more_failed_chunks_than_may_be_under_way_are_healed(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=10)
    stand_in(faults=mismatch(*(f"q{n}." for n in range(5, 300, 10))))
    of.run(questions(300), tmp_path / "run", open_rows=40)
    stand_in(faults=[])
    assert of.run(None, retry=tmp_path / "run", open_rows=40).rows_failed == 0


def test_a_graph_with_other_nodes_heals_nothing_even_by_force(stand_in, tmp_path):
    stand_in(faults=mismatch("q1."))
    Chain(name="c", steps=[QA], chunk_size=2).run(questions(3), tmp_path / "run")
    before = everything(tmp_path / "run")
    renamed = Chain(name="c", steps=[step("asked", Question, Answer, retries=0)], chunk_size=2)
    with pytest.raises(ChainError, match="resume run --force makes all rows again"):
        renamed.run(None, retry=tmp_path / "run", force=True)
    assert everything(tmp_path / "run") == before


def test_a_retry_that_finds_no_failed_row_in_an_unfinished_run_does_not_call_it_done(stand_in, cut_off, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=2)
    run = cut_off(4, rows=questions(9), of=of)
    assert of.run(None, retry=run).state == "stopped"


class Picky(BaseModel):
    """Refuses half of the texts, as long as it is told to."""

    text: str
    refuses: ClassVar[bool] = True

    @field_validator("text")
    @classmethod
    def _is_liked(cls, text: str) -> str:
        if cls.refuses and sum(text.encode()) % 2:
            raise ValueError("odd")
        return text


def test_of_several_answers_the_good_ones_stay_when_the_others_are_healed(stand_in, tmp_path, monkeypatch):
    of = Chain(name="c", steps=[step("qa", Question, Picky, n=4, retries=0)], chunk_size=2)
    stand_in(answers={})
    first = of.run(questions(5), tmp_path / "run")
    good = {row["_id"]: row for row in RunReader(first.folder).rows("qa")}
    assert 0 < len(good) < 20
    monkeypatch.setattr(Picky, "refuses", False)
    stand_in(answers={}, seed=7)
    healed = of.run(None, retry=tmp_path / "run")
    rows = list(RunReader(healed.folder).rows("qa"))
    assert [row["_id"] for row in rows] == [f"{n}.{sample}" for n in range(5) for sample in range(4)]
    assert {row["_id"]: row for row in rows if row["_id"] in good} == good


def test_rows_of_which_no_prompt_can_be_made_are_counted_once_when_others_are_healed(stand_in, tmp_path):
    prompt = "{{ text }} {{ 1 // (text | length - 4) }}"
    of = Chain(name="c", steps=[step("qa", Question, Answer, prompt, n=2, retries=0)], chunk_size=10)
    rows = [{"text": text} for text in ("q0.", "four", "q2.", "five", "q4.")]
    stand_in(faults=mismatch("q2."))
    of.run(rows, tmp_path / "run")
    stand_in(faults=[])
    of.run(None, retry=tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(of.run(rows, tmp_path / "whole").folder)


def test_input_rows_that_do_not_fit_stay_failures(stand_in, tmp_path):
    rows = [{"text": f"q{n}."} if n % 3 else {"text": n} for n in range(7)]
    of = Chain(name="c", steps=[QA], chunk_size=2)
    stand_in(faults=mismatch("q4."))
    of.run(rows, tmp_path / "run", max_failed=5)
    before = (tmp_path / "run/failed/chain_input.jsonl").read_bytes()
    stand_in(faults=[])
    result = of.run(None, retry=tmp_path / "run")
    assert failures(result) == [("chain_input", str(n), "input") for n in (0, 3, 6)]
    assert (tmp_path / "run/failed/chain_input.jsonl").read_bytes() == before


def test_rows_with_ids_of_their_own_are_healed_in_their_places(stand_in, tmp_path):
    rows = [{"text": f"q{n}.", "key": f"k.{9 - n}"} for n in range(8)]
    of = Chain(name="c", steps=[QA.with_(n=2)], chunk_size=3)
    stand_in(faults=mismatch("q2.", "q5."))
    of.run(rows, tmp_path / "run", id_field="key", max_lines_per_file=5)
    stand_in(faults=[])
    of.run(None, retry=tmp_path / "run")
    whole = of.run(rows, tmp_path / "whole", id_field="key", max_lines_per_file=5).folder
    assert derived(tmp_path / "run") == derived(whole)


def test_a_changed_chain_is_refused_and_force_heals_with_it(stand_in, tmp_path):
    def failing(number: Number) -> Number:
        return Number(value=12 // (number.value - 2))

    def mended(number: Number) -> Number:
        return Number(value=12 // (number.value - 2) if number.value != 2 else 0)

    broken = Chain(name="c", steps=[apply(failing, id="divide")])
    whole = Chain(name="c", steps=[apply(mended, id="divide")])
    broken.run([Number(value=n) for n in range(5)], tmp_path / "run")
    before = everything(tmp_path / "run")
    with pytest.raises(ChainError, match=r'(?s)apply "divide".*--force'):
        whole.run(None, retry=tmp_path / "run")
    assert everything(tmp_path / "run") == before
    result = whole.run(None, retry=tmp_path / "run", force=True)
    assert [row.value for row in result.outputs] == [-6, -12, 0, 12, 6]


def test_a_step_that_is_not_there_is_refused_with_the_nearest_name(stand_in, tmp_path):
    Chain(name="c", steps=[QA]).run(questions(1), tmp_path / "run")
    with pytest.raises(ChainError, match=r'no "qq".*"?qa"?'):
        Chain(name="c", steps=[QA]).run(None, retry=tmp_path / "run", retry_step="qq")


@pytest.fixture
def failed_run(stand_in, tmp_path):
    """Rows 1, 4 and 7 of nine failed; the engine is well again."""
    of = Chain(name="c", steps=[QA], chunk_size=2)
    stand_in(faults=mismatch("q1.", "q4.", "q7."))
    of.run(questions(9), tmp_path / "run", max_lines_per_file=3)
    stand_in(faults=[])
    return of, tmp_path / "run"


def test_a_retry_that_is_cut_off_keeps_what_it_had_healed_and_the_next_one_ends_it(failed_run, stand_in, tmp_path):
    of, run = failed_run
    stand_in(faults=[], die_after=1, spec={"max_concurrency": 1})
    with pytest.raises(EngineDiedError):
        of.run(None, retry=run)
    assert sorted(row["_id"] for row in lines(run / "inputs/000.jsonl")) == ["0", "1", "2"]
    stand_in(faults=[])
    of.run(None, retry=run)
    assert derived(run) == derived(of.run(questions(9), tmp_path / "whole", max_lines_per_file=3).folder)
    made = calls(run)
    assert len(made) == len(questions(9)) + 3


def test_a_retry_that_was_killed_leaves_the_old_files_and_its_calls_are_not_made_again(failed_run, stand_in, tmp_path):
    of, run = failed_run
    old = derived(run)
    shutil.copytree(run, tmp_path / "image")
    of.run(None, retry=run)
    # A kill before the swap: the files are the old ones, the log has the new calls.
    image = tmp_path / "image"
    shutil.copytree(run / "calls", image / "calls", dirs_exist_ok=True)
    (image / ".healing" / "steps" / "qa").mkdir(parents=True)
    (image / ".healing" / "steps" / "qa" / "000.jsonl").write_text('{"_id":"0"')
    (image / ".healing" / "begun.json").write_text(json.dumps({"calls": {"qa": 9}, "time": 0.0}))
    assert {name: data for name, data in derived(image).items() if not name.startswith(".healing")} == old
    stand_in(die_after=0)
    assert of.run(None, retry=image).rows_failed == 0
    assert derived(image) == derived(run)


@pytest.mark.parametrize("moved", [[], ["steps"], ["steps", "flattened"], ["steps", "flattened", "failed"]])
def test_a_retry_that_was_killed_between_its_renames_ends_with_the_new_files(failed_run, tmp_path, moved):
    of, run = failed_run
    shutil.copytree(run, tmp_path / "image")
    of.run(None, retry=run)
    image = tmp_path / "image"
    healing = image / ".healing"
    healing.mkdir()
    new = ["steps", "flattened", "commits.jsonl"]
    for name in new:
        target = image / name if name in moved else healing / name
        if target.is_dir():
            shutil.rmtree(target)
        (shutil.copytree if (run / name).is_dir() else shutil.copy)(run / name, target)
    if "failed" in moved:
        shutil.rmtree(image / "failed")
    (healing / "ready.json").write_text(json.dumps(new))
    complete_swap(image)
    assert derived(image) == derived(run)
    assert (image / "commits.jsonl").read_bytes() == (run / "commits.jsonl").read_bytes()
    assert not healing.exists()


def test_files_that_could_not_be_written_whole_never_take_the_place_of_the_old_ones(failed_run, stand_in, monkeypatch):
    of, run = failed_run
    old = derived(run)
    write, failing = os.write, itertools.chain([1], itertools.repeat(0))

    def full(fd, data):
        below = os.readlink(f"/proc/self/fd/{fd}")
        if ".healing/flattened" in below and next(failing):
            raise OSError(28, "No space left on device")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RunFolderError, match="the disk is full"):
            of.run(None, retry=run)
    assert {name: data for name, data in derived(run).items() if not name.startswith(".healing")} == old
    made = Counter(calls(run))
    assert of.run(None, retry=run).rows_failed == 0
    assert not [call for call, times in Counter(calls(run)).items() if times > max(made[call], 2)]


def test_an_interrupted_run_can_be_healed_first_and_gone_on_with_then(stand_in, tmp_path):
    def broken():
        yield from questions(9)
        raise ValueError("gone")

    of = Chain(name="c", steps=[QA], chunk_size=2)
    stand_in(faults=mismatch("q1.", "q4."))
    with pytest.raises(ValueError, match="gone"):
        of.run(broken(), tmp_path / "run", max_lines_per_file=3)
    stand_in(faults=[])
    healed = of.run(None, retry=tmp_path / "run")
    assert (healed.state, healed.rows_failed) == ("stopped", 0)
    assert "chainette resume" in healed.message
    of.run(questions(12), resume=tmp_path / "run")
    whole = of.run(questions(12), tmp_path / "whole", max_lines_per_file=3).folder
    assert derived(tmp_path / "run") == derived(whole)
    assert rows_of(tmp_path / "run") == rows_of(whole)


def test_a_healed_run_is_done_and_says_that_it_was_retried(failed_run):
    of, run = failed_run
    of.run(None, retry=run, retry_kind="schema")
    assert status(run)["state"] == "done"
    (said,) = json.loads((run / "graph.json").read_text())["retried"]
    assert said["kind"] == "schema"
    assert of.run(questions(9), resume=run).nothing_to_do


def test_a_call_that_timed_out_is_made_again(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA.with_(timeout_s=0.05)])
    stand_in(faults=[{"kind": "hang", "containing": "q1."}])
    assert failures(of.run(questions(3), tmp_path / "run")) == [("qa", "1", "timeout")]
    stand_in(faults=[])
    assert of.run(None, retry=tmp_path / "run", retry_kind="timeout").rows_out == 3
