"""A new run that takes another run's calls: what did not change is not asked for again."""

from __future__ import annotations

import json
import shutil

import pytest

from chainette import Chain, EngineDiedError, RunFolderError, apply
from chainette.files import RunFolder
from tests.folders import as_killed, calls, derived, everything, lines, made_once, reused, status
from tests.models import Answer, Question, Summary, Translation, step
from tests.run.conftest import ROWS
from tests.run.pipeline import chain, items

QA = step("qa", Question, Answer, output_format_instruction="")
FIRST = step("first", Question, Translation, "first {{ text }}", output_format_instruction="")
SECOND = step("second", Translation, Summary, "second {{ translated }}", output_format_instruction="")
TWO = Chain(name="two", steps=[FIRST, SECOND], chunk_size=3)


def questions(*numbers):
    return [{"text": f"q{n}."} for n in numbers]


def answers(run):
    return [row.answer for row in run.outputs]


def answered_by_row(run):
    """Gives each answer the id of the row it was for, so that it can be told whose it is."""
    for path in run.glob("calls/*/*.jsonl"):
        records = lines(path)
        for record in records:
            record["text"] = json.dumps({"answer": f"of {record['_id']}", "confidence": 1})
        path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_nothing_changed_so_nothing_is_asked_for_and_no_engine_starts(stand_in, tmp_path, format):
    options = {"chunk_size": 4, "max_lines_per_file": 5, "format": format}
    whole = chain().run(items(ROWS), tmp_path / "old", **options).folder
    # Failed calls would be made again: this pipeline's are answers that were refused.
    stand_in(die_after=0, faults=[])
    dead = {"mark refuse"}
    rows = [item for item in items(ROWS) if not any(word.split()[1] in item.text for word in dead)]
    with pytest.raises(EngineDiedError):
        chain().run(items(ROWS), tmp_path / "with failed calls", reuse=whole, **options)
    run = chain().run(rows, tmp_path / "new", reuse=whole, **options)
    assert calls(run.folder) == []
    assert not any(event["event"].startswith("engine") for event in lines(run.folder / "events.jsonl"))
    stand_in()
    assert derived(run.folder) == derived(chain().run(rows, tmp_path / "fresh", **options).folder)


def test_the_counts_tell_calls_that_were_reused_from_those_that_were_made(stand_in, tmp_path):
    TWO.run(questions(*range(6)), tmp_path / "old")
    nodes = TWO.run(questions(*range(8)), tmp_path / "new", reuse=tmp_path / "old").stats["nodes"]
    assert [(nodes[id]["reused"], nodes[id]["calls"]) for id in ("first", "second")] == [(6, 2), (6, 2)]


def test_after_a_changed_prompt_only_what_its_answers_changed_is_asked_for_again(stand_in, tmp_path):
    same = {f"q{n}.": {"translated": "same"} for n in range(4)}
    stand_in(answers={"second": {"summary": "s"}, **same, "q4.": {"translated": "other"}})
    TWO.run(questions(*range(5)), tmp_path / "old")
    stand_in(answers={"second": {"summary": "s"}, **same, "q4.": {"translated": "changed"}})
    changed = Chain(name="two", steps=[FIRST.with_(user_prompt="First {{ text }}"), SECOND], chunk_size=3)
    run = changed.run(questions(*range(5)), tmp_path / "new", reuse=tmp_path / "old").folder
    assert sorted(calls(run)) == [*(("first", str(n), 1) for n in range(5)), ("second", "4", 1)]
    assert sorted(reused(run)) == [("second", str(n)) for n in range(4)]


@pytest.mark.parametrize(
    ("rows", "new"),
    [([9, 0, 1, 2, 3, 4, 5], ["0"]), ([0, 2, 4], []), ([5, 4, 3, 2, 1, 0], []), ([3, 9, 1, 8], ["1", "3"])],
    ids=["inserted", "dropped", "reordered", "both"],
)
def test_only_rows_that_are_new_are_asked_for(stand_in, tmp_path, rows, new):
    TWO.run(questions(*range(6)), tmp_path / "old")
    run = TWO.run(questions(*rows), tmp_path / "new", reuse=tmp_path / "old").folder
    assert sorted(calls(run)) == [(id, row, 1) for id in ("first", "second") for row in new]
    assert derived(run) == derived(TWO.run(questions(*rows), tmp_path / "fresh").folder)


def test_of_many_equal_prompts_each_call_is_used_once(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=2)
    stand_in(answers={"q": {"answer": "new"}})
    of.run(questions(7, 7, 7), tmp_path / "old")
    answered_by_row(tmp_path / "old")
    run = of.run(questions(7, 7, 7, 7, 7), tmp_path / "new", reuse=tmp_path / "old")
    assert answers(run) == ["of 0", "of 1", "of 2", "new", "new"]


def test_a_row_takes_its_own_call_before_another_of_the_same_prompt(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA])
    rows = [{"text": "q", "key": key} for key in "abc"]
    of.run(rows, tmp_path / "old", id_field="key")
    answered_by_row(tmp_path / "old")
    run = of.run(rows[::-1], tmp_path / "new", id_field="key", reuse=tmp_path / "old")
    assert answers(run) == ["of c", "of b", "of a"]


def test_a_failed_call_is_made_again_and_a_refused_answer_is_not(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA])
    stand_in(faults=[{"kind": "decline", "containing": "q1."}, {"kind": "mismatch", "containing": "q2."}])
    old = of.run(questions(0, 1, 2), tmp_path / "old")
    assert [failure.kind for failure in old.failed] == ["refused", "schema"]
    stand_in(faults=[])
    run = of.run(questions(0, 1, 2), tmp_path / "new", reuse=tmp_path / "old")
    assert [failure.row_id for failure in run.failed] == ["2"]
    assert calls(run.folder) == [("qa", "1", 1)]


def test_the_log_says_where_a_call_was_made(stand_in, tmp_path):
    TWO.run(questions(0, 1), tmp_path / "old")
    TWO.run(questions(1), tmp_path / "new", reuse=tmp_path / "old")
    TWO.run(questions(1), tmp_path / "newer", reuse=tmp_path / "new")
    for run in ("new", "newer"):
        (record,) = lines(tmp_path / run / "calls/first/000.jsonl")
        assert (record["_id"], record["reused"]) == ("0", {"run": "old", "_id": "1"})


def test_a_run_that_reuses_goes_on_after_it_was_cut_off(stand_in, tmp_path):
    TWO.run(questions(0, 2, 4, 6), tmp_path / "old")
    stand_in(die_after=3)
    with pytest.raises(EngineDiedError):
        TWO.run(questions(*range(8)), tmp_path / "new", reuse=tmp_path / "old")
    stand_in()
    TWO.run(questions(*range(8)), resume=tmp_path / "new")
    assert derived(tmp_path / "new") == derived(TWO.run(questions(*range(8)), tmp_path / "fresh").folder)
    assert made_once(tmp_path / "new")
    assert len(calls(tmp_path / "new")) == len(reused(tmp_path / "new")) == 8


def test_a_call_that_was_taken_before_the_run_was_cut_off_is_not_taken_twice(stand_in, tmp_path):
    def rows(count, breaks=False):
        yield from ({"text": "q", "key": str(n)} for n in range(10, 10 + count))
        if breaks:
            raise ValueError("gone")

    of = Chain(name="c", steps=[QA], chunk_size=1)
    stand_in(answers={"q": {"answer": "new"}})
    of.run(questions(7, 7, 7), tmp_path / "other")
    shutil.rmtree(tmp_path / "other")
    of.run([{"text": "q"}] * 3, tmp_path / "old")
    answered_by_row(tmp_path / "old")
    with pytest.raises(ValueError, match="gone"):
        of.run(rows(2, breaks=True), tmp_path / "new", reuse=tmp_path / "old", id_field="key")
    run = of.run(rows(5), resume=tmp_path / "new")
    assert answers(run) == ["of 0", "of 1", "of 2", "new", "new"]


def test_a_run_cannot_go_on_when_the_one_it_reuses_is_gone(stand_in, tmp_path):
    TWO.run(questions(0, 1), tmp_path / "old")
    stand_in(die_after=1)
    with pytest.raises(EngineDiedError):
        TWO.run(questions(*range(5)), tmp_path / "new", reuse=tmp_path / "old")
    stand_in()
    shutil.move(tmp_path / "old", tmp_path / "away")
    with pytest.raises(RunFolderError, match=r"whose calls are reused is gone: .*old \(bring it back"):
        TWO.run(questions(*range(5)), resume=tmp_path / "new")
    shutil.move(tmp_path / "away", tmp_path / "old")
    assert TWO.run(questions(*range(5)), resume=tmp_path / "new").state == "done"


def test_a_run_that_is_still_going_may_be_reused(stand_in, tmp_path):
    TWO.run(questions(0, 1), tmp_path / "old")
    holder = RunFolder.reopen(as_killed(tmp_path / "old"), "old")
    try:
        run = TWO.run(questions(0, 1), tmp_path / "new", reuse=tmp_path / "old")
    finally:
        holder.close(seal=False)
    assert calls(run.folder) == []


@pytest.mark.parametrize("tail", [b'{"_id":"9","key":"abc', b"\0" * 64, b"no JSON\n"], ids=["cut", "zeros", "damaged"])
def test_a_torn_log_gives_the_calls_that_are_whole(stand_in, tmp_path, tail):
    TWO.run(questions(0, 1, 2), tmp_path / "old")
    with open(tmp_path / "old/calls/first/000.jsonl", "ab") as file:
        file.write(tail)
    before = everything(tmp_path / "old")
    run = TWO.run(questions(0, 1, 2), tmp_path / "new", reuse=tmp_path / "old")
    assert calls(run.folder) == []
    assert everything(tmp_path / "old") == before


def test_a_run_cannot_reuse_itself(stand_in, tmp_path):
    TWO.run(questions(0), tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a run already"):
        TWO.run(questions(0), tmp_path / "run", reuse=tmp_path / "run")


def test_a_run_that_is_not_there_cannot_be_reused_and_nothing_is_made(stand_in, tmp_path):
    TWO.run(questions(0), tmp_path / "runs/two-1")
    with pytest.raises(RunFolderError, match="two-2"):
        TWO.run(questions(0), tmp_path / "new", reuse="two-2")
    assert not (tmp_path / "new").exists()


def test_samples_are_reused_together(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA.with_(n=3)])
    old = of.run(questions(0, 1), tmp_path / "old")
    run = of.run(questions(1, 0), tmp_path / "new", reuse=tmp_path / "old")
    assert calls(run.folder) == []
    assert sorted(answers(run)) == sorted(answers(old))


def test_functions_run_again_on_reused_answers(stand_in, tmp_path):
    seen = []

    def note(answer: Answer) -> Answer:
        seen.append(answer.answer)
        return answer

    of = Chain(name="c", steps=[QA, apply(note)])
    of.run(questions(0, 1), tmp_path / "old")
    of.run(questions(0, 1), tmp_path / "new", reuse=tmp_path / "old")
    assert len(seen) == 4
    assert status(tmp_path / "new")["rows_out"] == 2
