"""What two graph.json say of the difference between two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette import Branch, Chain, SamplingParams, apply, cond, delay, gather, scan, switch, while_loop
from chainette.files.graph_changes import graph_changes
from tests.models import Answer, Question, Summary, Translation, step

QUESTIONS = [Question(text="a"), Question(text="b")]
QA = step("qa", Question, Answer)
FR = step("fr", Answer, Translation, "{{ answer }}")
LAST = step("last", Answer, Summary, "{{ fr.translated }}")


def keep(row: Answer) -> Answer | None:
    return row


def graph_of(*steps, inputs=QUESTIONS, **options):
    result = Chain(name=options.pop("name", "c"), steps=list(steps)).run(inputs, **options)
    return json.loads((Path(result.folder) / "graph.json").read_bytes())


def said(old, new):
    return [str(change) for change in graph_changes(old, new)]


def test_a_run_of_the_same_chain_on_the_same_rows_differs_in_nothing(engine):
    engine()
    steps = [QA, apply(keep), [Branch(name="fr", steps=[FR]).join("fr")], LAST]
    assert said(graph_of(*steps), graph_of(*steps)) == []


def test_what_does_not_decide_the_outcome_is_no_difference(engine):
    engine()
    old = graph_of(QA)
    engine("stand_in", service_mean_s=0.0001)
    other = QA.with_(retries=7, timeout_s=90, priority=3, name="Asked", emoji="x", metadata={"a": 1})
    assert said(old, graph_of(other, name="Another", chunk_size=1, max_failed=3)) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user_prompt": "Say {{ text }}"}, "its prompt changed"),
        ({"system_prompt": "Briefly."}, "its prompt changed"),
        ({"output_format_instruction": ""}, "its prompt changed"),
        ({"sampling": SamplingParams(temperature=0.7)}, "temperature was not set and is 0.7"),
        ({"n": 2}, "samples was 1 and is 2"),
        ({"yield_output": False}, "written was yes and is no"),
    ],
)
def test_a_step_that_changed_is_named_with_the_part(engine, fields, words):
    engine()
    assert said(graph_of(QA), graph_of(QA.with_(**fields)))[0] == f'step "qa": {words}'


def test_small_values_are_told_and_only_those_that_differ(engine):
    engine()
    old = graph_of(QA.with_(sampling=SamplingParams(temperature=0.2, top_p=0.9)))
    (change,) = graph_changes(old, graph_of(QA.with_(sampling=SamplingParams(temperature=0.7, top_p=0.9))))
    assert str(change) == 'step "qa": temperature was 0.2 and is 0.7'
    assert (change.part, change.before, change.after) == ("sampling", {"temperature": 0.2}, {"temperature": 0.7})


def test_another_output_model_is_another_schema_and_type(engine):
    engine()
    found = said(graph_of(QA), graph_of(step("qa", Question, Summary)))
    assert found == ['step "qa": its schema changed', 'step "qa": output was "Answer" and is "Summary"']


def test_an_engine_with_another_model_is_told_once_for_all_its_steps(engine):
    engine()
    graph = graph_of(QA, step("again", Answer, Answer, "{{ answer }}"))
    other = json.loads(json.dumps(graph))
    other["engines"][0] |= {"model": "org/bigger", "revision": "v2"}
    (change,) = graph_changes(graph, other)
    assert (change.where, change.part) == ('engine "stand_in"', "model")
    assert change.after == {"model": "org/bigger", "revision": "v2"}


def test_an_engine_under_another_name_with_the_same_model_is_no_difference(engine):
    engine()
    old = graph_of(QA)
    engine("renamed")
    assert said(old, graph_of(QA.with_(engine_name="renamed"))) == []


def test_a_function_is_compared_by_its_source_and_by_what_it_is_bound_to(engine):
    engine()
    old = graph_of(QA, apply(keep, id="keep"))
    changed = json.loads(json.dumps(old))
    changed["nodes"][1]["source"] = "def keep(row): return None\n"
    assert said(old, changed) == ['apply "keep": its source changed']
    old["nodes"][1]["bound"] = ["(0.5,)"]
    changed = json.loads(json.dumps(old))
    changed["nodes"][1]["bound"] = ["(0.9,)"]
    assert said(old, changed) == ['apply "keep": its bound values changed']


def test_nodes_that_are_new_gone_or_renamed_are_named(engine):
    engine()
    old = graph_of(QA, apply(keep))
    assert said(old, graph_of(QA)) == ['apply "keep": it is gone']
    assert said(graph_of(QA), old) == ['apply "keep": it is new']
    assert said(old, graph_of(QA.with_(id="asked"), apply(keep))) == ['step "asked": it was called "qa"']


def test_steps_in_another_order_are_a_difference(engine):
    engine()
    first, second = step("a", Answer, Answer, "{{ answer }}"), step("b", Answer, Answer, "b {{ answer }}")
    found = said(graph_of(QA, first, second), graph_of(QA, second, first))
    assert found[0] == "chain: its steps stood in the order qa, a, b and stand in the order qa, b, a"


def test_a_step_moved_into_a_branch_is_a_difference_though_its_rows_come_from_the_same_node(engine):
    engine()
    found = said(graph_of(QA, FR), graph_of(QA, [Branch(name="fr", steps=[FR])]))
    assert found == ['chain: last step was "fr" and is "qa"']


def test_a_join_that_takes_rows_without_a_value_is_a_difference(engine):
    engine()
    branch = Branch(name="fr", steps=[FR])
    found = said(graph_of(QA, [branch.join("fr")]), graph_of(QA, [branch.join("fr", missing="none")]))
    assert 'join "join_fr": its branches changed' in found


def test_an_input_is_compared_by_its_content_and_not_by_its_name(engine, tmp_path):
    engine()
    for name, text in (("a.jsonl", "x"), ("b.jsonl", "x"), ("c.jsonl", "y")):
        (tmp_path / name).write_text(f'{{"text": "{text}"}}\n', encoding="utf-8")
    same, moved, other = (graph_of(QA, inputs=f"{name}.jsonl") for name in "abc")
    assert said(same, moved) == []
    assert said(same, other) == ["input: its content changed"]
    assert said(same, graph_of(QA)) == [], "rows in memory have a fingerprint of another kind"


def test_files_whose_fingerprints_are_of_another_kind_are_taken_for_the_same(engine, tmp_path):
    engine()
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    old = graph_of(QA, inputs="a.jsonl")
    new = json.loads(json.dumps(old))
    new["inputs"]["blake2b"] = new["inputs"]["files"][0]["blake2b"] = "00"
    new["inputs"]["files"][0]["of"] = "ends"
    assert said(old, new) == []
    new["inputs"]["files"][0]["size"] += 1
    assert said(old, new) == ["input: its content changed"]


def test_options_that_decide_the_outcome_are_named(engine):
    engine()
    old = graph_of(QA, params={"k": "v", "same": 1})
    new = graph_of(QA, params={"k": "w", "same": 1}, limit=1, format="csv")
    assert said(old, new) == [
        'option "limit": it was not set and is 1',
        'option "format": it was "jsonl" and is "csv"',
        'option "params": k was "v" and is "w"',
    ]


def test_a_document_that_was_not_written_yet_is_compared_as_data_and_not_as_objects(engine):
    engine()
    old = graph_of(QA.with_(sampling=SamplingParams(stop=["x"])))
    new = json.loads(json.dumps(old))
    new["nodes"][0]["sampling"]["stop"] = ("x",)
    assert said(old, new) == []


def test_a_key_that_one_of_the_documents_does_not_have_says_nothing(engine):
    engine()
    old = graph_of(QA, apply(keep))
    new = json.loads(json.dumps(old))
    for document, key in ((old, "bound"), (new, "source")):
        document["nodes"][1].pop(key, None)
    new["nodes"][1]["bound"] = ["1"]
    del new["options"]["params"]
    assert said(old, new) == []


def by_answer(row):
    return row.answer


def is_sure(row):
    return row.confidence > 0.5


def several(row: Answer) -> list[Answer]:
    return [row]


def count(carry: int, item: int) -> int:
    return carry + item


AGAIN = step("again", Answer, Answer, "{{ answer }}")
OTHER = step("other", Answer, Answer, "or {{ answer }}")
ORDER = "chain: its steps stood in the order qa, cond, again, other and stand in the order qa, cond, other, again"
LOOP = {"until": is_sure, "max_iterations": 2, "id": "loop"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            [cond(is_sure, [AGAIN], [OTHER])],
            [cond(is_sure, [OTHER], [AGAIN])],
            [ORDER, 'cond "cond": its cases changed'],
        ),
        (
            [cond(is_sure, [AGAIN])],
            [cond("confidence", [AGAIN])],
            ['cond "cond": its predicate changed'],
        ),
        (
            [switch("answer", {"a": []}, default=[])],
            [switch("confidence", {"a": [], "b": []}, default=[])],
            ['switch "switch": key was "answer" and is "confidence"', 'switch "switch": its cases changed'],
        ),
        (
            [while_loop([AGAIN], **LOOP)],
            [while_loop([AGAIN], **{**LOOP, "max_iterations": 3}, feed="input", keep="all")],
            [
                'while_loop "loop": max iterations was 2 and is 3',
                'while_loop "loop": feed was "result" and is "input"',
                'while_loop "loop": keep was "last" and is "all"',
            ],
        ),
        ([delay(0.001)], [delay(0.002)], ['delay "delay": seconds was 0.001 and is 0.002']),
        (
            [apply(several), gather("all")],
            [apply(several), gather("all", missing="skip")],
            ['gather "gather": missing was "fail" and is "skip"'],
        ),
    ],
    ids=["cases", "predicate", "key", "loop", "delay", "gather"],
)
def test_control_flow_that_changed_is_named_with_the_part(engine, old, new, words):
    engine()
    options = {"max_failed": 9}
    assert said(graph_of(QA, *old, **options), graph_of(QA, *new, **options)) == words


def test_a_scan_that_begins_with_another_value_is_told():
    rows = [{"pages": [1, 2]}]
    old, new = (graph_of(scan(count, over="pages", init=init), inputs=rows) for init in (0, 1))
    assert said(old, new) == ['scan "scan": init was 0 and is 1']


def test_a_step_in_a_way_that_got_another_name_is_no_change_of_the_cases(engine):
    engine()
    options = {"max_failed": 9}
    old = graph_of(QA, cond(is_sure, [AGAIN]), **options)
    new = graph_of(QA, cond(is_sure, [AGAIN.with_(id="once_more")]), **options)
    assert said(old, new) == ['step "once_more": it was called "again"']


def test_control_flow_is_recorded_with_its_inner_graph(engine):
    engine()
    graph = graph_of(QA, while_loop([AGAIN, cond(is_sure, [], [OTHER])], **LOOP), max_failed=9)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert [node["id"] for node in graph["execution_order"]] == ["qa", "loop", "again", "cond", "other"]
    assert nodes["loop"]["ways"] == [
        {
            "name": "body",
            "case": None,
            "nodes": ["again", "cond", "other"],
            "edges": [["again", "cond"], ["cond", "other"]],
        }
    ]
    assert "row.confidence > 0.5" in nodes["loop"]["until"]
    assert [(way["name"], way["case"], way["nodes"]) for way in nodes["cond"]["ways"]] == [
        ("then", True, []),
        ("otherwise", False, ["other"]),
    ]
    assert nodes["other"]["loops"] == ["loop"]
    assert graph["last"] == "loop"
