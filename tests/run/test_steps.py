"""LLM steps against the stand-in: validation, retries, failures, samples, streams."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from chainette import Branch, Chain, ChainError, InputError, SamplingParams, apply
from tests.models import Answer, Question, Summary, Translation, step


def questions(count):
    return [Question(text=f"q{i}.") for i in range(count)]


def answers(count):
    return {f"q{i}.": {"answer": f"a{i}", "confidence": i / 100} for i in range(count)}


QA = step("qa", Question, Answer, output_format_instruction="")


def test_answers_come_back_as_models_in_input_order(engine):
    engine(answers=answers(30), service_mean_s=0.002, service_sigma=1.0)
    result = Chain(name="c", steps=[QA]).run(questions(30), chunk_size=4)
    assert [row.answer for row in result.outputs] == [f"a{i}" for i in range(30)]
    assert result.outputs[3] == Answer(answer="a3", confidence=0.03)


def test_an_invalid_answer_is_asked_for_again(engine):
    engine(answers=answers(3), faults=[{"kind": "mismatch", "attempts": 2, "containing": "q1."}])
    result = Chain(name="c", steps=[QA]).run(questions(3))
    assert [row.answer for row in result.outputs] == ["a0", "a1", "a2"]
    assert result.stats["nodes"]["qa"]["retried"] == 2


@pytest.mark.parametrize(("fault", "kind"), [("nonsense", "schema"), ("mismatch", "schema"), ("truncate", "truncated")])
def test_an_answer_that_stays_wrong_becomes_a_failure_with_its_text(engine, fault, kind):
    engine(answers=answers(3), faults=[{"kind": fault, "containing": "q1."}])
    result = Chain(name="c", steps=[QA.with_(retries=1)]).run(questions(3))
    assert [row.answer for row in result.outputs] == ["a0", "a2"]
    (failure,) = result.failed
    assert (failure.row_id, failure.kind, failure.attempts) == ("1", kind, 2)
    assert failure.raw


def test_a_refused_call_is_a_failure_of_its_own_kind(engine):
    engine(answers=answers(2), faults=[{"kind": "filter", "containing": "q1."}])
    assert Chain(name="c", steps=[QA]).run(questions(2)).failed[0].kind == "refused"


def test_two_steps_that_share_sampling_keep_their_own_schemas(engine):
    engine()
    shared = SamplingParams(temperature=0.0)
    first = step("first", Question, Translation, sampling=shared)
    second = step("second", Translation, Summary, "{{ translated }}", sampling=shared)
    result = Chain(name="c", steps=[first, second]).run(questions(2))
    assert isinstance(result.steps["first"][0], Translation)
    assert isinstance(result.steps["second"][0], Summary)


def test_samples_become_children(engine):
    engine(answers=answers(2))
    result = Chain(name="c", steps=[QA.with_(n=3)]).run(questions(2))
    assert result.outputs.ids == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]


def test_reasoning_is_kept_apart_and_later_templates_reach_it(engine):
    engine(reasoning="because", answers={"why: because": {"summary": "seen"}, **answers(1)})
    final = step("s", Answer, Summary, "why: {{ qa_reasoning }}")
    result = Chain(name="c", steps=[QA, final]).run(questions(1))
    assert result.outputs[0].summary == "seen"


def test_a_step_that_is_not_written_is_still_visible_to_templates(engine):
    engine(answers={"got a0": {"summary": "yes"}, **answers(1)})
    chain = Chain(name="c", steps=[QA.with_(yield_output=False), step("s", Answer, Summary, "got {{ qa.answer }}")])
    result = chain.run(questions(1))
    assert result.outputs[0].summary == "yes"
    assert "qa" not in result.steps
    assert not (result.folder / "steps" / "qa").exists()


def test_a_row_that_takes_too_long_fails_and_delays_nobody(engine):
    engine(answers=answers(5), faults=[{"kind": "hang", "containing": "q2."}])
    result = Chain(name="c", steps=[QA.with_(timeout_s=0.3)]).run(questions(5))
    assert [row.answer for row in result.outputs] == ["a0", "a1", "a3", "a4"]
    assert result.failed[0].kind == "timeout"


def test_everything_wrong_is_said_before_an_engine_starts(engine):
    engine(answers=answers(1))
    wrong = step("s", Translation, Summary, "{{ nope }}", engine_name="nobody")
    with pytest.raises(ChainError) as error:
        Chain(name="c", steps=[QA, wrong, QA]).run(questions(1))
    text = str(error.value)
    for part in ("takes Translation", 'no name "nope"', 'engine "nobody"', "a second node"):
        assert part in text
    assert not Path("runs").exists()


def test_an_unknown_engine_without_any_configured_says_what_to_do():
    with pytest.raises(ChainError, match="chainette init"):
        Chain(name="c", steps=[QA.with_(engine_name="llama3")]).run(questions(1))


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ChainError, match='did you mean "max_failed"'):
        Chain(name="c", steps=[QA]).run(questions(1), max_faild=3)


def test_a_row_that_does_not_fit_stops_before_anything_is_written(engine, tmp_path):
    engine(answers=answers(1))
    with pytest.raises(InputError, match="text"):
        Chain(name="c", steps=[QA]).run([{"text": "q0."}, {"txt": "x"}], output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_with_max_failed_a_row_that_does_not_fit_is_a_failed_row(engine):
    engine(answers=answers(3))
    result = Chain(name="c", steps=[QA]).run([{"text": "q0."}, {"txt": "x"}, {"text": "q2."}], max_failed=1)
    assert result.outputs.ids == ["0", "2"]
    assert (result.failed[0].row_id, result.failed[0].kind) == ("1", "input")
    assert result.allowed_failed


def test_too_many_failures_stop_the_run(engine):
    engine(faults=[{"kind": "nonsense"}])
    result = Chain(name="c", steps=[QA.with_(retries=0)]).run(questions(2000), max_failed=5, chunk_size=10)
    assert result.state == "stopped"
    assert result.rows_in < 2000


def test_a_run_inside_an_event_loop_works_from_a_notebook_too(engine):
    engine(answers=answers(2))

    async def notebook():
        return Chain(name="c", steps=[QA]).run(questions(2))

    assert len(anyio.run(notebook).outputs) == 2


def test_arun_and_stream_give_the_models(engine):
    engine(answers=answers(20), service_mean_s=0.001, service_sigma=1.0)
    chain = Chain(name="c", steps=[QA])

    async def main():
        whole = await chain.arun(questions(20))
        in_order = [row.answer async for row in chain.stream(questions(20), chunk_size=3)]
        pairs = {id: row.answer async for id, row in chain.stream(questions(20), as_completed=True, with_ids=True)}
        return whole, in_order, pairs

    whole, in_order, pairs = anyio.run(main)
    assert [row.answer for row in whole.outputs] == in_order == [f"a{i}" for i in range(20)]
    assert pairs == {str(i): f"a{i}" for i in range(20)}


def test_leaving_a_stream_leaves_valid_files(engine, tmp_path):
    engine(answers=answers(500), service_mean_s=0.002)
    chain = Chain(name="c", steps=[QA])

    async def main():
        async with chain.stream(questions(500), output_dir=tmp_path / "run", chunk_size=5) as rows:
            async for row in rows:
                assert row.answer == "a0"
                break

    anyio.run(main)
    lines = (tmp_path / "run/steps/qa/000.jsonl").read_text().splitlines()
    assert 0 < len(lines) < 500
    assert all(line.endswith("}") for line in lines)
    assert '"state": "stopped"' in (tmp_path / "run/status.json").read_text()


def test_a_stream_that_fails_raises_in_the_loop():
    async def main():
        async for _ in Chain(name="c", steps=[QA.with_(engine_name="nobody")]).stream(questions(1)):
            pass

    with pytest.raises(ChainError):
        anyio.run(main)


def files_of(folder):
    kept = ("steps", "flattened", "failed", "inputs")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in kept
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
def test_files_are_the_same_bytes_for_every_chunk_size_and_order_of_ends(engine, chunk_size, tmp_path):
    def repeat(a: Answer) -> list[Answer]:
        return [a] * (int(a.answer[1:]) % 3)

    def few(items: list[Answer]) -> list[Answer]:
        return [a for a in items if a.answer != "a7"]

    faults = [{"kind": "nonsense", "containing": "q5."}, {"kind": "truncate", "containing": "q11."}]
    branch = Branch(name="b", steps=[step("t", Answer, Translation, "{{ answer }}")]).join("b")
    chain = Chain(name="c", steps=[QA, [branch], apply(few), apply(repeat)])

    def run(slots, size, folder):
        engine(answers=answers(40), faults=faults, service_mean_s=0.001, service_sigma=1.5, slots=slots)
        return files_of(chain.run(questions(40), chunk_size=size, output_dir=tmp_path / folder).folder)

    assert run(1, 7, "a") == run(16, chunk_size, "b")


def test_half_a_surrogate_pair_in_a_prompt_fails_its_row_only(engine):
    engine(answers=answers(2))
    rows = [Question(text="q0."), Question.model_construct(text="\ud800"), Question(text="q1.")]
    result = Chain(name="c", steps=[QA]).run(rows)
    assert [row.answer for row in result.outputs] == ["a0", "a1"]
    assert [f.row_id for f in result.failed] == ["1"]
