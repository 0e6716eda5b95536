"""OpenAI batch files: a step's calls out of a run, and requests as the input of one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chainette import Chain, EngineDiedError, SamplingParams, Step, apply, while_loop
from chainette.errors import InputError, RunFolderError
from chainette.files.inputs import open_input
from chainette.files.reading import RunReader
from chainette.reports.openai_batch import Requests, Results, step_of
from tests.reports.small_runs import ANSWERS, FACTS, JUDGE, Facts, Text, engine, two_steps


class Message(BaseModel):
    role: str
    content: str


class Request(BaseModel):
    messages: list[Message]


AGAIN = Step(
    id="again",
    input_model=Request,
    output_model=Facts,
    engine_name="stand_in",
    system_prompt="{{ messages[0].content }}",
    user_prompt="{{ messages[1].content }}",
    output_format_instruction="",
)


def written(source: Requests | Results) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stream = io.BytesIO()
    said = source.write(stream)
    return [json.loads(line) for line in stream.getvalue().splitlines()], said


def requests(reader: RunReader, step: str, model: str = "m") -> list[dict[str, Any]]:
    found, said = written(Requests(reader, step_of(reader, step), model))
    assert (said["rows"], said["unconfirmed"], said["left_out"]) == (len(found), 0, 0)
    return found


def results(reader: RunReader, step: str) -> dict[str, dict[str, Any]]:
    found, _ = written(Results(reader, step_of(reader, step)))
    by_id = {line["custom_id"]: line for line in found}
    assert len(by_id) == len(found)
    return by_id


def batch(path: Path, *ids: str, **body: Any) -> Path:
    said = [
        {"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", **body}} for id in ids
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in said), encoding="utf-8")
    return path


def test_requests_are_the_prompts_as_they_were_sent(tmp_path):
    first, second = requests(two_steps(tmp_path / "run"), "judge")
    assert first["custom_id"] == "0"
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")
    assert first["body"]["messages"] == [{"role": "user", "content": "lamp (a lamp), light, é"}]
    assert first["body"]["response_format"]["json_schema"]["name"] == "Verdict"
    assert second["body"]["messages"][0]["content"] == "=1+1 (a chair), "


def test_requests_that_were_written_and_run_again_ask_the_same(tmp_path):
    asked = requests(two_steps(tmp_path / "run", id_field=None), "facts")
    path = tmp_path / "batch.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in asked), encoding="utf-8")
    engine(answers=ANSWERS)
    Chain(name="Again", steps=[AGAIN]).run(path, tmp_path / "again")
    again = RunReader(tmp_path / "again")
    assert requests(again, "again") == asked
    assert [row["product"] for row in again.rows("again")] == ["lamp", "=1+1"]


def test_requests_carry_the_sampling_in_openai_s_words_and_say_what_it_refuses(tmp_path):
    engine(answers=ANSWERS)
    sampling = SamplingParams(temperature=0.5, max_tokens=50, top_k=3, n=2)
    Chain(name="Sampled", steps=[FACTS.with_(sampling=sampling)]).run([Text(text="a lamp")], tmp_path / "run")
    reader = RunReader(tmp_path / "run")
    (line,), said = written(Requests(reader, step_of(reader, None), "gpt-x"))
    assert line["body"]["model"] == "gpt-x"
    assert (line["body"]["temperature"], line["body"]["max_completion_tokens"], line["body"]["n"]) == (0.5, 50, 2)
    assert "top_k" not in line["body"]
    assert "stream" not in line["body"]
    assert any("top_k" in note for note in said["notes"])
    assert said["unconfirmed"] == 0


def test_children_and_their_parents_fields_are_in_the_prompts_in_input_order(tmp_path):
    def words(row: Text) -> list[Facts]:
        return [Facts(product=word) for word in row.text.split()]

    engine()
    rows = [Text(text=" ".join(f"w{n}-{k}" for k in range(n % 4))) for n in range(30)]
    Chain(name="Words", steps=[apply(words), JUDGE]).run(rows, tmp_path / "run", chunk_size=4)
    asked = requests(RunReader(tmp_path / "run"), "judge")
    assert [(line["custom_id"], line["body"]["messages"][0]["content"]) for line in asked] == [
        (f"{n}.{k}", f"w{n}-{k} ({rows[n].text}), ") for n in range(30) for k in range(n % 4)
    ]


def test_a_shuffle_over_all_rows_does_not_mix_up_the_prompts(tmp_path):
    def turned(rows: list[Text]) -> list[Text]:
        return rows[::-1]

    engine()
    rows = [Text(text=f"t{n}") for n in range(10)]
    Chain(name="Turned", steps=[apply(turned, scope="run"), FACTS]).run(rows, tmp_path / "run", chunk_size=3)
    asked = requests(RunReader(tmp_path / "run"), "facts")
    assert [(line["custom_id"], line["body"]["messages"][1]["content"]) for line in asked] == [
        (str(n), f"About: t{n}") for n in range(10)
    ]


def test_in_a_loop_each_turn_is_a_request_of_its_own(tmp_path):
    engine()
    step = FACTS.with_(id="look", input_model=Text, user_prompt="{{ text }}, turn {{ turn }}")
    loop = while_loop([step], until=lambda row, context: context.turn == 2, max_iterations=3, id="loop", feed="input")
    Chain(name="Turns", steps=[loop]).run([Text(text="a")], tmp_path / "run")
    reader = RunReader(tmp_path / "run")
    assert [line["custom_id"] for line in requests(reader, "look")] == ["0@1", "0@2"]
    assert results(reader, "look").keys() == {"0@1", "0@2"}


def test_results_hold_what_was_answered_and_why_the_others_failed(tmp_path):
    engine(
        answers={**ANSWERS, "About: junk": "junk"},
        faults=[{"kind": "mismatch", "containing": "About: a chair", "attempts": 1}],
    )
    rows = [Text(text="a lamp"), Text(text="junk"), Text(text="a chair")]
    Chain(name="Some", steps=[FACTS.with_(retries=1)]).run(rows, tmp_path / "run", max_failed=1)
    found = results(RunReader(tmp_path / "run"), "facts")
    body = found["0"]["response"]["body"]
    assert (found["0"]["response"]["status_code"], found["0"]["error"]) == (200, None)
    assert json.loads(body["choices"][0]["message"]["content"])["product"] == "lamp"
    assert body["object"] == "chat.completion"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"] > 0
    assert (found["1"]["response"], found["1"]["error"]["code"]) == (None, "schema")
    assert json.loads(found["2"]["response"]["body"]["choices"][0]["message"]["content"])["product"] == "=1+1"


def test_results_of_several_samples_are_the_choices_of_one_answer(tmp_path):
    engine(answers=ANSWERS)
    Chain(name="Three", steps=[FACTS.with_(n=3)]).run([Text(text="a lamp")], tmp_path / "run")
    (line,) = results(RunReader(tmp_path / "run"), "facts").values()
    assert [choice["index"] for choice in line["response"]["body"]["choices"]] == [0, 1, 2]


def test_a_run_without_a_model_s_name_asks_for_one(tmp_path):
    reader = two_steps(tmp_path / "run")
    with pytest.raises(RunFolderError, match="--model NAME"):
        Requests(reader, step_of(reader, "judge"))
    with pytest.raises(RunFolderError, match="facts, judge; --step ID"):
        step_of(reader, None)
    with pytest.raises(RunFolderError, match='did you mean "judge"'):
        step_of(reader, "juge")


def test_the_rows_of_a_batch_file_are_called_by_their_custom_ids(tmp_path):
    path = batch(tmp_path / "in.jsonl", "r-1", "r-2", messages=[{"role": "user", "content": "a"}] * 2)
    engine()
    result = Chain(name="Batch", steps=[AGAIN]).run(path, tmp_path / "run")
    assert result.outputs.ids == ["r-1", "r-2"]
    assert RunReader(tmp_path / "run").graph()["options"]["id_field"] == "custom_id"


def test_a_custom_id_that_comes_twice_is_told_with_its_line(tmp_path):
    engine()
    path = batch(tmp_path / "in.jsonl", "a", "b", "a", messages=[{"role": "user", "content": "x"}] * 2)
    with pytest.raises(InputError, match=r"in\.jsonl:3: the id 'a' .* was taken"):
        Chain(name="Batch", steps=[AGAIN]).run(path, tmp_path / "run")


def test_a_batch_that_was_cut_off_goes_on_with_its_own_ids(tmp_path):
    ids = [f"r-{n}" for n in range(12)]
    path = batch(tmp_path / "in.jsonl", *ids, messages=[{"role": "user", "content": "x"}] * 2)
    engine(die_after=5)
    chain = Chain(name="Batch", steps=[AGAIN], chunk_size=2)
    with pytest.raises(EngineDiedError):
        chain.run(path, tmp_path / "run")
    engine()
    assert chain.run(path, resume=tmp_path / "run").outputs.ids == ids


def test_an_id_field_that_is_named_comes_before_the_custom_id(tmp_path):
    path = batch(tmp_path / "in.jsonl", "a", messages=[{"role": "user", "content": "x"}] * 2, user="u7")
    engine()
    result = Chain(name="Batch", steps=[AGAIN]).run(path, tmp_path / "run", id_field="user")
    assert result.outputs.ids == ["u7"]


def test_only_a_file_of_requests_says_its_ids(tmp_path):
    plain = tmp_path / "a.jsonl"
    plain.write_text('{"custom_id": "a", "body": {}}\n')
    assert open_input(plain).id_field is None
    assert open_input(batch(tmp_path / "b.jsonl", "a")).id_field == "custom_id"
    assert open_input(tmp_path / "b.jsonl", columns=["model"]).id_field is None
