"""inspect, inspect-dag, runs, show, init, devices and the program itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chainette.cli.trouble import report
from chainette.errors import ChainError, EngineError, InputError, PlanError, RunFolderError, RunStoppedError
from chainette.graph import build
from chainette.prompts import compile_prompts
from chainette.reports.prompts import rendered
from chainette.reports.sight import Sight
from chainette.rows import Row
from chainette.run import load_chain
from tests.cli.conftest import Project


def test_inspect_shows_types_templates_and_engines_node_by_node(project: Project) -> None:
    out = project.call("inspect", "small.py:chain")
    assert project.exit_code == 0
    assert "types     Text -> Facts" in out
    assert "templates fr, product" in out
    assert "stand_in  scripted" in out
    assert "next: chainette run small.py:chain -i INPUT" in out


def test_inspect_tells_every_problem_with_the_nearest_name(project: Project) -> None:
    out = project.call("inspect", "small.py", "wrong")
    assert project.exit_code == 2
    assert 'did you mean "text"?' in out
    assert 'did you mean "product"?' in out
    assert 'did you mean "stand_in"?' in out
    assert "3 errors: a run would be refused" in out


def test_inspect_as_json_is_one_document_even_when_the_chain_cannot_be_loaded(project: Project) -> None:
    report = json.loads(project.call("inspect", "small.py:chain", "--json"))
    assert [node["id"] for node in report["nodes"]] == ["facts", "french", "join_fr", "last"]
    assert report["devices"]["cpu"]["cores"] >= 1
    assert report["ok"] is True
    assert json.loads(project.call("inspect", "nowhere.py:chain", "--json"))["ok"] is False
    assert project.exit_code == 2


def test_the_graph_is_drawn_as_a_tree(project: Project) -> None:
    out = project.call("inspect-dag", "small.py:chain")
    assert [line.split()[1] for line in out.splitlines() if "◆" in line] == ["facts", "◆", "last"]
    assert "├─ fr" in out


@pytest.mark.parametrize(("format", "begins"), [("mermaid", "---\ntitle"), ("dot", 'digraph "Small"'), ("json", "{")])
def test_the_graph_is_drawn_for_other_programs(project: Project, format: str, begins: str) -> None:
    assert project.call("inspect-dag", "small.py:chain", "--format", format).startswith(begins)


def test_the_graph_as_json_has_nodes_and_edges(project: Project) -> None:
    drawn = json.loads(project.call("inspect-dag", "small.py:chain", "--json"))
    assert {"from": "french", "to": "join_fr", "label": "fr"} in drawn["edges"]
    assert len(drawn["nodes"]) == 4


def test_a_graph_with_problems_is_drawn_and_is_exit_code_2(project: Project) -> None:
    assert "facts" in project.call("inspect-dag", "small.py:wrong")
    assert project.exit_code == 2
    assert "chainette inspect small.py:wrong" in project.err


def test_runs_are_listed(finished_run: Project) -> None:
    assert "done  done      5" in finished_run.call("runs")
    listed = json.loads(finished_run.call("runs", "--json"))
    assert [(run["run"], run["rows_done"], run["chain"]) for run in listed] == [("done", 5, "Small")]


def test_no_runs_is_no_error(project: Project) -> None:
    assert "no runs in runs/" in project.call("runs")
    assert project.exit_code == 0
    assert json.loads(project.call("runs", "--json")) == []


def test_show_tells_how_a_run_went(finished_run: Project) -> None:
    out = finished_run.call("show", "done")
    assert "Small: 5 rows in, 5 out" in out
    about = json.loads(finished_run.call("show", "last", "--json"))
    assert [node["rows_out"] for node in about["nodes"]] == [5, 5, 5, 5]


def test_show_lists_the_rows_of_a_step(finished_run: Project) -> None:
    out = finished_run.call("show", "done", "facts", "--limit", "2")
    assert len(out.splitlines()) == 3
    assert "2 of 5 rows" in out
    rows = json.loads(finished_run.call("show", "done", "facts", "--json", "--limit", "0"))
    assert (rows["total"], [row["_id"] for row in rows["rows"]]) == (5, ["0", "1", "2", "3", "4"])


def test_show_follows_one_row_through_all_steps(finished_run: Project) -> None:
    out = finished_run.call("show", "done", "french", "4")
    assert "text  three [b]" in out
    assert "In French." in out
    assert " of three [b]" in out
    assert "answer" in out
    way = json.loads(finished_run.call("show", "done", "last", "4", "--json"))
    made = {node["id"]: node["rows"] for node in way["nodes"]}
    assert way["input"] == {"_id": "4", "text": "three [b]"}
    prompt = next(node["prompt"] for node in way["nodes"] if node["id"] == "last")
    content = f"{made['facts'][0]['product']}: {made['french'][0]['verdict']}"
    assert prompt["messages"][-1] == {"role": "user", "content": content}
    assert prompt["rendered"]


def test_show_tells_why_rows_failed(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "runs/bad", "-q")
    out = project.call("show", "bad", "halves", "--failed")
    assert out.startswith("3  apply  ValueError: a bad [red]row[/red]")
    assert "small.py:" in out
    failed = json.loads(project.call("show", "bad", "--failed", "--json"))
    assert [row["row_id"] for row in failed["rows"]] == ["3"]
    assert "failed, apply" in project.call("show", "bad", "halves", "3")
    assert "never got here, or was dropped" in project.call("show", "bad", "halves", "1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dome"], 'did you mean "done"?'),
        (["done", "fakts"], 'did you mean "facts"?'),
        (["done", "facts", "99"], 'no row "99"'),
    ],
)
def test_what_cannot_be_shown_is_exit_code_2_with_the_nearest_name(
    finished_run: Project, words: list[str], said: str
) -> None:
    assert finished_run.call("show", *words) == ""
    assert finished_run.exit_code == 2
    assert said in finished_run.err


def test_a_run_that_is_not_there_is_answered_with_the_newest(finished_run: Project) -> None:
    finished_run.call("show", "nope")
    assert "(the newest: done)" in finished_run.err


def test_all_rows_of_a_step_come_as_the_same_document_as_some(finished_run: Project) -> None:
    every = finished_run.call("show", "done", "facts", "--json", "--limit", "0")
    assert every == json.dumps(json.loads(every), ensure_ascii=False, indent=2) + "\n"
    none = finished_run.call("show", "done", "facts", "--failed", "--json")
    assert json.loads(none)["rows"] == []
    assert len(finished_run.call("show", "done", "facts", "--limit", "0").splitlines()) == 5


def test_the_prompt_that_is_shown_is_the_one_that_was_sent(project: Project) -> None:
    text = 'é “quoted” <b> {{ x }} "\\n'
    Path("in.jsonl").write_text(json.dumps({"text": text}) + "\n")
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/one", "-q")
    way = json.loads(project.call("show", "one", "facts", "0", "--json"))
    graph, _ = build(load_chain("small.py:chain"))
    prompts, _ = compile_prompts(graph)
    node = graph.by_id("facts")
    value = node.input_type(text=text)
    assert way["nodes"][0]["prompt"]["messages"] == prompts[node.index].messages(Row("0", (0,), value, 0, None), value)


def test_a_field_may_be_called_as_a_method_of_dictionaries_is() -> None:
    node = {"id": "a", "user_prompt": "{{ items }} {{ chain_input.keys }}", "output_format_instruction": ""}
    source = {"_id": "0", "items": "the items", "keys": {"values": 1}}
    assert rendered({"outline": ["a"]}, node, "0", source, Sight()) == [("user", 'the items {"values":1}')]


def test_init_writes_a_project_whose_chain_passes_inspection(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    out = project.call("init", "fresh")
    assert out.splitlines()[-1] == "next: cd fresh && chainette run chain.py:chain -i inputs.jsonl"
    monkeypatch.chdir(project.folder / "fresh")
    project.call("inspect", "chain.py:chain")
    assert project.exit_code == 0, project.out


def test_init_says_where_to_go_in_words_that_a_shell_takes(project: Project) -> None:
    assert project.call("init", "ü x").splitlines()[-1].startswith("next: cd 'ü x' && chainette run")


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("", '"" is no name for a folder'),
        ("in.jsonl", "in.jsonl is not a folder"),
        ("in.jsonl/x", "in.jsonl/x cannot be written"),
    ],
)
def test_init_refuses_what_can_be_no_folder_and_names_one_that_can(project: Project, directory: str, said: str) -> None:
    project.call("init", directory)
    assert project.exit_code == 2
    assert said in project.err
    assert "next: chainette init my-chain" in project.err


def test_init_overwrites_nothing(project: Project) -> None:
    Path("chain.py").write_text("mine")
    project.call("init")
    assert project.exit_code == 2
    assert Path("chain.py").read_text() == "mine"
    assert not Path("inputs.jsonl").exists()


@pytest.mark.embedded
def test_the_project_of_init_runs_on_the_demo_model(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.call("init", "fresh")
    monkeypatch.chdir(project.folder / "fresh")
    project.call("run", "chain.py:chain", "-i", "inputs.jsonl", "-o", "out", "--limit", "2")
    assert project.exit_code == 0, project.err
    assert "the demo model" in project.err


def test_devices_say_what_is_here(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "CUDA_VISIBLE_DEVICES=1" in project.call("devices")
    found = json.loads(project.call("devices", "--json"))
    assert found["memory"]["total_bytes"] > found["memory"]["available_bytes"] > 0


def test_a_gpu_outside_cuda_visible_devices_is_told_as_such() -> None:
    from chainette.cli.devices import gpu_records
    from chainette.devices import Gpu, GpusHere

    here = GpusHere((Gpu(0, "NVIDIA H200", "GPU-abcd", 143 * 10**9, 142 * 10**9, 7),), driver="570.1")
    (gpu,) = gpu_records(here, "1")
    assert (gpu["name"], gpu["memory_free_bytes"], gpu["visible"]) == ("NVIDIA H200", 142 * 10**9, False)
    assert (gpu["utilization_percent"], gpu["driver"]) == (7, "570.1")
    assert gpu_records(here, "GPU-ab")[0]["visible"]
    assert gpu_records(here, None)[0]["visible"]


def test_devices_that_are_declared_are_told_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINETTE_DEVICES", "{count: 2, name: A100, memory_gib: 80}")
    out = project.call("devices")
    assert "gpu 1   A100, 85.9 GB, declared" in out
    found = json.loads(project.call("devices", "--json"))
    assert [(device["index"], device["declared"]) for device in found["devices"]] == [(0, True), (1, True)]
    monkeypatch.setenv("CHAINETTE_DEVICES", "many")
    project.call("devices")
    assert project.exit_code == 2
    assert "environment CHAINETTE_DEVICES: must be a number" in project.err


def test_the_version_is_said(project: Project) -> None:
    assert project.call("--version").startswith("chainette ")


@pytest.mark.parametrize(
    ("words", "said"), [(["inspekt"], "inspect"), (["run", "small.py:chain", "--limt", "3"], "--limit")]
)
def test_an_unknown_name_is_exit_code_2_with_the_nearest(project: Project, words: list[str], said: str) -> None:
    project.call(*words)
    assert project.exit_code == 2
    assert said in project.err


@pytest.mark.parametrize(
    ("error", "began", "code"),
    [
        (ChainError("x"), False, 2),
        (InputError("x"), False, 2),
        (PlanError("x"), False, 2),
        (RunFolderError("x"), False, 2),
        (InputError("x"), True, 1),
        (EngineError("x"), True, 1),
        (RunStoppedError("x"), True, 1),
        (KeyboardInterrupt(), True, 130),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, began: bool, code: int) -> None:
    assert report(error, began) == code


def test_an_error_nobody_expected_is_one_line_and_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RuntimeError("what?\x1b[31m")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: RuntimeError: what?\n")
    file = Path(said.split("the traceback is in ")[1].strip())
    assert "RuntimeError" in file.read_text()
    file.unlink()


def test_with_chainette_debug_the_error_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINETTE_DEBUG", "1")
    with pytest.raises(ChainError):
        report(ChainError("x"))


def test_several_problems_are_told_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    from chainette.errors import Problem

    report(ChainError([Problem('step "a"', "no [b]name[/b]", "try x"), Problem("", "y\x1b[2J")]))
    assert capsys.readouterr().err == 'error: 2 problems\n  step "a": no [b]name[/b]\n    hint: try x\n  y\n'


def test_help_needs_none_of_the_library() -> None:
    code = (
        "import sys; from chainette.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('pydantic', 'orjson', 'pyarrow', 'rich.live', 'chainette.run', 'psutil')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
