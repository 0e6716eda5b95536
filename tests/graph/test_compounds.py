"""Control flow in the graph: types and names in reach around it, ids, arrows, signatures, and what is wrong with it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, ScanItem, Scanned, apply, cond, delay, gather, scan, switch, while_loop
from chainette.graph import build
from tests.models import Answer, Number, Summary, Translation, step


class Keyed(BaseModel):
    lang: str
    done: bool = False
    pages: list[str] = []
    text: str = ""


class Total(BaseModel):
    total: int


def built(*steps: Any, **fields: Any) -> Any:
    return build(Chain("c", list(steps), **fields))


def graph_of(*steps: Any, **fields: Any) -> Any:
    graph, problems = built(*steps, **fields)
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    return graph


def problems_of(*steps: Any, severity: str = "error", **fields: Any) -> list[str]:
    return [str(problem) for problem in built(*steps, **fields)[1] if problem.severity == severity]


def node_of(id: str, *steps: Any) -> Any:
    found = graph_of(*steps).by_id(id)
    assert found is not None
    return found


def ids_of(*steps: Any) -> list[str]:
    return [node.id for node in graph_of(*steps).shown]


def keep(keyed: Keyed) -> Keyed:
    return keyed


def again(keyed: Keyed) -> Keyed:
    return keyed


def is_french(keyed: Keyed) -> bool:
    return keyed.lang == "fr"


def split(keyed: Keyed) -> list[Keyed]:
    return [keyed]


def answer(id: str) -> Any:
    return step(id, Keyed, Answer)


def asked(id: str) -> Any:
    return step(id, Keyed, Keyed)


def add(carry: int, item: str) -> int:
    return carry + len(item)


def test_what_was_made_on_one_side_may_be_none_after_it():
    after = node_of("after", cond(is_french, [asked("fr")]), asked("after"))
    assert after.visible["fr"].type == Keyed | None
    assert after.visible["cond"].type is Keyed


def test_what_was_made_before_the_sides_is_in_reach_on_them_and_after_as_it_was():
    nodes = graph_of(asked("first"), cond(is_french, [asked("fr")]), asked("after"))
    assert nodes.by_id("fr").visible["first"].type is Keyed
    assert nodes.by_id("after").visible["first"].type is Keyed


def test_one_side_does_not_see_the_other():
    graph = graph_of(cond(is_french, [asked("fr")], [asked("en")]))
    assert "en" not in graph.by_id("fr").visible
    assert "fr" not in graph.by_id("en").visible


def test_in_a_body_what_stands_later_in_it_is_that_of_the_former_turn_and_may_be_none():
    graph = graph_of(while_loop([asked("write"), asked("review")], until="done"))
    write, review = graph.by_id("write"), graph.by_id("review")
    assert write.visible["review"].type == Keyed | None
    assert write.visible["write"].type == Keyed | None
    assert review.visible["write"].type is Keyed
    assert "of the turn before" in write.visible["review"].source


def test_the_number_of_the_turn_is_in_reach_in_the_body_and_that_of_all_turns_after_it():
    graph = graph_of(while_loop([asked("write")], until="done", id="refine"), asked("after"))
    assert graph.by_id("write").visible["turn"].type is int
    assert "turn" not in graph.by_id("after").visible
    assert graph.by_id("after").visible["refine_turns"].type is int


@pytest.mark.parametrize(("at_least_once", "type_"), [(False, Keyed | None), (True, Keyed)])
def test_after_a_loop_what_its_body_made_may_be_none_unless_there_is_a_first_turn(at_least_once, type_):
    loop = while_loop([asked("write")], until="done", at_least_once=at_least_once)
    assert node_of("after", loop, asked("after")).visible["write"].type == type_


def test_nested_sides_say_none_once():
    inner = cond(is_french, [cond("done", [asked("deep")])])
    assert node_of("after", cond(is_french, [inner]), asked("after")).visible["deep"].type == Keyed | None


def test_a_loop_gives_what_entered_or_what_a_turn_gives():
    loop = while_loop([answer("write")], until=lambda row: True, feed="input")
    assert node_of("loop", loop).output_type == Keyed | Answer
    loop = while_loop([answer("write")], until="confidence", feed="input", at_least_once=True)
    assert node_of("loop", loop).output_type is Answer


def test_a_scan_gives_its_carry_and_outputs():
    graph = graph_of(asked("first"), scan(add, over="pages", init=0), step("last", Scanned[int, int], Answer, "x"))
    assert graph.by_id("scan").output_type is Scanned[int, int]
    assert graph.by_id("last").intake.cast is False


def test_gather_gives_a_list_and_under_an_alias_the_row_from_before():
    assert node_of("gather", asked("first"), apply(split), gather()).output_type == list[Keyed]
    graph = graph_of(asked("first"), apply(split), answer("each"), gather("answers"), asked("after"))
    assert graph.by_id("gather").output_type is Keyed
    assert graph.by_id("after").visible["answers"].type == list[Answer]


def test_what_was_made_between_an_expand_and_its_gather_is_out_of_reach_and_says_why():
    node = node_of("after", asked("first"), apply(split), answer("each"), gather("answers"), asked("after"))
    assert "each" not in node.visible
    assert node.hidden["each"] == 'it was made before gather "gather", which makes one row of several'


def test_the_union_of_the_sides_may_be_declared():
    chain = [asked("first"), cond(is_french, [answer("a")], [step("s", Keyed, Summary)], output_model=Answer | Summary)]
    assert node_of("cond", *chain).output_type == Answer | Summary


def test_sides_that_give_different_types_are_told_each():
    chain = [asked("first"), switch("lang", {"fr": [answer("a")], "en": []}, default=[step("s", Keyed, Summary)])]
    (problem,) = problems_of(*chain)
    assert 'switch "switch": its ways give different types' in problem
    assert "fr gives Answer, en gives Keyed, default gives Summary" in problem
    assert "output_model=Answer | Keyed | Summary" in problem


def test_a_side_that_does_not_give_the_declared_type_is_an_error():
    chain = [asked("first"), cond(is_french, [answer("a")], output_model=Answer)]
    (problem,) = problems_of(*chain)
    assert 'cond "cond": "otherwise" gives Keyed, which is not Answer' in problem


def test_the_first_step_of_a_side_must_take_what_enters_the_gate():
    (problem,) = problems_of(asked("first"), cond(is_french, [step("a", Translation, Keyed)]))
    assert 'step "a": takes Translation, but' in problem


@pytest.mark.parametrize(
    ("wrong", "role"),
    [
        (lambda: cond("don", [asked("a")]), "pred"),
        (lambda: switch("don", {"fr": [asked("a")]}, default=[]), "key"),
        (lambda: while_loop([asked("a")], until="don"), "until"),
    ],
    ids=["cond", "switch", "while_loop"],
)
def test_a_field_that_is_not_there_is_told_with_the_nearest(wrong, role):
    (problem, *_) = problems_of(asked("first"), wrong())
    assert f'{role}: Keyed has no field "don"' in problem
    assert '"done"' in problem


def test_the_field_of_a_scan_is_told_with_the_nearest():
    (problem,) = problems_of(asked("first"), scan(add, over="page", init=0))
    assert 'scan "scan": Keyed has no field "page"' in problem
    assert '"pages"' in problem


def test_the_field_of_a_scan_must_be_a_list():
    (problem,) = problems_of(asked("first"), scan(add, over="lang", init=0))
    assert 'its field "lang" is str, not a list' in problem


def test_a_predicate_that_takes_another_type_is_told():
    def wrong(number: Number) -> bool:
        return True

    (problem,) = problems_of(asked("first"), cond(wrong, [asked("a")]))
    assert 'cond "cond" pred: takes Number, but step "first" gives Keyed' in problem


def test_until_must_take_both_what_enters_and_what_a_turn_gives():
    def done(answer: Answer) -> bool:
        return True

    loop = while_loop([answer("write")], until=done, feed="input")
    (problem,) = problems_of(asked("first"), loop)
    assert 'until: takes Answer, but step "first" gives Keyed' in problem
    assert problems_of(asked("first"), while_loop([answer("write")], done, feed="input", at_least_once=True)) == []


def test_a_turn_that_does_not_give_what_the_next_begins_with_is_told_with_the_way_out():
    (problem,) = problems_of(asked("first"), while_loop([answer("write")], until=lambda row: True))
    assert "a turn gives Answer, but the next one begins with Keyed" in problem
    assert 'feed="input"' in problem


def test_a_body_that_does_not_give_the_carry_is_told():
    body = step("read", ScanItem[Summary, str], Number, "{{ item }}")
    (problem,) = problems_of(asked("first"), scan([body], over="pages", init=Summary(summary="")))
    assert "its body gives Number, but the carry is Summary" in problem


def test_a_scan_through_the_rows_cannot_stand_in_a_loop():
    def running(carry: int, item: Keyed) -> tuple[int, Keyed]:
        return carry, item

    body = [scan(running, over=None, init=0)]
    assert any("rows in a loop are in none" in p for p in problems_of(asked("first"), while_loop(body, until="done")))


def test_gather_without_an_expand_is_an_error():
    (problem,) = problems_of(asked("first"), gather())
    assert 'gather "gather": there is nothing to gather' in problem


def test_gather_does_not_reach_an_expand_outside_of_its_side():
    (problem,) = problems_of(asked("first"), apply(split), cond("done", [gather(), apply(len_of)], output_model=Any))
    assert "the same line as the expand" in problem


def len_of(rows: list[Keyed]) -> Keyed:
    return rows[0]


def test_gather_does_not_reach_into_a_side():
    chain = [asked("first"), cond("done", [apply(split)]), gather()]
    assert any("nothing to gather" in problem for problem in problems_of(*chain))


def test_each_gather_undoes_the_nearest_expand():
    graph = graph_of(asked("first"), apply(split), asked("each").with_(n=2), gather("inner"), gather("outer"))
    split_, each, inner, outer = (graph.by_id(id) for id in ("split", "each", "gather", "gather_2"))
    assert (inner.gather, outer.gather) == (each.index, split_.index)


def test_control_flow_without_ids_is_numbered():
    chain = [cond(is_french, []), cond(is_french, [apply(keep)]), delay(1), delay(1), cond(is_french, [apply(keep)])]
    assert ids_of(asked("first"), *chain) == [
        "first", "cond", "cond_2", "keep", "delay", "delay_2", "cond_3", "keep_2",
    ]  # fmt: skip


def test_a_number_that_a_user_took_is_not_given_again():
    assert ids_of(asked("cond_2"), cond(is_french, []), cond(is_french, [])) == ["cond_2", "cond", "cond_3"]


def test_an_id_taken_twice_on_two_sides_is_an_error():
    (problem,) = problems_of(asked("first"), cond(is_french, [asked("a")], [asked("a")]))
    assert 'step "a": a second node with this id' in problem


def test_an_id_of_a_step_and_of_a_compound_may_not_be_the_same():
    (problem,) = problems_of(asked("a"), cond(is_french, [asked("b")], id="A"))
    assert 'cond "A"' in problem


def test_no_hidden_node_has_an_id_that_a_user_can_take():
    loop = while_loop([asked("a")], until="done", id="x")
    graph = graph_of(loop, cond(is_french, [asked("b")]))
    hidden = [node.id for node in graph.nodes[1:] if node not in graph.shown]
    assert hidden == ["x/body//2", "x//turn", "x//out", "cond/then//7", "cond/otherwise//9", "cond//out"]
    for id in hidden:
        assert f'step "{id}"' in problems_of(asked(id))[0]


def test_chains_inside_sides_give_their_steps_their_name():
    inner = Chain("inner", [asked("a"), cond(is_french, [asked("b")])])
    assert ids_of(asked("first"), cond("done", [inner])) == ["first", "cond", "inner/a", "inner/cond", "inner/b"]


def test_arrows_go_through_what_is_hidden_and_never_back():
    loop = while_loop([asked("write"), asked("review")], until="done", id="refine")
    graph = graph_of(asked("first"), cond(is_french, [loop], [asked("en")]), asked("last"))
    assert set(graph.arrows()) == {
        ("chain_input", "first"), ("first", "cond"), ("cond", "refine"), ("refine", "write"), ("write", "review"),
        ("cond", "en"), ("refine", "last"), ("en", "last"),
    }  # fmt: skip


def test_a_side_without_steps_has_an_arrow_past_it():
    graph = graph_of(asked("first"), cond(is_french, [asked("fr")]), asked("last"))
    assert ("cond", "last") in graph.arrows()


def test_edges_have_no_circle_however_deep_loops_are():
    deep = while_loop([while_loop([while_loop([asked("a")], until="done")], until="done")], until="done")
    graph = graph_of(asked("first"), deep, asked("last"))
    assert all(edge.target > source for source, edges in enumerate(graph.edges) for edge in edges)
    assert [len(node.loops) for node in graph.shown] == [0, 0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    "control",
    [
        lambda: cond(is_french, [asked("a")]),
        lambda: switch("lang", {"fr": [asked("a")]}, default=[]),
        lambda: while_loop([asked("a")], until="done"),
        lambda: delay(1),
    ],
    ids=["cond", "switch", "while_loop", "delay"],
)
def test_control_flow_may_stand_first_and_last_and_alone(control):
    graph = graph_of(control(), input_model=Keyed)
    assert graph.input_type is Keyed
    assert graph.result.kind in ("cond", "switch", "while_loop", "delay")
    assert graph.result.output_type is Keyed
    assert graph.result.written


@pytest.mark.parametrize(
    "control",
    [
        lambda: cond(lambda row: True, [], [asked("a")]),
        lambda: switch("lang", {"fr": [], "en": [delay(1), asked("a")]}),
        lambda: while_loop([cond(lambda row: True, [asked("a")])], until="done"),
        lambda: Chain("inner", [while_loop([asked("a")], until="done")]),
        lambda: [Branch("side", [switch("lang", {"fr": [asked("a")]})])],
        lambda: [Branch("side", [delay(1)]), Branch("other", [asked("a")])],
    ],
    ids=["cond", "switch", "loop", "chain", "branch", "second branch"],
)
def test_what_a_chain_takes_is_found_through_control_flow(control):
    assert graph_of(control(), delay(1)).input_type is Keyed


def test_what_a_chain_takes_is_found_behind_a_gate_without_steps_and_by_what_its_predicate_takes():
    assert graph_of(cond(is_french, []), asked("a")).input_type is Keyed


def test_a_compound_is_written_only_where_it_is_the_result():
    graph = graph_of(asked("first"), cond(is_french, [asked("a")]), while_loop([asked("b")], until="done"))
    assert [node.id for node in graph.nodes if node.written] == ["first", "a", "loop", "b"]


def is_long(keyed: Keyed) -> bool:
    return len(keyed.text) > 3


def bound(limit: int) -> Any:
    return lambda keyed: len(keyed.text) > limit


LOOPS = {
    "plain": lambda: while_loop([asked("a")], until="done"),
    "until": lambda: while_loop([asked("a")], until=is_long),
    "bound 1": lambda: while_loop([asked("a")], until=bound(1)),
    "bound 2": lambda: while_loop([asked("a")], until=bound(2)),
    "max": lambda: while_loop([asked("a")], until="done", max_iterations=4),
    "feed": lambda: while_loop([asked("a")], until="done", feed="input"),
    "once": lambda: while_loop([asked("a")], until="done", at_least_once=True),
    "body": lambda: while_loop([asked("a").with_(user_prompt="other {{ text }}")], until="done"),
}
GATES = {
    "field": lambda: cond("done", [asked("a")]),
    "function": lambda: cond(is_long, [asked("a")]),
    "bound 1": lambda: cond(bound(1), [asked("a")]),
    "bound 2": lambda: cond(bound(2), [asked("a")]),
    "sides": lambda: cond("done", [], [asked("a")]),
    "case": lambda: switch("lang", {"fr": [asked("a")]}),
    "other case": lambda: switch("lang", {"de": [asked("a")]}),
    "number": lambda: switch("lang", {"1": [asked("a")]}),
    "text": lambda: switch("lang", {1: [asked("a")]}),
    "default": lambda: switch("lang", {"fr": [asked("a")]}, default=[]),
}
SCANS = {
    "plain": lambda: scan(add, over="pages", init=0),
    "init": lambda: scan(add, over="pages", init=1),
    "function": lambda: scan(lambda carry, item: carry + 1, over="pages", init=0),
}
GATHERS = {
    "alias": lambda: [apply(split), gather("a")],
    "other": lambda: [apply(split), gather("b")],
    "missing": lambda: [apply(split), gather("a", missing="skip")],
}


def signature(*steps: Any) -> str:
    return str(graph_of(asked("first"), *steps, input_model=Keyed).signature)


@pytest.mark.parametrize("kinds", [LOOPS, GATES, SCANS], ids=["loops", "gates", "scans"])
def test_whatever_decides_what_comes_out_changes_the_signature(kinds):
    signatures = {name: signature(make()) for name, make in kinds.items()}
    assert len(set(signatures.values())) == len(signatures), signatures
    assert signatures == {name: signature(make()) for name, make in kinds.items()}


def test_how_children_are_gathered_changes_the_signature():
    assert len({signature(*make()) for make in GATHERS.values()}) == len(GATHERS)


def test_a_step_that_moves_to_the_other_side_has_another_signature():
    sides = [cond("done", [asked("a")]), cond("done", [], [asked("a")])]
    assert node_of("a", asked("first"), sides[0]).signature != node_of("a", asked("first"), sides[1]).signature


def test_names_and_emojis_do_not_change_the_signature():
    plain = while_loop([cond("done", [asked("a")])], until="done")
    named = while_loop([cond("done", [asked("a")], name="One", emoji="🧪")], until="done", name="Two", emoji="🌀")
    assert signature(plain) == signature(named)


def test_a_change_on_one_side_changes_what_comes_after_the_sides():
    one = graph_of(asked("first"), cond("done", [asked("a")]), asked("last"))
    two = graph_of(asked("first"), cond("done", [asked("a").with_(user_prompt="b {{ text }}")]), asked("last"))
    assert one.by_id("last").signature != two.by_id("last").signature
    assert one.by_id("first").signature == two.by_id("first").signature


def test_all_nodes_come_after_those_they_hang_on():
    graph = graph_of(
        asked("first"),
        [
            Branch("l", [cond("done", [while_loop([asked("a")], until="done")])]).join("left", missing="none"),
            Branch("r", [apply(split), asked("b"), gather()]).join("right"),
        ],
        switch("lang", {"fr": [asked("c")]}, default=[asked("d")]),
    )
    assert all(one.index + 1 == other.index for one, other in pairwise(graph.nodes))
    assert all(node.parent < node.index for node in graph.nodes)
    depths = {node.id: node.depth for node in graph.nodes}
    assert depths["a"] > depths["first"]
    assert depths["c"] > depths["a"]
