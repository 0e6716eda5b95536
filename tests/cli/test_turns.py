"""Loops, ways and scans on the terminal: what a run left, a row turn by turn, two runs, and what is still to come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chainette.cli.drawing import tree_lines
from chainette.cli.progress import RunState
from chainette.cli.wording import ICONS
from chainette.events import NodeCount, Progressed, RunStarted
from tests.cli.conftest import Project

REFINE = """
from pydantic import BaseModel
from chainette import Chain, Step, apply, cond, while_loop

class Text(BaseModel):
    text: str

class Draft(BaseModel):
    draft: str

class Review(BaseModel):
    draft: str
    remark: str
    approved: bool

def review(row: Draft) -> Review:
    if "hopeless" in row.draft:
        raise ValueError("no word of it can stay")
    return Review(draft=row.draft, remark=f"remark on {row.draft}", approved="LAST" in row.draft)

def approved(row: Text | Review) -> bool:
    return isinstance(row, Review) and row.approved

write = Step(id="write", input_model=Text, output_model=Draft, engine_name="stand_in", output_format_instruction="",
             user_prompt="turn {{ turn }} of {{ text }}{% if review %}: {{ review.remark }}{% endif %}")
publish = Step(id="publish", input_model=Review, output_model=Draft, engine_name="stand_in",
               output_format_instruction="", user_prompt="publish {{ draft }} after {{ refine_turns }}")
loop = while_loop([write, apply(review)], until=approved, max_iterations=4, feed="input", at_least_once=True,
                  id="refine", keep="KEEP")
chain = Chain(name="Refine", steps=[loop, publish])
"""
ENGINES = """
engines:
- name: stand_in
  backend: scripted
  script:
    answers:
      "turn 1 of short": {draft: "LAST of short"}
      "turn 1 of long": {draft: "first of long"}
      "turn 2 of long": {draft: "second of long"}
      "turn 3 of long": {draft: "LAST of long"}
      "turn 1 of bad": {draft: "first of bad"}
      "turn 2 of bad": {draft: "hopeless"}
      "publish": {draft: "published"}
"""
ROWS = ["short", "long", "bad"]


def refined(project: Project, name: str = "done", keep: str = "all", rows: list[str] = ROWS) -> Project:
    (project.folder / "refine.py").write_text(REFINE.replace("KEEP", keep), encoding="utf-8")
    (project.folder / "engines.yml").write_text(ENGINES, encoding="utf-8")
    lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    (project.folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    project.call("run", "refine.py:chain", "-i", "rows.jsonl", "-o", f"runs/{name}", "-q", "--max-failed", "9")
    assert project.exit_code == 0, project.err
    return project


def way(project: Project, *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.call("show", *args, "--json"))
    return {stop["id"]: stop for stop in found["nodes"]}


def test_the_rows_of_a_step_are_listed_with_their_turns(project: Project) -> None:
    out = refined(project).call("show", "done", "write")
    assert "1  turn 2  draft: second of long" in out
    assert "_turn" not in out


def test_a_row_is_followed_turn_by_turn(project: Project) -> None:
    out = refined(project).call("show", "done", "write", "1")
    order = ["refine, turn 1", "draft  first of long", "remark on first of long", "refine, turn 2"]
    order += ["draft  second of long", "refine, turn 3", "draft     LAST of long", "publish  step"]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    assert [row["_turn"] for row in way(project, "done", "write", "1")["write"]["rows"]] == [1, 2, 3]


def test_with_every_turn_kept_the_prompt_of_each_is_the_one_that_was_sent(project: Project) -> None:
    prompts = way(refined(project), "done", "write", "1")["write"]["prompts"]
    assert [(prompt["turn"], prompt["messages"][-1]["content"]) for prompt in prompts] == [
        ([1], "turn 1 of long"),
        ([2], "turn 2 of long: remark on first of long"),
        ([3], "turn 3 of long: remark on second of long"),
    ]


def test_a_prompt_whose_values_are_not_kept_is_not_made_up(project: Project) -> None:
    out = refined(project, keep="last").call("show", "done", "write", "1")
    prompts = way(project, "done", "write", "1")["write"]["prompts"]
    assert [prompt["rendered"] for prompt in prompts] == [True, False, False]
    assert 'does not have what review was then (keep="all" on the loop keeps every turn)' in out
    assert "user template  turn {{ turn }} of" in out


NESTED = """
from pydantic import BaseModel
from chainette import Chain, Step, apply, cond, while_loop

class N(BaseModel):
    n: int = 0
    text: str = ""

class Said(BaseModel):
    text: str

def add(row: N) -> N:
    return N(n=row.n + 1, text=row.text)

def ten(row: N) -> N:
    return N(n=row.n + 10, text=row.text)

def odd(row: N) -> bool:
    return row.n % 2 == 1

say = Step(id="say", input_model=N, output_model=N, engine_name="stand_in", output_format_instruction="",
           user_prompt="{{ n }} at {{ turn }} with {{ add.n }}", images=None)
inner = while_loop([apply(add)], until=lambda row: row.n % 3 == 0, max_iterations=5, at_least_once=True, id="inner",
                   keep="KEEP")
chain = Chain(name="Nested", steps=[
    while_loop([inner, cond(odd, [apply(ten)], id="gate"), say], until=lambda row: row.n > 90, max_iterations=9,
               at_least_once=True, id="outer", keep="KEEP"),
])
"""
SAID = """
engines:
- name: stand_in
  backend: scripted
  script: {answers: {"13 at 1": {n: 13, text: a}, "25 at 2": {n: 40, text: b}, "42 at": {n: 99, text: c}}}
"""


@pytest.mark.parametrize("keep", ["all", "last"])
def test_prompts_in_nested_loops_with_ways_in_them_are_right_or_not_shown(project: Project, keep: str) -> None:
    (project.folder / "nested.py").write_text(NESTED.replace("KEEP", keep), encoding="utf-8")
    (project.folder / "engines.yml").write_text(SAID, encoding="utf-8")
    (project.folder / "n.jsonl").write_text('{"n": 0}\n', encoding="utf-8")
    project.call("run", "nested.py:chain", "-i", "n.jsonl", "-o", "runs/done", "-q")
    assert project.exit_code == 0, project.err
    prompts = way(project, "done", "say", "0")["say"]["prompts"]
    shown = [prompt["messages"][-1]["content"] if prompt["rendered"] else None for prompt in prompts]
    sent = ["13 at 1 with 3", "25 at 2 with 15", "42 at 3 with 42"]
    assert shown == (sent if keep == "all" else [None, None, None])


def test_a_step_behind_a_loop_saw_the_last_turn_and_how_many_there_were(project: Project) -> None:
    for keep in ("all", "last"):
        prompt = way(refined(project, keep, keep), keep, "publish", "1")["publish"]["prompt"]
        assert prompt["messages"][-1]["content"] == "publish LAST of long after 3"


def test_a_failure_is_told_with_its_turn(project: Project) -> None:
    out = refined(project).call("show", "done", "review", "--failed")
    assert out.startswith("2  apply  ValueError: no word of it can stay  (turn 2)")
    assert "it failed here" in project.call("why", "done", "review", "2")
    shown = project.call("show", "done", "review", "2")
    assert shown.index("refine, turn 2") < shown.index("no word of it can stay")


def test_each_call_of_a_row_is_told_with_its_turn(project: Project) -> None:
    out = refined(project).call("why", "done", "write", "1")
    assert "made: 3 calls" in out
    assert [f"turn {turn}, attempt 1" in out for turn in (1, 2, 3)] == [True] * 3


def test_the_table_of_a_run_has_its_loop(project: Project) -> None:
    out = refined(project).call("show", "done")
    assert "refine" in out
    assert {node["id"]: node["type"] for node in json.loads(project.call("show", "done", "--json"))["nodes"]} == {
        "refine": "while_loop",
        "write": "step",
        "review": "apply",
        "publish": "step",
    }


def test_two_runs_are_compared_turn_by_turn(project: Project) -> None:
    refined(project)
    (project.folder / "engines.yml").write_text(ENGINES.replace("second of long", "another"), encoding="utf-8")
    project.call("run", "refine.py:chain", "-i", "rows.jsonl", "-o", "runs/later", "-q", "--max-failed", "9")
    out = project.call("diff", "done", "later", "--step", "write")
    assert "1, turn 2  changed" in out
    assert "1, turn 3" not in out


@pytest.mark.parametrize("icons", ["--icons", "--no-icons"])
def test_a_loop_is_drawn_with_its_body_below_it(project: Project, icons: str) -> None:
    refined(project)
    lines = project.call("inspect-dag", "refine.py:chain", icons).splitlines()
    assert "until approved, at most 4 times" in lines[1]
    assert lines[2].strip("╰─`- ") == "body"
    assert lines[3].startswith("   ")
    assert icons == "--icons" or project.out.isascii()


def test_inspection_tells_what_a_loop_asks_and_how_a_turn_begins(project: Project) -> None:
    out = refined(project).call("inspect", "refine.py:chain")
    assert "until     approved" in out
    assert "turns     at most 4, the first before it is asked" in out
    assert "feed      input: a turn begins with what entered the loop" in out
    assert "in loop   refine" in out


ROUTES = """
from pydantic import BaseModel
from chainette import Chain, apply, delay, gather, scan, switch

class Page(BaseModel):
    lang: str
    pages: list[int]

def same(row: Page) -> Page:
    return row

def other(row: Page) -> Page:
    return row

def add(carry: int, item: int) -> int:
    return carry + item

chain = Chain(name="Routes", steps=[
    switch("lang", {"fr": [apply(same)], "日本": []}, default=[delay(0.001), apply(other)], id="route"),
    scan(add, over="pages", init=0),
])
"""


def test_a_switch_is_drawn_with_all_its_ways_and_inspected_with_their_types(project: Project) -> None:
    (project.folder / "routes.py").write_text(ROUTES, encoding="utf-8")
    tree = project.call("inspect-dag", "routes.py:chain")
    assert 'switch on field "lang"' in tree
    assert "├─ 日本 (as it is)" in tree
    assert "scan over pages" in tree
    out = project.call("inspect", "routes.py:chain")
    assert "way       fr: same -> Page" in out
    assert "way       default: delay, other -> Page" in out
    assert "over      pages" in out


def test_other_programs_get_control_flow_as_frames(project: Project) -> None:
    (project.folder / "routes.py").write_text(ROUTES, encoding="utf-8")
    mermaid = project.call("inspect-dag", "routes.py:chain", "--format", "mermaid")
    assert mermaid.count("subgraph") == mermaid.count("    end\n") == 2
    assert '-->|"日本"|' in mermaid
    assert '-.->|"next turn"|' in mermaid
    dot = project.call("inspect-dag", "routes.py:chain", "--format", "dot")
    assert 'subgraph "cluster route" {' in dot
    assert dot.count("{") == dot.count("}")
    edges = json.loads(project.call("inspect-dag", "routes.py:chain", "--json"))["edges"]
    assert {"from": "route", "to": "scan", "label": "日本"} in edges
    assert [edge["from"] for edge in edges if edge.get("back")] == ["scan_body"]


def test_a_row_that_went_another_way_is_told_so(project: Project) -> None:
    (project.folder / "routes.py").write_text(ROUTES, encoding="utf-8")
    (project.folder / "in.jsonl").write_text('{"lang": "fr", "pages": [1, 2]}\n', encoding="utf-8")
    project.call("run", "routes.py:chain", "-i", "in.jsonl", "-o", "runs/done", "-q")
    assert "it went another way at route" in project.call("why", "done", "other", "0")


OUTLINE: list[Any] = [
    "first",
    {
        "compound": "gate",
        "kind": "cond",
        "label": "is_long",
        "ways": [{"name": "then", "items": ["long"]}, {"name": "otherwise", "items": []}],
    },
    "last",
]


def counted(entered: int, done: int = 0, failed: int = 0) -> NodeCount:
    return NodeCount(entered=entered, done=done, made=done, failed=failed, running=entered - done - failed)


GATHERED = """
from pydantic import BaseModel
from chainette import Chain, apply, gather

class Text(BaseModel):
    text: str

def words(row: Text) -> list[Text]:
    return [Text(text=word) for word in row.text.split()]

def longest(words: list[Text]) -> Text:
    return max(words, key=lambda word: len(word.text))

chain = Chain(name="Longest", steps=[apply(words, yield_output=False), gather(), apply(longest)])
"""


def test_a_node_that_writes_no_rows_is_told_so_and_not_that_its_rows_are_lost(project: Project) -> None:
    (project.folder / "longest.py").write_text(GATHERED)
    project.call("run", "longest.py", "-i", "in.jsonl", "-o", "runs/longest", "-q")
    assert "no rows at gather: a gather writes none" in project.call("show", "longest", "gather")
    assert "no rows at words: its rows are not written" in project.call("show", "longest", "words")
    way = project.call("show", "longest", "longest", "0")
    assert "its rows are not written" in way
    assert "never got here" not in way


def test_the_live_view_expects_in_a_way_its_share_of_the_rows() -> None:
    nodes = tuple((id, "step", id) for id in ("first", "gate", "long", "last"))
    state = RunState()
    state.take(RunStarted("r", "runs/r", "c", 100, nodes, OUTLINE, ()))
    counts = {"first": counted(40, 40), "gate": counted(40, 40), "long": counted(10, 6, 2), "last": counted(36, 30)}
    state.take(Progressed(100, 30, 1.0, counts))
    expected = state.expected()
    assert (expected["long"].rows, expected["long"].exact) == (25, False)
    assert (expected["last"].rows, expected["last"].exact) == (98, False)
    assert expected["gate"].exact


def test_control_flow_is_nested_as_deep_as_it_is_declared() -> None:
    items: list[Any] = ["inmost"]
    for depth in range(60):
        items = [
            {"compound": f"loop{depth}", "kind": "while_loop", "label": "", "ways": [{"name": "body", "items": items}]}
        ]
    drawn = tree_lines(items, ICONS)
    assert drawn[-1].node == "inmost"
    assert len(drawn[-1].inside) == 60
