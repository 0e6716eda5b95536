"""chainette why: was a call made or reused, where did a row stop, and what differs from another run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Project

MORE = """
from pydantic import BaseModel
from chainette import Chain, Step, apply

class Text(BaseModel):
    text: str

class Said(BaseModel):
    said: str

def words(row: Text) -> list[Text]:
    return [Text(text=word) for word in row.text.split()]

def short(row: Text) -> Text | None:
    return row if len(row.text) < LIMIT else None

ask = Step(id="ask", input_model=Text, output_model=Said, engine_name="stand_in", retries=1,
           user_prompt="PROMPT{{ text }}")
chain = Chain(name="Words", steps=[apply(words), apply(short), ask])
"""
FAULTY = """
engines:
- name: stand_in
  backend: scripted
  script: {faults: [{kind: nonsense, attempts: 1, containing: two}, {kind: mismatch, containing: three}]}
"""


def why(project: Project, *args: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(project.call("why", *args, "--json"))
    return told


def run(project: Project, name: str, text: str, rows: list[str], *options: str) -> None:
    (project.folder / f"{name}.py").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    (project.folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    project.call("run", f"{name}.py:chain", "-i", f"{name}.jsonl", "-o", f"runs/{name}", "-q", *options)


def words(limit: int = 5, prompt: str = "") -> str:
    return MORE.replace("LIMIT", str(limit)).replace("PROMPT", prompt)


def small(project: Project, old: str = "", new: str = "") -> str:
    return (project.folder / "small.py").read_text("utf-8").replace(old, new)


TEXTS = ["one", "odd", "two", "bad", "three [b]"]


def test_a_call_that_was_made_is_told_with_its_time_and_tokens(finished_run: Project) -> None:
    out = finished_run.call("why", "done", "facts", "2")
    assert finished_run.exit_code == 0
    assert out.splitlines()[:2] == ['row 2  step "facts" of done', "made: 1 call"]
    assert "attempt 1, 20" in out
    assert " tokens  taken" in out
    assert "next: chainette why done facts 2 --against RUN" in out
    (call,) = why(finished_run, "done", "facts", "2")["calls"]
    assert (call["_id"], call["attempt"], call["reused"], call["wrong"]) == ("2", 1, None, None)


def test_a_call_that_was_reused_is_told_with_the_run_and_row_it_is_from(finished_run: Project) -> None:
    run(finished_run, "later", small(finished_run), ["new", *TEXTS], "--reuse", "done")
    out = finished_run.call("why", "later", "facts", "3")
    assert "reused: 1 call from row 2 of done" in out
    assert "the same key: it was reused" in out, "the run that was reused is compared with"
    assert why(finished_run, "later", "facts", "3")["calls"][0]["reused"] == {"run": "done", "_id": "2"}
    assert "made: 1 call" in finished_run.call("why", "later", "facts", "0")


def test_an_edit_of_an_earlier_step_is_seen_as_another_input_of_a_later_one(finished_run: Project) -> None:
    run(finished_run, "later", small(finished_run, "In French", "In good French"), TEXTS, "--reuse", "done")
    assert "the same key: it was reused" in finished_run.call("why", "later", "facts", "1")
    assert "the key differs: prompt" in finished_run.call("why", "later", "french", "1")
    assert "the key differs: input\n  fr.verdict  " in finished_run.call("why", "later", "last", "1")


def test_attempts_are_told_with_what_was_wrong_with_each(project: Project) -> None:
    (project.folder / "engines.yml").write_text(FAULTY, encoding="utf-8")
    run(project, "faulty", words(), ["one two", "three"], "--max-failed", "5")
    out = project.call("why", "faulty", "ask", "0.1")
    assert "made: 2 calls" in out
    assert "not taken, schema" in out
    assert out.rstrip().splitlines()[-2].endswith("taken")


def test_a_failed_row_is_told_with_kind_and_message(project: Project) -> None:
    (project.folder / "engines.yml").write_text(FAULTY, encoding="utf-8")
    run(project, "faulty", words(limit=9), ["one two", "three"], "--max-failed", "5")
    told = why(project, "faulty", "ask", "1")
    assert [call["attempt"] for call in told["calls"]] == [1, 2]
    assert told["failures"][0]["kind"] == "schema"
    assert told["calls"][1]["wrong"] == f"schema: {told['failures'][0]['message']}"
    assert "failed, schema" in project.call("why", "faulty", "ask", "1")


def test_a_row_with_several_children_is_told_call_by_call(project: Project) -> None:
    run(project, "first", words(), ["one two"])
    out = project.call("why", "first", "ask", "0")
    assert "row 0.0, attempt 1" in out
    assert "row 0.1, attempt 1" in out


def test_a_row_that_never_got_there_is_told_where_it_stopped(project: Project) -> None:
    run(project, "first", words(limit=4), ["one three"])
    assert why(project, "first", "ask", "0.1")["stopped"]["at"] == "short"
    assert "it never got here: it was dropped at short" in project.call("why", "first", "ask", "0.1")
    project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "runs/bad", "-q")
    out = project.call("why", "bad", "halves", "3")
    assert "it failed here: apply: ValueError: a bad [red]row[/red]" in out
    assert "it was dropped here" in project.call("why", "bad", "halves", "1")


def test_a_row_that_failed_before_the_step_is_told_why(project: Project) -> None:
    text = small(project, "chain = Chain", "late = Chain") + (
        'chain = Chain(name="L", steps=[apply(halves), facts.with_(user_prompt="{{ text }}")])\n'
    )
    run(project, "late", text, TEXTS, "--max-failed", "5")
    out = project.call("why", "late", "facts", "3")
    assert "it never got here: it failed at halves: apply: ValueError" in out


def test_the_same_call_in_another_run_would_be_reused(finished_run: Project) -> None:
    run(finished_run, "again", small(finished_run), TEXTS)
    out = finished_run.call("why", "again", "facts", "2", "--against", "done")
    assert "against  row 2 of done\nthe same key: it would be reused" in out
    told = why(finished_run, "again", "facts", "2", "--against", "done")["against"]
    assert (told["same"], told["parts"]) == (True, [])


def test_the_same_row_is_found_by_its_content_wherever_it_stands(finished_run: Project) -> None:
    run(finished_run, "shifted", small(finished_run), ["new", "odd", *TEXTS])
    told = why(finished_run, "shifted", "last", "4", "--against", "done")
    assert told["against"]["row"] == "2"
    assert told["against"]["same"]
    assert why(finished_run, "shifted", "last", "1", "--against", "done")["against"]["row"] == "1"


@pytest.mark.parametrize(
    ("old", "new", "step", "part", "words"),
    [
        ('system_prompt="In French."', 'system_prompt="In plain French."', "french", "prompt", "In {+plain +}French."),
        ('user_prompt="{{ text }}")', 'user_prompt="Say {{ text }}")', "facts", "prompt", "{+Say +}{{ text }}"),
        ("rating: int", "rating: float", "facts", "schema", "its schema changed"),
        ("import Branch,", "import SamplingParams as S, Branch,", "facts", "sampling", "temperature was not set and"),
    ],
)
def test_what_differs_in_the_key_is_named(
    finished_run: Project, old: str, new: str, step: str, part: str, words: str
) -> None:
    text = small(finished_run, old, new)
    if part == "sampling":
        text = text.replace('"facts", input', '"facts", sampling=S(temperature=0.5), input')
    run(finished_run, "edited", text, TEXTS)
    told = why(finished_run, "edited", step, "2", "--against", "done")["against"]
    assert told["parts"] == [part]
    assert not told["same"]
    out = finished_run.call("why", "edited", step, "2", "--against", "done")
    assert f"the key differs: {part}\n" in out
    assert words in out


def test_another_model_is_named_with_both_names(finished_run: Project) -> None:
    run(finished_run, "again", small(finished_run), TEXTS)
    graph = finished_run.folder / "runs/again/graph.json"
    document = json.loads(graph.read_bytes())
    document["engines"][0] |= {"model": "org/bigger"}
    graph.write_text(json.dumps(document), encoding="utf-8")
    log = finished_run.folder / "runs/again/calls/facts/000.jsonl"
    log.write_text(log.read_text("utf-8").replace('"key":"', '"key":"other-'), encoding="utf-8")
    out = finished_run.call("why", "again", "facts", "2", "--against", "done")
    assert "the key differs: model" in out
    assert 'engine "stand_in": model was "" and is "org/bigger"' in out


def test_another_input_is_told_by_the_values_that_the_templates_name(finished_run: Project) -> None:
    run(finished_run, "edited", small(finished_run, '"{{ text }}"', '"Say {{ text }}"'), TEXTS)
    told = why(finished_run, "edited", "french", "2", "--against", "done")["against"]
    assert told["parts"] == ["input"]
    assert [value["name"] for value in told["values"]] == ["product"]
    assert [message["role"] for message in told["prompt"]] == ["user"]
    out = finished_run.call("why", "edited", "french", "2", "--against", "done")
    assert "the key differs: input\n  product  " in out
    assert "as it was sent\n  user  " in out


def test_a_row_whose_content_changed_is_compared_with_the_one_in_its_place(finished_run: Project) -> None:
    run(finished_run, "edited", small(finished_run), ["first", "one", "odd", "TWO", *TEXTS[3:]])
    told = why(finished_run, "edited", "facts", "3", "--against", "done")["against"]
    assert (told["row"], told["parts"]) == ("2", ["input"])
    assert told["values"] == [{"name": "text", "before": "two", "after": "TWO"}]


def test_a_row_that_the_other_run_does_not_have_is_told(finished_run: Project) -> None:
    run(finished_run, "more", small(finished_run), [*TEXTS, "six"])
    out = finished_run.call("why", "more", "facts", "5", "--against", "done")
    assert "none of its input rows has the content or the id of row 5" in out


def test_a_step_that_the_other_run_does_not_have_is_told(finished_run: Project) -> None:
    finished_run.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "runs/plain", "-q")
    assert 'it has no step "facts"' in finished_run.call("why", "done", "facts", "0", "--against", "plain")


def test_a_function_is_compared_by_source_and_input(project: Project) -> None:
    run(project, "first", words(limit=5), ["one two"])
    run(project, "second", words(limit=6), ["one twos"])
    out = project.call("why", "second", "short", "0.1", "--against", "first")
    assert "made without a call: it is a function" in out
    assert "source and input changed" in out
    assert "text  two -> twos" in out
    same = project.call("why", "second", "short", "0.0", "--against", "first")
    assert "source changed" in same
    assert "the same function on the same input" in project.call("why", "second", "words", "0", "--against", "second")


def test_the_run_that_was_reused_is_compared_with_unless_another_is_named(finished_run: Project) -> None:
    run(finished_run, "again", small(finished_run), TEXTS)
    graph = finished_run.folder / "runs/again/graph.json"
    document = json.loads(graph.read_bytes())
    document["options"]["reuse"] = "runs/done"
    graph.write_text(json.dumps(document), encoding="utf-8")
    assert "against  row 0 of done" in finished_run.call("why", "again", "facts", "0")
    document["options"]["reuse"] = "runs/long-gone"
    graph.write_text(json.dumps(document), encoding="utf-8")
    assert "against" not in why(finished_run, "again", "facts", "0")


def test_a_row_whose_call_failed_in_the_other_run_would_be_asked_again(finished_run: Project) -> None:
    log = finished_run.folder / "runs/done/calls/facts/000.jsonl"
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    changed = [{**c, "error": {"kind": "http", "message": "503"}} if c["_id"] == "2" else c for c in lines]
    log.write_text("".join(json.dumps(c, separators=(",", ":")) + "\n" for c in changed), encoding="utf-8")
    run(finished_run, "again", small(finished_run), TEXTS)
    out = finished_run.call("why", "again", "facts", "2", "--against", "done")
    assert "a failed call is made again" in out


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("done", "frensh", "0"), 'did you mean "french"?'),
        (("done", "french", "77"), "known: 0, 1, 2, 3, 4"),
        (("dona", "french", "0", "--against", "done"), ""),
        (("done", "french", "0", "--against", "nowhere"), ""),
    ],
)
def test_an_unknown_run_step_or_row_is_exit_code_2_with_the_nearest(
    finished_run: Project, args: tuple[str, ...], hint: str
) -> None:
    finished_run.call("why", *args)
    assert finished_run.exit_code == 2
    assert hint in finished_run.err
