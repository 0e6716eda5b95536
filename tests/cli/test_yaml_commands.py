"""Chain files at the command line: run, inspect, resume, and written from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette.graph import build
from chainette.run import load_chain
from tests.cli.conftest import Project

CHAIN = """
name: Small
models:
  Facts: {product: str, rating: int}
steps:
  - id: facts
    input_model: {text: str}
    output_model: Facts
    user_prompt: "{{ text }}"
    engine_name: stand_in
  - apply: beside:kept
"""
BESIDE = """
def kept(facts):
    return facts
"""


@pytest.fixture
def yml(project: Project) -> Project:
    """The project with a chain file and a module beside it in a folder of their own."""
    folder = project.folder / "chains"
    folder.mkdir()
    (folder / "small.yml").write_text(CHAIN, encoding="utf-8")
    (folder / "beside.py").write_text(BESIDE, encoding="utf-8")
    return project


def rows(folder: Path) -> list[str]:
    return sorted(folder.glob("steps/*/*.jsonl"))[0].read_text(encoding="utf-8").splitlines()


def test_a_chain_file_runs_resumes_and_is_retried(yml: Project) -> None:
    yml.call("run", "chains/small.yml", "-i", "in.jsonl", "-o", "out", "-q")
    assert yml.exit_code == 0, yml.err
    assert len(rows(yml.folder / "out")) == 5
    yml.call("resume", "out", "-q")
    assert yml.exit_code == 0, yml.err
    yml.call("retry", "out", "-q")
    assert yml.exit_code == 0, yml.err


def test_a_chain_file_is_inspected(yml: Project) -> None:
    out = yml.call("inspect", "chains/small.yml")
    assert yml.exit_code == 0, out
    assert "types     FactsInput -> Facts" in out
    assert "next: chainette run chains/small.yml -i INPUT" in out
    assert "├" not in yml.call("inspect-dag", "chains/small.yml")


def test_what_is_wrong_with_a_chain_file_is_told_with_its_line(yml: Project) -> None:
    file = yml.folder / "chains" / "small.yml"
    file.write_text(CHAIN.replace("user_prompt", "user_promt").replace(":kept", ":kep"), encoding="utf-8")
    yml.call("run", "chains/small.yml", "-i", "in.jsonl")
    assert yml.exit_code == 2
    assert "chains/small.yml:9 steps[0].user_promt" in yml.err
    assert 'did you mean "user_prompt"?' in yml.err
    assert "chains/small.yml:11 steps[1].apply" in yml.err


def test_engines_of_the_file_come_before_those_of_engines_yml(yml: Project) -> None:
    engines = "engines: [{name: stand_in, backend: scripted, max_concurrency: 3}, {name: own, backend: scripted}]\n"
    (yml.folder / "chains" / "small.yml").write_text(engines + CHAIN, encoding="utf-8")
    used = json.loads(yml.call("inspect", "chains/small.yml", "--json"))["engines"]
    assert [engine["max_concurrency"] for engine in used] == [3]
    named = json.loads(yml.call("inspect", "chains/small.yml", "--json", "-f", "engines.yml"))["engines"]
    assert "max_concurrency" not in named[0]


def test_the_only_engine_of_the_file_is_that_of_steps_that_name_none(yml: Project) -> None:
    chain = CHAIN.replace("    engine_name: stand_in\n", "")
    (yml.folder / "engines.yml").write_text("engines: [{name: a, backend: scripted}, {name: b, backend: scripted}]")
    (yml.folder / "chains" / "small.yml").write_text("engines: [b]\n" + chain, encoding="utf-8")
    report = json.loads(yml.call("inspect", "chains/small.yml", "--json"))
    assert report["nodes"][0]["engine"] == "b"


def test_an_engine_that_the_file_names_and_nobody_has_is_told(yml: Project) -> None:
    (yml.folder / "chains" / "small.yml").write_text("engines: [stand_im]\n" + CHAIN, encoding="utf-8")
    out = yml.call("inspect", "chains/small.yml")
    assert yml.exit_code == 2
    assert 'did you mean "stand_in"?' in out


def test_a_python_chain_is_written_as_a_file_that_makes_the_same_graph(project: Project) -> None:
    text = project.call("inspect-dag", "small.py:chain", "--format", "yaml")
    assert project.exit_code == 0, project.err
    (project.folder / "written.yml").write_text(text, encoding="utf-8")
    chains = [load_chain("small.py:chain"), load_chain("written.yml")]
    assert len({build(chain)[0].signature for chain in chains}) == 1
    project.call("run", "written.yml", "-i", "in.jsonl", "-o", "out", "-q")
    assert project.exit_code == 0, project.err


def test_a_chain_that_cannot_be_written_says_which_node_and_why(project: Project) -> None:
    with (project.folder / "small.py").open("a", encoding="utf-8") as file:
        file.write("\nquick = Chain(name='Quick', steps=[apply(lambda row: row, id='same')])\n")
    out = project.call("inspect-dag", "small.py:quick", "--format", "yaml")
    assert (project.exit_code, out) == (2, "")
    assert 'apply "same"' in project.err
    assert "def it at the top of a module" in project.err


def test_the_schema_for_editors_is_printed_or_written(project: Project) -> None:
    printed = json.loads(project.call("schema"))
    assert printed["required"] == ["name", "steps"]
    project.call("schema", "-o", "chain.schema.json")
    assert json.loads((project.folder / "chain.schema.json").read_text(encoding="utf-8")) == printed
