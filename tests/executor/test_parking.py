"""What waits for a later stage comes back as it was: values, who is whose parent, and the time that is left."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from contextlib import closing
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, apply
from chainette.executor import flow as flow_module
from chainette.executor.flat_flow import flatten, restored
from chainette.executor.flow import Flow
from chainette.executor.parking import DONE, Parking
from chainette.files.held import HeldChunks
from chainette.rows import Absent, Failure, InputChunk, Row
from tests.executor.staging import House, Item, Play, ask, checked_chain, staged

T = TypeVar("T")


def made_here() -> list[Any]:
    """Values of types that no other process could find by name."""

    class Color(enum.Enum):
        RED = 1

    class Box(BaseModel, Generic[T]):
        value: T
        color: Color = Color.RED
        when: datetime.datetime = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)

    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: int
        data: bytes

    box = Box[int](value=1)
    return [
        box,
        box,
        Box[list[Item]](value=[Item(text="é")]),
        Point(1, b"\x00"),
        Color.RED,
        Absent,
        made_here,
        Box[int],
    ]


@pytest.fixture
def store(tmp_path):
    with closing(HeldChunks(tmp_path)) as store:
        yield store


def test_values_of_any_type_come_back_equal_and_what_there_is_one_of_is_the_same(store):
    values = made_here()
    store.put(7, values)
    back = store.take(7)
    assert back == values
    assert [type(value) for value in back] == [type(value) for value in values]
    assert back[0] is back[1]
    assert back[0] is not values[0]
    assert all(a is b for a, b in zip(back[4:], values[4:], strict=True))


class Lost(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a)


@pytest.mark.parametrize("value", [Lost(1, 2), (n for n in range(3))])
def test_a_value_that_would_not_come_back_is_refused_when_it_is_put(store, value):
    with pytest.raises(TypeError):
        store.put(1, [value])
    store.put(1, "well")
    assert store.take(1) == "well"


def test_a_chunk_is_read_as_often_as_one_likes_until_it_is_forgotten(store, tmp_path):
    store.put(1, "one")
    store.put(2, "two")
    assert (store.read(2), store.read(1), store.read(1)) == ("two", "one", "one")
    store.forget(1)
    store.forget(2)
    store.put(1, "again")
    assert store.take(1) == "again"
    assert not [path.name for path in tmp_path.iterdir()]


@pytest.fixture
def graph():
    group = [Branch(name="near", steps=[ask("near", "a")]).join("n")]
    return checked_chain(Chain(name="c", steps=[ask("first", "a"), group, ask("last", "b")])).graph


def chunk(count: int, index: int = 0) -> InputChunk:
    return InputChunk(index, 0, [str(n) for n in range(count)], [Item(text=str(n)) for n in range(count)], [{}] * count)


def test_a_line_of_a_hundred_thousand_parents_comes_back(tmp_path, graph):
    flow = Flow(graph, chunk(1))
    row = None
    for node in range(100_000):
        row = Row("0", (0,), node, node, row)
    flow.rows[1].append(row)
    with closing(Parking(tmp_path, {}, pytest.fail)) as parking:
        parking.put(flow)
        found = parking.read(0).rows[1][0]
    for node in range(99_999, -1, -1):
        assert (found.value, found.node) == (node, node)
        found = found.parent
    assert found is None


def test_rows_share_parents_and_values_after_they_came_back_as_before(graph):
    flow = Flow(graph, chunk(1))
    parent = Row("0", (0,), flow.inputs.values[0], 0, None)
    flow.rows[1] += [Row(f"0.{n}", (0, n), parent.value, 1, parent) for n in range(2)]
    flow.failures[1].append(((0, 2), Failure("0.2", "first", "schema", "no")))
    back = restored(flatten(flow))
    assert back.rows[1][0].parent is back.rows[1][1].parent
    assert back.rows[1][0].value is back.rows[1][0].parent.value
    assert back.failures == flow.failures


def test_chunks_come_back_in_input_order_each_in_its_stage(tmp_path, graph):
    with closing(Parking(tmp_path, {1: 0, 3: 1, 5: 2}, pytest.fail)) as parking:
        for index, nodes in ((4, [5]), (1, [3, 5]), (0, [5]), (3, [3]), (2, [])):
            flow = Flow(graph, chunk(1, index))
            for node in nodes:
                flow.park(node, Row("0", (0,), 1, node, None), None)
            parking.put(flow)
        assert [flow.index for flow in parking.flows(1)] == [1, 3]
        assert [flow.index for flow in parking.flows(2)] == [0, 4]
        assert [flow.index for flow in parking.flows(DONE)] == [2]
        parking.forget(1)
        parking.forget(3)
        assert not parking.waits_for(1)


class Clock:
    """Stands for the module `time` where rows' clocks are read."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def test_time_parked_is_nobodys_also_when_two_stages_are_waited_for(graph, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(flow_module, "time", clock)
    flow = Flow(graph, chunk(2))
    early, late = (Row(str(n), (n,), None, 0, None) for n in range(2))
    assert flow.deadline(early, [(0, 60)]) == flow.deadline(late, [(0, 60)]) == 1060
    clock.now_s = 1010
    flow.park(1, early, None)
    clock.now_s = 1020
    flow.park(2, late, None)
    flow.settled_s = 1020
    clock.now_s = 5000
    flow.set_clocks()
    assert flow.deadline(early, [(0, 60)]) - clock.now_s == 50
    assert flow.deadline(late, [(0, 60)]) - clock.now_s == 40
    del flow.parked[1]  # its stage came; the other row's has not
    clock.now_s = flow.settled_s = 5005
    clock.now_s = 9000
    flow.set_clocks()
    assert flow.deadline(early, [(0, 60)]) - clock.now_s == 45
    assert flow.deadline(late, [(0, 60)]) - clock.now_s == 40


def test_a_row_that_waited_an_hour_for_its_stage_has_not_timed_out(tmp_path, monkeypatch):
    import time

    begun_s = time.monotonic()
    ahead = Clock()
    ahead.now_s = 0.0
    monkeypatch.setattr(time, "monotonic", _later(time.monotonic, ahead))

    def last(item: Item) -> Item:
        return item

    steps = [ask("first", "a", timeout_s=50), ask("second", "b", timeout_s=50), apply(last)]
    checked = checked_chain(Chain(name="slow", steps=steps, deadline_s=100))
    plan = staged(checked.plan, checked.graph, {"second": 1})
    play, house = Play(tmp_path / "run", checked, plan, [Item(text=str(n)) for n in range(20)]), House(plan)

    def wait(words: list[str]) -> None:
        if words == ["+a", "-a"]:
            ahead.now_s = 3600.0

    house.on_lease = wait
    outcome = play.go(house)
    assert time.monotonic() - begun_s > 3600
    assert (outcome.count.rows_out, outcome.count.rows_failed) == (20, 0)


def _later(clock: Any, ahead: Clock) -> Any:
    return lambda: clock() + ahead.now_s
