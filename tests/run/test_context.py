"""What a function may ask about where it runs."""

from __future__ import annotations

import dataclasses
import time

import pytest

from chainette import Branch, Chain, ChainetteError, apply, context
from tests.models import Number
from tests.run import python_steps as steps


def numbers(count):
    return [Number(value=i) for i in range(count)]


def test_metadata_is_inherited_downward_and_the_nearer_comes_first():
    seen = {}

    def asks(n: Number) -> Number:
        seen[context().node_id] = dict(context().metadata)
        return n

    inner = Chain(name="inner", steps=[apply(asks, id="in", metadata={"c": 3})], metadata={"b": 2, "a": 2})
    Chain(name="outer", steps=[inner, apply(asks, id="out")], metadata={"a": 1, "o": 1}).run(numbers(1))
    assert seen == {"inner/in": {"a": 2, "o": 1, "b": 2, "c": 3}, "out": {"a": 1, "o": 1}}


def test_nothing_a_function_does_to_its_context_is_seen_by_others():
    seen = []

    def asks(n: Number) -> Number:
        here = context()
        with pytest.raises(TypeError):
            here.params["k"] = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            here.attempt = 2
        seen.append(list(here.params["list"]))
        here.params["list"].append(n.value)
        return n

    Chain(name="c", steps=[apply(asks)]).run(numbers(3), params={"list": [0]})
    assert seen == [[0], [0], [0]]


def test_a_row_reaches_its_input_and_earlier_steps_as_copies_of_its_own():
    def plus(n: Number) -> Number:
        return Number(value=n.value + 10)

    def asks(n: Number) -> list[int]:
        here = context()
        here.chain_input.value = -1
        return [here.chain_input.value, here.steps["plus"].value, n.value]

    result = Chain(name="c", steps=[apply(plus), apply(plus, id="two"), apply(asks)]).run(numbers(2))
    assert list(result.outputs) == [0, 10, 20, 1, 11, 21]


def test_a_name_that_is_not_there_names_the_nearest():
    def plus(n: Number) -> Number:
        return n

    def asks(n: Number) -> Number:
        return context().steps["plos"]

    result = Chain(name="c", steps=[apply(plus), apply(asks)]).run(numbers(1))
    assert 'did you mean "plus"?' in result.failed[0].message


def test_where_several_rows_are_given_or_in_a_worker_the_past_is_refused_clearly():
    def together(rows: list[Number]) -> list[Number]:
        with pytest.raises(ChainetteError, match="for a function that gets several rows"):
            _ = context().chain_input
        return rows

    assert Chain(name="c", steps=[apply(together)]).run(numbers(2)).rows_failed == 0
    result = Chain(name="c", steps=[apply(steps.asks_for_its_past, workers="process", replicas=1)]).run(numbers(1))
    assert "in a worker process" in result.failed[0].message


def test_the_context_travels_to_worker_processes():
    node = apply(steps.tells_where, workers="process", replicas=1, timeout_s=3000, metadata={"m": "n"})
    before = time.time()
    result = Chain(name="c", steps=[node], metadata={"o": "p"}, deadline_s=6000).run(numbers(2), params={"k": "v"})
    for position, said in enumerate(result.outputs):
        assert (said.run_id, said.node_id, said.row_ids) == (result.folder.name, "tells_where", [str(position)])
        assert (said.attempt, said.params, said.metadata) == (1, {"k": "v"}, {"o": "p", "m": "n"})
        assert before + 2000 < said.deadline < time.time() + 3000


def test_the_smaller_of_nested_deadlines_holds():
    left = {}

    def asks(n: Number) -> Number:
        left[context().node_id] = context().deadline - time.time()
        return n

    tight = Chain(name="tight", steps=[apply(asks, id="a")], deadline_s=1000)
    wide = Chain(name="wide", steps=[apply(asks, id="b"), apply(asks, id="c", timeout_s=100)], deadline_s=100_000)
    Chain(name="c", steps=[tight, wide], deadline_s=10_000).run(numbers(1))
    assert left["tight/a"] <= 1000 < left["wide/b"] <= 10_000
    assert left["wide/c"] <= 100


def test_branches_see_only_their_own_context():
    seen = set()

    async def asks(n: Number) -> Number:
        seen.add((context().node_id, context().row_ids))
        return n

    sides = [Branch(name=name, steps=[apply(asks, id=name)]).join(name) for name in ("x", "y")]
    Chain(name="c", steps=[sides]).run(numbers(2))
    assert seen == {(node, (row,)) for node in ("x", "y") for row in ("0", "1")}
