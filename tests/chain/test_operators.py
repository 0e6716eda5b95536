"""Operators: `>>` and `|` make the list that a person would write, and change nothing."""

from __future__ import annotations

import pytest

from chainette import Branch, Chain, ChainError, Line, apply, cond, while_loop
from chainette.graph import build
from tests.models import Answer, Number, Question, Summary, step

extract = step("extract", Question, Answer)
fr = step("fr", Answer, Answer, "{{ answer }}")
es = step("to-es", Answer, Answer, "{{ answer }}")
agg = step("agg", Answer, Summary, "{{ fr.answer }} {{ to_es.answer }}")


def inc(n: Number) -> Number:
    return Number(value=n.value + 1)


def same(made: Chain, listed: list) -> None:
    graph, problems = build(made)
    other, others = build(Chain(name=made.name, steps=listed))
    assert ([str(p) for p in problems], graph.outline) == ([str(p) for p in others], other.outline)
    assert graph.signature == other.signature


def test_a_line_with_branches_is_the_chain_as_a_list():
    made = (extract >> (fr | es) >> agg).to_chain("c", chunk_size=3)
    assert made.chunk_size == 3
    same(made, [extract, [Branch("fr", [fr]).join("fr"), Branch("to-es", [es]).join("to_es")], agg])


def test_a_branch_stays_as_it_was_declared():
    side = Branch("side", [es])
    same((extract >> (side | fr) >> agg).to_chain("c"), [extract, [side, Branch("fr", [fr]).join("fr")], agg])
    same((extract >> side >> agg).to_chain("c"), [extract, [side], agg])
    same((extract >> [side] >> agg).to_chain("c"), [extract, [side], agg])
    same(([side] >> extract).to_chain("c"), [[side], extract])


def test_several_steps_side_by_side_are_one_branch_named_by_the_last():
    longer = fr.with_(id="longer")
    joined = Branch("longer", [fr, longer]).join("longer")
    same((extract >> ((fr >> longer) | es)).to_chain("c"), [extract, [joined, Branch("to-es", [es]).join("to_es")]])


def test_it_does_not_matter_how_it_is_bracketed():
    a, b, c = (apply(inc, id=name) for name in "abc")
    assert list((a >> b) >> c) == list(a >> (b >> c)) == [a, b, c]
    left, right = ((a | b) | c), (a | (b | c))
    assert [x.name for x in left[0]] == [x.name for x in right[0]] == ["a", "b", "c"]


def test_a_line_stands_wherever_steps_stand():
    a, b, c = (apply(inc, id=name) for name in "abc")
    assert list(Chain("c", a >> b).steps) == [a, b]
    assert list(Chain("c", [a >> b, c]).steps) == [a, b, c]
    assert list(Branch("x", [a >> b]).steps) == [a, b]
    assert list(cond("value", a >> b).cases[True]) == [a, b]
    assert list(while_loop([a >> b, c], until="value").steps) == [a, b, c]


def test_using_a_line_again_changes_nothing():
    line = extract >> fr
    assert len(line >> es) == 3
    assert len(line | agg) == 1
    assert list(line) == [extract, fr]


def test_what_cannot_stand_there_is_refused_with_a_way_out():
    with pytest.raises(ChainError, match=r"test_operators.py:\d+: inc cannot stand beside >> \(apply\(inc\)\)"):
        extract >> inc
    with pytest.raises(ChainError, match=r"apply\(inc\)"):
        inc >> extract
    with pytest.raises(ChainError, match=r"None cannot stand beside \|"):
        extract | None
    with pytest.raises(ChainError, match=r"3 cannot stand beside \|"):
        3 | extract


def test_a_step_is_no_function_for_apply_or_a_predicate():
    with pytest.raises(ChainError, match="needs a function"):
        apply(extract)
    with pytest.raises(ChainError, match="pred must be a function"):
        cond(extract, fr)


def test_a_line_is_a_sequence():
    line = extract >> fr
    assert isinstance(line, Line)
    assert (line[0], line[:1], len(line)) == (extract, (extract,), 2)
