"""Branches and joins: every row keeps its own values, whatever happens to its neighbours."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, InputError, apply
from tests.models import Number, Question, Summary, Translation, step


class Pair(BaseModel):
    inc: Number
    dec: Number


class Many(BaseModel):
    value: int
    parts: list[Number]


def inc(n: Number) -> Number:
    return Number(value=n.value + 1)


def dec(n: Number) -> Number:
    return Number(value=n.value - 1)


def only_even(n: Number) -> Number | None:
    return n if n.value % 2 == 0 else None


def no_fives(n: Number) -> Number:
    if n.value == 5:
        raise ValueError("five")
    return n


def repeat(n: Number) -> list[Number]:
    return [Number(value=n.value * 10 + i) for i in range(n.value % 3)]


def numbers(count):
    return [Number(value=i) for i in range(count)]


def values(view):
    return [row.value for row in view]


def test_a_chain_may_begin_with_branches_and_a_model_may_be_drawn_from_both():
    def add(pair: Pair) -> Number:
        return Number(value=pair.inc.value * 100 + pair.dec.value)

    group = [Branch(name="a", steps=[apply(inc)]).join("inc"), Branch(name="b", steps=[apply(dec)]).join("dec")]
    result = Chain(name="c", steps=[group, apply(add)]).run(numbers(3))
    assert values(result.outputs) == [99, 200, 301]


def test_a_row_dropped_in_a_joined_branch_is_dropped_at_the_join_and_shifts_nobody():
    def both(row: Pair) -> Number:
        assert row.inc.value == row.dec.value + 1
        return row.inc

    group = [
        Branch(name="a", steps=[apply(only_even), apply(inc)]).join("inc"),
        Branch(name="b", steps=[apply(lambda items: items, input_model=Number)]).join("dec"),
    ]
    result = Chain(name="c", steps=[group, apply(both)]).run(numbers(6))
    assert values(result.outputs) == [1, 3, 5]
    assert result.rows_dropped == 3
    assert result.rows_failed == 0


def test_a_row_that_failed_in_a_joined_branch_fails_at_the_join_with_the_reason():
    chain = Chain(name="c", steps=[[Branch(name="a", steps=[apply(no_fives)]).join("a")], apply(inc)])
    result = chain.run(numbers(7))
    assert values(result.outputs) == [1, 2, 3, 4, 5, 7]
    kinds = {(f.node_id, f.row_id, f.kind) for f in result.failed}
    assert kinds == {("no_fives", "5", "apply"), ("join_a", "5", "join")}


def test_missing_none_lets_a_row_pass_without_the_branch(engine):
    engine(answers={"none": {"summary": "was none"}, "there": {"summary": "was there"}})
    ask = step("s", Number, Summary, "{{ 'there' if a else 'none' }}")
    branch = Branch(name="a", steps=[apply(no_fives)]).join("a", missing="none")
    result = Chain(name="c", steps=[[branch], ask]).run(numbers(7))
    assert [row.summary for row in result.outputs][4:] == ["was there", "was none", "was there"]


def test_an_expanded_branch_is_a_list_of_the_rows_own_children():
    def collect(row: Many) -> Number:
        assert all(part.value // 10 == row.value for part in row.parts)
        return Number(value=len(row.parts))

    chain = Chain(name="c", steps=[[Branch(name="x", steps=[apply(repeat)]).join("parts")], apply(collect)])
    assert values(chain.run(numbers(7)).outputs) == [0, 1, 2, 0, 1, 2, 0]


def test_branches_in_branches_join_their_own_rows():
    inner = [Branch(name="i", steps=[apply(inc)]).join("inc"), Branch(name="d", steps=[apply(dec)]).join("dec")]

    def mix(pair: Pair) -> Number:
        return Number(value=pair.inc.value + pair.dec.value)

    outer = Branch(name="outer", steps=[inner, apply(mix)]).join("mixed")

    class Mixed(BaseModel):
        value: int
        mixed: Number

    def check(row: Mixed) -> Number:
        return Number(value=row.mixed.value - 2 * row.value)

    result = Chain(name="c", steps=[[outer, Branch(name="f", steps=[apply(only_even)])], apply(check)]).run(numbers(5))
    assert values(result.outputs) == [0, 0, 0, 0, 0]


def test_a_branch_that_is_not_joined_is_a_sink_with_files_of_its_own():
    chain = Chain(name="c", steps=[apply(inc), [Branch(name="side", steps=[apply(only_even)])], apply(dec)])
    result = chain.run(numbers(4))
    assert values(result.outputs) == [0, 1, 2, 3]
    assert values(result.steps["only_even"]) == [2, 4]


def test_a_template_sees_the_rows_own_joined_value(engine):
    engine(echo=True, answers={f"say {i}.": {"translated": f"t{i}"} for i in range(20)})
    fr = Branch(name="fr", steps=[step("to_fr", Question, Translation, "say {{ text }}.")]).join("fr")
    final = step("s", Question, Translation, "say {{ fr.translated[1:] }}. of {{ text }}")
    result = Chain(name="c", steps=[[fr], final]).run([{"text": str(i)} for i in range(20)])
    assert [row.translated for row in result.outputs] == [f"t{i}" for i in range(20)]


def test_two_branches_run_at_the_same_time():
    """Each side waits for the other: one after the other they would wait for ever."""
    import threading

    barrier = threading.Barrier(2, timeout=20)

    def left(n: Number) -> Number:
        barrier.wait()
        return n

    def right(n: Number) -> Number:
        barrier.wait()
        return n

    group = [Branch(name="l", steps=[apply(left)]).join("l"), Branch(name="r", steps=[apply(right)]).join("r")]
    assert values(Chain(name="c", steps=[group]).run(numbers(1)).steps["right"]) == [0]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 100])
def test_joined_rows_are_the_same_for_every_chunk_size(chunk_size):
    group = [
        Branch(name="x", steps=[apply(repeat)]).join("parts"),
        Branch(name="y", steps=[apply(no_fives)]).join("y", missing="none"),
    ]

    def total(row: Many) -> Number:
        return Number(value=sum(part.value for part in row.parts))

    result = Chain(name="c", steps=[group, apply(total)]).run(numbers(9), chunk_size=chunk_size)
    assert values(result.outputs) == [0, 10, 41, 0, 40, 101, 0, 70, 161]


def test_the_flattened_file_joins_every_step_by_row_id():
    group = [Branch(name="a", steps=[apply(inc)]).join("inc"), Branch(name="e", steps=[apply(only_even)])]
    result = Chain(name="c", steps=[group, apply(dec)]).run(numbers(3))
    assert list(result.flattened) == [
        {"_id": "0", "chain_input.value": 0, "inc.value": 1, "only_even.value": 0, "dec.value": -1},
        {"_id": "1", "chain_input.value": 1, "inc.value": 2, "only_even.value": None, "dec.value": 0},
        {"_id": "2", "chain_input.value": 2, "inc.value": 3, "only_even.value": 2, "dec.value": 1},
    ]


def test_a_sink_that_expands_is_not_put_beside_another_expansions_children():
    def twice(n: Number) -> list[Number]:
        return [n, n]

    branch = Branch(name="side", steps=[apply(twice, id="side_twice")])
    result = Chain(name="c", steps=[[branch], apply(twice)]).run(numbers(2))
    assert [row.get("side_twice.value") for row in result.flattened] == [None] * 4


def test_ids_from_the_data_cannot_be_taken_for_children():
    def twice(n: Number) -> list[Number]:
        return [Number(value=n.value * 10)]

    chain = Chain(name="c", steps=[[Branch(name="side", steps=[apply(twice)])], apply(inc)], input_model=Number)
    for keys in (("a", "a.0"), ("a.0.1", "a")):
        with pytest.raises(InputError, match="would have the id of the other"):
            chain.run([{"key": key, "value": 1} for key in keys], id_field="key")
    assert len(chain.run([{"key": "2301.00123", "value": 1}], id_field="key").outputs) == 1
