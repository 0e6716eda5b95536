"""Python in the chain: what comes back, whose child it is, what an error does."""

from __future__ import annotations

import asyncio

import pytest

from chainette import Chain, apply, context
from tests.models import Answer, Number, Question


def numbers(count):
    return [Number(value=i) for i in range(count)]


def run(fn, rows, **options):
    return Chain(name="c", steps=[fn if not callable(fn) else apply(fn)]).run(rows, **options)


def pairs(view):
    return list(zip(view.ids, [row.value for row in view], strict=True))


def test_a_list_function_filters_and_rows_keep_their_ids():
    def odd(items: list[Number]) -> list[Number]:
        return [n for n in items if n.value % 2]

    assert pairs(run(odd, numbers(6)).outputs) == [("1", 1), ("3", 3), ("5", 5)]


def test_a_list_function_that_expands_and_drops_as_many_gives_children_to_their_own_parents():
    def times(items: list[Number]) -> list[Number]:
        return [Number(value=n.value * 10 + i) for n in items for i in range(n.value)]

    assert pairs(run(times, numbers(3)).outputs) == [("1", 10), ("2.0", 20), ("2.1", 21)]


def test_counts_are_right_when_as_many_rows_are_dropped_as_are_added():
    def times(items: list[Number]) -> list[Number]:
        return [Number(value=n.value) for n in items for _ in range(n.value)]

    node = run(times, numbers(3)).stats["nodes"]["times"]
    assert (node["rows_in"], node["done"], node["dropped"], node["rows_out"]) == (3, 2, 1, 3)


def test_counts_are_right_when_children_and_only_children_meet():
    def some(items: list[Number]) -> list[Number]:
        return [Number(value=n.value) for n in items for _ in range(n.value)]

    def no_twos(n: Number) -> Number:
        if n.value == 2:
            raise ValueError("two")
        return n

    result = Chain(name="c", steps=[apply(some), apply(no_twos)]).run(numbers(4))
    node = result.stats["nodes"]["no_twos"]
    assert (node["rows_in"], node["done"], node["failed"], node["dropped"]) == (6, 4, 2, 0)


def test_a_list_function_gets_whole_chunks():
    sizes = []

    def same(items: list[Number]) -> list[Answer]:
        sizes.append(len(items))
        return [Answer(answer=str(n.value)) for n in items]

    result = run(same, numbers(10), chunk_size=4)
    assert sizes == [4, 4, 2]
    assert [row.answer for row in result.outputs] == [str(i) for i in range(10)]


def test_rows_that_nobody_can_attribute_fail_with_a_way_out():
    def total(items: list[Number]) -> list[Number]:
        return [Number(value=sum(n.value for n in items)), Number(value=0)]

    result = run(total, numbers(5))
    assert result.rows_failed == 5
    assert "annotate it as T -> list[U]" in result.failed[0].message


def test_a_function_that_looks_across_rows_may_drop_some():
    def distinct(items: list[Number]) -> list[Number]:
        first = {}
        for n in items:
            first.setdefault(n.value, n)
        return list(first.values())

    rows = [Number(value=v) for v in (1, 2, 1, 3, 2)]
    assert pairs(run(distinct, rows).outputs) == [("0", 1), ("1", 2), ("3", 3)]


class Panic(BaseException):
    """As a library's that is no `Exception`."""


@pytest.mark.parametrize("raised", [asyncio.CancelledError, SystemExit, GeneratorExit, Panic])
@pytest.mark.parametrize("shape", ["row", "list", "async"])
def test_whatever_user_code_raises_is_the_failure_of_one_row(raised, shape):
    def touchy(n: Number) -> Number:
        if n.value == 3:
            raise raised()
        return n

    def touchy_list(items: list[Number]) -> list[Number]:
        return [touchy(n) for n in items]

    async def touchy_async(n: Number) -> Number:
        return touchy(n)

    result = run({"row": touchy, "list": touchy_list, "async": touchy_async}[shape], numbers(6))
    assert [value for _, value in pairs(result.outputs)] == [0, 1, 2, 4, 5]
    assert [(f.row_id, f.kind) for f in result.failed] == [("3", "apply")]


def test_a_row_function_maps_filters_and_expands():
    def half(n: Number) -> Number | None:
        return Number(value=n.value // 2) if n.value % 2 == 0 else None

    def split(n: Number) -> list[Number]:
        return [Number(value=v) for v in range(n.value)]

    assert pairs(run(half, numbers(4)).outputs) == [("0", 0), ("2", 1)]
    assert pairs(run(split, numbers(3)).outputs) == [("1.0", 0), ("2.0", 0), ("2.1", 1)]


def test_a_generator_expands_and_children_of_children_know_their_line():
    def twice(n: Number):
        yield n
        yield n

    result = Chain(name="c", steps=[apply(twice), apply(twice)]).run(numbers(1))
    assert result.outputs.ids == ["0.0.0", "0.0.1", "0.1.0", "0.1.1"]


def test_an_async_function_runs_its_rows_at_the_same_time():
    import anyio

    arrived = []

    async def meet(n: Number) -> Number:
        arrived.append(n.value)
        with anyio.fail_after(20):
            while len(arrived) < 5:
                await anyio.lowlevel.checkpoint()
        return n

    assert len(run(meet, numbers(5)).outputs) == 5


def test_a_function_that_raises_fails_its_row_with_the_line():
    def touchy(n: Number) -> Number:
        return Number(value=10 // n.value)

    result = run(touchy, numbers(3))
    assert pairs(result.outputs) == [("1", 10), ("2", 5)]
    (failure,) = result.failed
    assert (failure.row_id, failure.kind) == ("0", "apply")
    assert failure.message.startswith("ZeroDivisionError")
    assert "test_applies.py:" in failure.cause[0]


def test_one_bad_row_does_not_take_its_chunk_with_it():
    def touchy(items: list[Number]) -> list[Number]:
        return [Number(value=10 // n.value) for n in items]

    assert pairs(run(touchy, numbers(4)).outputs) == [("1", 10), ("2", 5), ("3", 3)]


def test_what_comes_back_is_held_to_the_annotation():
    def wrong(n: Number) -> Number:
        return {"value": "no number"} if n.value else {"value": 7}

    result = run(wrong, numbers(2))
    assert pairs(result.outputs) == [("0", 7)]
    assert "value" in result.failed[0].message


def test_a_function_without_annotations_may_filter_and_results_are_still_models():
    result = Chain(name="c", steps=[apply(lambda items: items[:1])]).run(numbers(3))
    assert list(result.outputs) == [{"_id": "0", "value": 0}] or result.outputs[0].value == 0


def test_plain_values_may_flow_too():
    def length(q: Question) -> int:
        return len(q.text)

    def double(n: int) -> int:
        return n * 2

    result = Chain(name="c", steps=[apply(length), apply(double)]).run([{"text": "abc"}, {"text": ""}])
    assert list(result.outputs) == [6, 0]


def test_the_context_names_the_row():
    seen = {}

    def look(n: Number) -> Number:
        here = context()
        seen[n.value] = (here.node_id, here.row_ids, here.params["k"])
        return n

    run(look, numbers(2), params={"k": "v"})
    assert seen == {0: ("look", ("0",), "v"), 1: ("look", ("1",), "v")}


def test_what_a_user_hands_in_is_not_changed_by_a_later_function():
    rows = numbers(2)

    def spoil(n: Number) -> Number:
        n.value = 99
        return n

    result = Chain(name="c", steps=[apply(lambda n: n, id="first", input_model=Number), apply(spoil)]).run(rows)
    assert [row.value for row in rows] == [0, 1]
    assert [row.value for row in result.steps["first"]] == [0, 1]
    assert [row.value for row in result.outputs] == [99, 99]


def test_no_rows_are_fine():
    result = run(lambda items: items, [])
    assert (result.state, len(result.outputs), result.rows_in) == ("done", 0, 0)


@pytest.mark.parametrize("chunk_size", [1, 7, 512])
def test_a_thousand_rows_come_out_in_order(chunk_size):
    def inc(n: Number) -> Number:
        return Number(value=n.value + 1)

    result = Chain(name="c", steps=[apply(inc), apply(inc)]).run(numbers(1000), chunk_size=chunk_size)
    assert [row.value for row in result.outputs] == list(range(2, 1002))
