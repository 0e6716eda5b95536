"""Going on with a run that ended before its last row: the files of an undisturbed run, and no call made twice."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from chainette import Chain, ChainError, EngineDiedError, InputError, RunFolderError, apply, context
from chainette.files import RunFolder
from chainette.files.reading import RunReader
from tests.folders import as_killed, calls, counts, derived, everything, lines, made_once, reused
from tests.models import Answer, Number, Question, step
from tests.run.conftest import ROWS
from tests.run.pipeline import chain, items, note_step

QA = step("qa", Question, Answer, output_format_instruction="")


def questions(count, first=0):
    return [{"text": f"q{n}."} for n in range(first, first + count)]


def assert_same(run, whole):
    assert derived(run) == derived(whole)
    assert counts(run) == counts(whole)
    assert sorted(calls(run)) == sorted(calls(whole))


@pytest.mark.parametrize("after", [1, 40])
@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 1},
        {"chunk_size": 5, "max_lines_per_file": 4},
        {"chunk_size": 3, "max_lines_per_file": 5, "format": "parquet"},
        {"chunk_size": 4, "max_lines_per_file": 3, "format": "csv", "flattened": False},
    ],
    ids=["rows", "jsonl", "parquet", "csv"],
)
def test_a_run_whose_engine_died_ends_as_an_undisturbed_one(cut_off, tmp_path, after, options):
    run = cut_off(after, **options)
    result = chain().run(items(ROWS), resume=run)
    assert result.state == "done"
    assert_same(run, chain().run(items(ROWS), tmp_path / "whole", **options).folder)


def test_a_run_can_be_taken_up_as_often_as_it_ends_early(stand_in, cut_off, tmp_path):
    run = cut_off(5, chunk_size=2, max_lines_per_file=3, format="parquet")
    for after in (4, 0, 20):
        stand_in(die_after=after)
        with pytest.raises(EngineDiedError):
            chain().run(items(ROWS), resume=run)
    stand_in()
    chain().run(items(ROWS), resume=run)
    whole = chain().run(items(ROWS), tmp_path / "whole", chunk_size=2, max_lines_per_file=3, format="parquet")
    assert_same(run, whole.folder)


def test_a_run_that_was_interrupted_goes_on(stand_in, tmp_path, monkeypatch):
    def stop(answer: Answer) -> Answer:
        if answer.answer == "stop" and (tmp_path / "armed").exists():
            (tmp_path / "armed").unlink()
            os.kill(os.getpid(), signal.SIGINT)
        return answer

    (tmp_path / "armed").touch()
    stand_in(answers={"q20.": {"answer": "stop"}}, slots=2)
    of = Chain(name="c", steps=[QA, apply(stop)], chunk_size=4)
    with pytest.raises(KeyboardInterrupt):
        of.run(questions(60), tmp_path / "run")
    assert of.run(questions(60), resume=tmp_path / "run").state == "done"
    assert_same(tmp_path / "run", of.run(questions(60), tmp_path / "whole").folder)


def test_list_functions_get_the_same_chunks_again(cut_off, stand_in, tmp_path):
    def numbered(answers: list[Answer]) -> list[Answer]:
        return [Answer(answer=f"{n} of {len(answers)}: {a.answer}") for n, a in enumerate(answers)]

    of = Chain(name="c", steps=[QA, apply(numbered)])
    run = cut_off(10, questions(23), of, chunk_size=4)
    of.run(questions(23), resume=run)
    assert_same(run, of.run(questions(23), tmp_path / "whole", chunk_size=4).folder)


@pytest.mark.parametrize("options", [{"id_field": "key"}, {"columns": ["said"]}, {"limit": 7}, {"params": {"k": "v"}}])
def test_what_the_run_was_told_about_its_input_holds_on(cut_off, tmp_path, options):
    rows = [{"said": f"s{n}.", "text": f"q{n}.", "key": f"row-{n}"} for n in range(12)]
    of = Chain(name="c", steps=[QA], chunk_size=2)
    run = cut_off(5, rows, of, **options)
    again = {"params": options["params"]} if "params" in options else {}
    of.run(rows, resume=run, **again)
    assert_same(run, of.run(rows, tmp_path / "whole", **options).folder)


@pytest.fixture
def other_engine(stand_in):
    """A second one, with another model."""
    stand_in(spec={"name": "other", "model": "mo"})
    return "other"


@pytest.mark.parametrize("force", [False, True])
def test_the_engines_a_run_was_told_to_use_hold_on(cut_off, other_engine, tmp_path, force):
    two = step("two", Answer, Answer, "{{ answer }}", engine_name="stand_in")
    of = Chain(name="c", steps=[QA.with_(engine_name="stand_in"), two])
    run = cut_off(5, questions(9), of, chunk_size=2, engines={"two": other_engine})
    assert of.run(questions(9), resume=run, force=force).state == "done"
    record = RunReader(run).graph()
    assert [node["engine"] for node in record["nodes"]] == ["stand_in", "other"]
    assert {spec["name"] for spec in record["engines"]} == {"stand_in", "other"}
    assert record["options"]["engines"] == {"two": "other"}


def test_an_engine_that_is_named_now_comes_before_the_one_of_the_run(cut_off, other_engine):
    of = Chain(name="c", steps=[step("qa", Question, Answer, engine_name="other")], chunk_size=2)
    run = cut_off(5, questions(9), of, engines={"qa": "stand_in"})
    with pytest.raises(ChainError, match="model was"):
        of.run(questions(9), resume=run, engines={"qa": "other"})
    of.run(questions(9), resume=run, engines={"qa": "other"}, force=True)
    assert RunReader(run).graph()["nodes"][0]["engine"] == "other"


def test_an_engine_for_a_step_that_is_gone_is_forgotten(cut_off, other_engine):
    of = Chain(name="c", steps=[QA.with_(engine_name="other")], chunk_size=2)
    run = cut_off(5, questions(9), of, engines={"qa": "stand_in"})
    changed = Chain(name="c", steps=[step("new", Question, Answer, engine_name="stand_in")], chunk_size=2)
    assert changed.run(questions(9), resume=run, force=True).state == "done"
    assert RunReader(run).graph()["options"]["engines"] == {}


def test_a_call_that_failed_is_taken_as_it_is(stand_in, tmp_path):
    of = Chain(name="c", steps=[QA], chunk_size=4)
    stand_in(faults=[{"kind": "decline", "containing": "q1."}], die_after=8, spec={"max_concurrency": 1})
    with pytest.raises(EngineDiedError):
        of.run(questions(12), tmp_path / "run")
    for part in (tmp_path / "run").glob("commits.jsonl"):
        part.unlink()
    stand_in()
    result = of.run(questions(12), resume=tmp_path / "run")
    assert [(f.row_id, f.kind) for f in result.failed] == [("1", "refused")]
    assert made_once(tmp_path / "run")


def test_a_run_that_is_done_says_so_and_stays_as_it_is(stand_in, tmp_path):
    whole = chain().run(items(ROWS), tmp_path / "run")
    before = everything(tmp_path / "run")
    stand_in(die_after=0)
    again = chain().run(items(ROWS), resume=tmp_path / "run")
    assert again.nothing_to_do
    assert (again.rows_out, again.rows_failed) == (whole.rows_out, whole.rows_failed)
    assert list(again.outputs) == list(whole.outputs)
    assert everything(tmp_path / "run") == before


class Longer(Answer):
    more: str = ""


def same(answer: Answer) -> Answer:
    return answer


def other(answer: Answer) -> Answer:
    return answer.model_copy()


QAS = Chain(name="c", steps=[QA, apply(same, id="check")], chunk_size=2)
CHANGES = {
    "prompt": (Chain(name="c", steps=[QA.with_(user_prompt="Q: {{ text }}"), apply(same, id="check")]), 'step "qa"'),
    "sampling": (Chain(name="c", steps=[QA.with_(n=2), apply(same, id="check")]), 'step "qa"'),
    "schema": (Chain(name="c", steps=[QA.with_(output_model=Longer), apply(same, id="check")]), "schema"),
    "function": (Chain(name="c", steps=[QA, apply(other, id="check")]), 'apply "check"'),
    "step gone": (Chain(name="c", steps=[QA]), 'apply "check"'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_chain_is_refused_with_its_part_named_and_nothing_is_written(cut_off, change):
    run = cut_off(5, questions(12), QAS)
    before = everything(run)
    changed, named = CHANGES[change]
    with pytest.raises(ChainError, match="--force") as refused:
        changed.run(questions(12), resume=run)
    assert named in str(refused.value)
    assert everything(run) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"params": {"k": 2}}, "params"),
        ({"limit": 3}, "limit"),
        ({"format": "csv"}, "format"),
        ({"max_lines_per_file": 9}, "max_lines_per_file"),
        ({"id_field": "text"}, "id_field"),
    ],
)
def test_a_changed_option_is_refused_by_its_name(cut_off, options, named):
    run = cut_off(5, questions(12), QAS, params={"k": 1})
    before = everything(run)
    with pytest.raises(ChainError, match=named):
        QAS.run(questions(12), resume=run, **{"params": {"k": 1}, **options})
    assert everything(run) == before


def test_another_model_behind_the_engine_is_refused(cut_off, stand_in):
    run = cut_off(5, questions(12), QAS)
    stand_in(spec={"model": "another"})
    with pytest.raises(ChainError, match=r'engine "stand_in".*model'):
        QAS.run(questions(12), resume=run)


def test_a_changed_file_is_refused_before_anything_is_written(cut_off, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f'{{"text":"q{n}."}}\n' for n in range(12)))
    run = cut_off(5, str(file), QAS)
    before = everything(run)
    file.write_text(file.read_text().replace("q11.", "p11."))
    with pytest.raises(ChainError, match="input"):
        QAS.run(str(file), resume=run)
    assert everything(run) == before


def test_of_changed_python_rows_the_first_that_was_read_before_is_named(cut_off, tmp_path):
    run = cut_off(5, iter(questions(12)), QAS, max_lines_per_file=3)
    before = derived(run)
    rows = questions(12)
    rows[5] = {"text": "another"}
    with pytest.raises(InputError, match=r'the input changed: its row "5" is .*another.*q5\.'):
        QAS.run(iter(rows), resume=run)
    assert {name: data for name, data in derived(run).items() if name.startswith("inputs/")} == {
        name: data for name, data in before.items() if name.startswith("inputs/")
    }
    QAS.run(iter(questions(12)), resume=run)
    assert_same(run, QAS.run(iter(questions(12)), tmp_path / "whole", max_lines_per_file=3).folder)


def test_retries_time_limits_and_what_an_engine_takes_at_once_may_change(cut_off, stand_in):
    run = cut_off(5, questions(12), QAS)
    stand_in(spec={"max_concurrency": 3})
    patient = Chain(name="c", steps=[QA.with_(retries=4, timeout_s=60, priority=1), apply(same, id="check")])
    assert patient.run(questions(12), resume=run).state == "done"


def test_the_rows_need_not_be_given_again_once_all_were_read(stand_in, tmp_path):
    whole = QAS.run(iter(questions(12)), tmp_path / "whole").folder
    shutil.copytree(whole, tmp_path / "run")
    (as_killed(tmp_path / "run") / "steps" / "qa" / "000.jsonl").unlink()
    assert QAS.run(None, resume=tmp_path / "run").rows_out == 12
    assert_same(tmp_path / "run", whole)


def test_without_its_rows_a_run_that_had_not_read_all_of_them_says_how_to_give_them(stand_in, tmp_path):
    def broken():
        yield from questions(5)
        raise ValueError("the source is gone")

    with pytest.raises(ValueError, match="the source is gone"):
        QAS.run(broken(), tmp_path / "run")
    with pytest.raises(InputError, match=r"had not read its whole input.*resume"):
        QAS.run(None, resume=tmp_path / "run")
    assert QAS.run(iter(questions(9)), resume=tmp_path / "run").rows_out == 9


def test_parameters_that_were_no_texts_are_not_taken_for_texts(stand_in, tmp_path):
    def add(number: Number) -> Number:
        return Number(value=number.value + context().params["by"])

    def broken():
        yield {"value": 1}
        raise ValueError("gone")

    of = Chain(name="c", steps=[apply(add)], chunk_size=1)
    with pytest.raises(ValueError, match="gone"):
        of.run(broken(), tmp_path / "run", params={"by": 3})
    with pytest.raises(ChainError, match="params"):
        of.run([{"value": 1}, {"value": 2}], resume=tmp_path / "run")
    result = of.run([{"value": 1}, {"value": 2}], resume=tmp_path / "run", params={"by": 3})
    assert [n.value for n in result.outputs] == [4, 5]


def test_force_takes_the_changed_chain_and_the_calls_that_still_fit(stand_in, tmp_path):
    chain().run(items(ROWS), tmp_path / "run", chunk_size=3)
    old = len(calls(tmp_path / "run"))
    changed = chain(system_prompt="Be brief.")
    changed.run(items(ROWS), resume=tmp_path / "run", force=True)
    whole = changed.run(items(ROWS), tmp_path / "whole", chunk_size=3).folder
    assert derived(tmp_path / "run") == derived(whole)
    taken = {node for node, _ in reused(tmp_path / "run")}
    assert taken >= {"marks", "aside"}
    assert "note" not in taken
    made = len(calls(tmp_path / "run")) - old
    assert made < len(calls(whole))
    assert changed.run(items(ROWS), resume=tmp_path / "run").nothing_to_do


def test_a_forced_run_that_is_cut_off_goes_on_without_force(stand_in, tmp_path):
    chain().run(items(ROWS), tmp_path / "run", chunk_size=3)
    changed = chain(system_prompt="Be brief.")
    for force in (True, False):
        stand_in(die_after=6)
        with pytest.raises(EngineDiedError):
            changed.run(items(ROWS), resume=tmp_path / "run", force=force)
    stand_in()
    changed.run(items(ROWS), resume=tmp_path / "run")
    whole = changed.run(items(ROWS), tmp_path / "whole", chunk_size=3).folder
    assert derived(tmp_path / "run") == derived(whole)


def test_a_forced_run_uses_each_old_call_once_however_often_it_is_cut_off(stand_in, tmp_path):
    def rows(first, count, breaks=False):
        yield from ({"text": "twin", "key": str(n)} for n in range(first, first + count))
        if breaks:
            raise ValueError("gone")

    of = Chain(name="c", steps=[QA], chunk_size=1)
    longer = Chain(name="c", steps=[QA, apply(same)], chunk_size=1)
    stand_in(answers={"twin": {"answer": "old"}})
    of.run(rows(10, 3), tmp_path / "run", id_field="key")
    stand_in(answers={"twin": {"answer": "new"}})
    for seen in (1, 2):
        with pytest.raises(ValueError, match="gone"):
            longer.run(rows(20, seen, breaks=True), resume=tmp_path / "run", force=seen == 1)
    result = longer.run(rows(20, 5), resume=tmp_path / "run")
    assert [answer.answer for answer in result.outputs] == ["old"] * 3 + ["new"] * 2


def test_a_run_may_be_forced_again_and_reused_afterwards(stand_in, tmp_path):
    QAS.run(questions(6), tmp_path / "run")
    twice = [Chain(name="c", steps=[QA, apply(other, id="check")]), Chain(name="c", steps=[QA])]
    stand_in(die_after=0)
    for changed in twice:
        assert changed.run(questions(6), resume=tmp_path / "run", force=True).rows_out == 6
    assert QAS.run(questions(6), tmp_path / "new", reuse=tmp_path / "run").rows_out == 6


def test_force_keeps_the_only_copy_of_rows_that_are_not_given_again(stand_in, tmp_path):
    QAS.run(iter(questions(7)), tmp_path / "run", max_lines_per_file=3)
    before = {name: data for name, data in derived(tmp_path / "run").items() if name.startswith("inputs/")}
    changed = Chain(name="c", steps=[QA, apply(other, id="check")])
    assert changed.run(None, resume=tmp_path / "run", force=True).rows_out == 7
    assert {k: v for k, v in derived(tmp_path / "run").items() if k.startswith("inputs/")} == before


def test_a_run_that_another_process_writes_is_left_alone(cut_off):
    run = cut_off(5, questions(12), QAS)
    holder = RunFolder.reopen(run, "held")
    try:
        with pytest.raises(RunFolderError, match=f"is being written by process {os.getpid()}"):
            QAS.run(questions(12), resume=run)
    finally:
        holder.close(seal=False)
    assert QAS.run(questions(12), resume=run).state == "done"


def test_a_folder_whose_run_never_began_says_to_run_it_again(cut_off):
    run = cut_off(5, questions(12), QAS)
    (run / "graph.json").unlink()
    with pytest.raises(RunFolderError, match=r"no graph\.json.*`run` command again"):
        QAS.run(questions(12), resume=run)


def test_a_run_folder_may_be_moved_before_it_is_taken_up(cut_off, tmp_path):
    run = cut_off(5, questions(12), QAS)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(run, tmp_path / "elsewhere" / "moved")
    QAS.run(questions(12), resume=moved)
    assert_same(moved, QAS.run(questions(12), tmp_path / "whole").folder)


def test_a_resumed_run_ends_on_rows_that_were_never_read_before(cut_off, tmp_path):
    run = cut_off(0, questions(5), QAS)
    assert QAS.run(questions(5), resume=run).rows_in == 5
    assert lines(run / "events.jsonl")[-1]["state"] == "done"


def test_the_retries_of_a_row_go_on_where_they_were(stand_in, tmp_path):
    """The first answer was refused and is in the log; the second is asked for after the resume."""
    of = Chain(name="c", steps=[note_step()])
    faults = [{"kind": "mismatch", "containing": "note x", "attempts": 1}]
    stand_in(faults=faults, die_after=1)
    with pytest.raises(EngineDiedError):
        of.run([{"text": "x"}], tmp_path / "run")
    stand_in(answers={"note x": {"note": "second"}}, faults=[])
    result = of.run([{"text": "x"}], resume=tmp_path / "run")
    assert [row.note for row in result.outputs] == ["second"]
    assert sorted(calls(tmp_path / "run")) == [("note", "0", 1), ("note", "0", 2)]


def test_bad_input_rows_that_are_allowed_stay_failures(cut_off, tmp_path):
    rows = [{"text": f"q{n}."} if n % 4 else {"text": n} for n in range(12)]
    run = cut_off(3, rows, QAS, max_failed="50%")
    result = QAS.run(rows, resume=run)
    assert {(f.node_id, f.row_id) for f in result.failed} == {("chain_input", str(n)) for n in (0, 4, 8)}
    assert_same(run, QAS.run(rows, tmp_path / "whole", max_failed="50%").folder)
