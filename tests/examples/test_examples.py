"""Every example runs with the command at the top of its file."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ["join/inc_dec_join.py"]
ON_THE_DEMO_MODEL = ["reviews.py", "qa.py", "product_struct_extract.py", "multi_doc_summary_eval.py"]
FORMS = ["reviews.py", "reviews_traced.py", "reviews.yml"]


def run(example, tmp_path, *more):
    text = (ROOT / "examples" / example).read_text(encoding="utf-8")
    command = re.search(r"^[\s#]*(chainette run .*)$", text, re.MULTILINE)
    assert command, f"{example} says no command"
    words = shlex.split(command[1])[1:]
    done = subprocess.run(
        [sys.executable, "-m", "chainette.cli", *words, "-o", str(tmp_path / "run"), "--quiet", *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "run" / "status.json").read_text())


def rows(tmp_path: Path, step: str) -> list[dict[str, Any]]:
    """What a step of the run wrote, without the ids."""
    lines = (tmp_path / "run" / "steps" / step / "000.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key[0] != "_"} for line in lines]


def calls(tmp_path: Path, step: str) -> list[dict[str, Any]]:
    lines = (tmp_path / "run" / "calls" / step / "000.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("example", QUICK)
def test_an_example_without_engine_runs(example, tmp_path):
    assert run(example, tmp_path)["rows_failed"] == 0


@pytest.mark.embedded
@pytest.mark.parametrize("example", ON_THE_DEMO_MODEL)
def test_an_example_runs_on_the_demo_model(example, tmp_path):
    status = run(example, tmp_path)
    assert (status["state"], status["rows_failed"]) == ("done", 0)
    assert status["rows_out"] > 0


def test_a_notice_is_written_and_reviewed_until_it_is_approved_and_published_once(tmp_path):
    assert run("refine_until_approved.py", tmp_path)["rows_failed"] == 0
    made = {step: [call["_id"] for call in calls(tmp_path, step)] for step in ("write", "review", "publish")}
    assert {step: ids.count("0") for step, ids in made.items()} == {"write": 3, "review": 3, "publish": 1}
    assert {step: ids.count("1") for step, ids in made.items()} == {"write": 1, "review": 1, "publish": 1}
    water, bicycles = (notice["text"] for notice in rows(tmp_path, "publish"))
    assert water == "Please note: no water on Tuesday from 9 to 12. Questions: Ms Okafor, ground floor. (Draft 3 of 3)"
    assert bicycles.endswith("(Draft 1 of 1)")


def test_a_fable_is_summed_up_page_by_page(tmp_path):
    assert run("rolling_summary.py", tmp_path)["rows_failed"] == 0
    hare, fox = rows(tmp_path, "digest")
    assert hare["summary"].endswith("and loses to the Tortoise's steady pace.")
    assert (hare["pages"], fox["pages"]) == (3, 2)
    assert fox["summary"] == "A Fox cannot reach ripe grapes on a vine, and calls them sour."


def test_tools_are_used_until_the_question_is_answered(tmp_path):
    assert run("tool_use.py", tmp_path)["rows_failed"] == 0
    answered = {work["question"]: work for work in rows(tmp_path, "loop")}
    assert answered["What is 7 * (5 + 3)?"]["answer"] == "56"
    bought = answered["What do three lamps and a kettle cost?"]
    assert bought["notes"][-1] == "3 * 19 + 35 = 92"
    assert bought["answer"] == "92 euros"
    assert answered["What is 1 / 0?"]["notes"] == ["1 / 0 cannot be calculated: division by zero"]


@pytest.mark.parametrize("harmful", ["__import__('os').getcwd()", "9 ** 9 ** 9", "'a' * 10", "(1).real", "1 +", ""])
def test_the_calculator_of_the_example_takes_arithmetic_only(harmful):
    from examples.tool_use import Choice, calculate

    assert "cannot be calculated" in calculate(Choice(tool="calculate", input=harmful)).note


@pytest.mark.embedded
def test_each_market_is_answered_in_its_language(tmp_path):
    assert run("route_by_language.py", tmp_path)["rows_failed"] == 0
    verdicts = [row["verdict"].split()[0] for row in rows(tmp_path, "switch")]
    assert verdicts == ["La", "El", "Customers", "Le", "La"]
    assert [len(rows(tmp_path, way)) for way in ("verdict_fr", "verdict_es", "plain_english")] == [2, 2, 1]


@pytest.mark.embedded
def test_five_samples_of_each_review_vote(tmp_path):
    assert run("sample_and_vote.py", tmp_path)["rows_failed"] == 0
    elected = rows(tmp_path, "vote")
    assert [row["sentiment"] for row in elected[:3]] == ["positive", "negative", "positive"]
    assert len(rows(tmp_path, "sample")) == sum(row["of"] for row in elected) == 25


@pytest.mark.embedded
def test_each_review_is_read_by_the_model_once(tmp_path):
    status = run("dedupe.py", tmp_path)
    assert (status["rows_in"], status["rows_out"], status["rows_failed"]) == (7, 4, 0)
    products = ["Petrella phone case", "Calesto violin", "Nordvik kettle", "Ostara toaster"]
    assert [row["product"] for row in rows(tmp_path, "extract")] == products
    assert len(calls(tmp_path, "extract")) == 4


@pytest.mark.embedded
def test_a_question_is_answered_from_the_reviews_that_were_found(tmp_path):
    status = run("rag.py", tmp_path)
    assert (status["rows_out"], status["rows_failed"]) == (4, 0)
    assert status["nodes"]["retrieve"]["dropped_why"] == {"no review speaks of it": 1}
    assert all("Solvang thermos" in review for review in rows(tmp_path, "retrieve")[1]["documents"])
    assert rows(tmp_path, "answer")[1]["summary"].startswith("Solvang thermos: two positive")


@pytest.mark.embedded
def test_the_reviews_demo_is_the_same_graph_with_the_same_outputs_in_all_three_forms(tmp_path):
    left = []
    for form in FORMS:
        folder = tmp_path / Path(form).name
        folder.mkdir()
        assert run(form, folder, "--limit", "5")["rows_failed"] == 0
        graph = json.loads((folder / "run" / "graph.json").read_text())
        flat = (folder / "run" / "flattened" / "000.jsonl").read_text(encoding="utf-8")
        left.append((graph["signature"], {node["id"]: node["signature"] for node in graph["nodes"]}, flat))
    listed, traced, yml = left
    assert listed == traced
    assert listed == yml


@pytest.mark.slow
def test_a_million_rows_run(tmp_path):
    status = run("runner/huge_batch_demo.py", tmp_path)
    assert (status["rows_in"], status["rows_out"]) == (1_000_000, 1_000_000)
