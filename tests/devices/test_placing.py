"""Who gets which devices."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainette.devices import Demand, Device, Lodger, demand_of, place, place_lodgers, shortage
from chainette.errors import PlanError
from chainette.specs import EngineSpec


def gpus(count: int) -> list[Device]:
    return [Device(index) for index in range(count)]


def want(engine: str, share: float = 0.9, per: int = 1, replicas="auto", pinned=None) -> Demand:
    return Demand(engine, per, replicas, share, pinned)


def one(engine: str, share: float = 0.9, per: int = 1, replicas: int = 1, pinned=None) -> Demand:
    return Demand(engine, per, replicas, share, pinned)


CASES = [
    # wanted, devices, held, placements
    ("one", [one("a")], 1, {}, {"a": ((0,),)}),
    ("side by side", [one("a"), one("b")], 2, {}, {"a": ((0,),), "b": ((1,),)}),
    ("too many", [one("a"), one("b")], 1, {}, None),
    ("fractions add up to one", [one("a", 0.3), one("b", 0.3), one("c", 0.4)], 1, {}, dict.fromkeys("abc", ((0,),))),
    (
        "thirds add up to one",
        [one("a", 0.3334), one("b", 0.3333), one("c", 0.3333)],
        1,
        {},
        dict.fromkeys("abc", ((0,),)),
    ),
    ("no more than one", [one("a", 0.5), one("b", 0.51)], 1, {}, None),
    (
        "small ones come together, the big one has a device of its own",
        [one("a", 0.3), one("big"), one("b", 0.3)],
        3,
        {},
        {"a": ((1,),), "big": ((0,),), "b": ((1,),)},
    ),
    ("replicas of one engine spread", [one("a", 0.4, replicas=2)], 2, {}, {"a": ((0,), (1,))}),
    ("and share where they must", [one("a", 0.4, replicas=2)], 1, {}, {"a": ((0,), (0,))}),
    ("a replica over two", [one("a", per=2, replicas=2)], 4, {}, {"a": ((0, 1), (2, 3))}),
    ("not over one twice", [one("a", 0.4, per=2)], 1, {}, None),
    ("pinned", [one("a"), one("b", pinned=(0,))], 2, {}, {"a": ((1,),), "b": ((0,),)}),
    ("pinned in order", [one("a", per=2, replicas=2, pinned=(3, 1, 0, 2))], 4, {}, {"a": ((3, 1), (0, 2))}),
    ("pinned to one that is not here", [one("a", pinned=(1,))], 1, {}, None),
    ("two pinned to one", [one("a", pinned=(0,)), one("b", pinned=(0,))], 2, {}, None),
    ("around what is held", [one("a", 0.5)], 2, {0: 0.6}, {"a": ((1,),)}),
    ("beside what is held", [one("a", 0.4)], 2, {0: 0.6}, {"a": ((0,),)}),
    ("no room left", [one("a", 0.5)], 1, {0: 0.6}, None),
    (
        "what first fit would miss",
        [one("a", 0.6), one("b", 0.5), one("c", 0.5), one("d", 0.4)],
        2,
        {},
        {"a": ((0,),), "b": ((1,),), "c": ((1,),), "d": ((0,),)},
    ),
    ("auto takes all", [want("a")], 3, {}, {"a": ((0,), (1,), (2,))}),
    ("auto takes what is left", [want("a"), one("b", per=2)], 4, {}, {"a": ((2,), (3,)), "b": ((0, 1),)}),
    ("autos take turns", [want("a"), want("b")], 4, {}, {"a": ((0,), (2,)), "b": ((1,), (3,))}),
    ("auto in pairs", [want("a", per=2)], 5, {}, {"a": ((0, 1), (2, 3))}),
    ("auto needs one", [want("a"), one("b")], 1, {}, None),
    ("nothing", [], 0, {}, {}),
]


@pytest.mark.parametrize(("wanted", "count", "held", "placed"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_engines_are_placed(wanted, count, held, placed) -> None:
    assert place(wanted, gpus(count), held) == placed


def test_devices_are_known_by_their_index() -> None:
    assert place([one("a"), one("b")], [Device(3), Device(5)]) == {"a": ((3,),), "b": ((5,),)}


def test_a_lodger_keeps_its_devices_and_others_have_them_before_and_after() -> None:
    early, late = frozenset((0,)), frozenset((1,))
    lodgers = [Lodger(one("a"), early), Lodger(one("b"), late), Lodger(one("c"), early | late)]
    a, b, c = place_lodgers(lodgers, gpus(2)) or []
    assert a == b != c


shares = st.sampled_from([0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])


@given(st.lists(st.tuples(shares, st.integers(1, 2), st.integers(1, 2)), max_size=4), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_a_placement_is_found_whenever_there_is_one_and_never_overfills(asked, count: int) -> None:
    wanted = [one(str(n), share, per, replicas) for n, (share, per, replicas) in enumerate(asked)]
    found = place(wanted, gpus(count))
    assert (found is not None) == any_way(wanted, count)
    load = [0.0] * count
    for demand in wanted if found else []:
        at = (found or {})[demand.engine]
        assert [len(set(devices)) for devices in at] == [demand.per_replica] * int(demand.replicas)
        for device in itertools.chain(*at):
            load[device] += demand.share
    assert max(load) <= 1.00001


def any_way(wanted: list[Demand], count: int) -> bool:
    """By trying all sets of devices for all replicas."""
    pieces = [demand for demand in wanted for _ in range(int(demand.replicas))]
    loads = {(0.0,) * count}
    for piece in pieces:
        loads = {
            tuple(round(load + (piece.share if device in devices else 0), 6) for device, load in enumerate(before))
            for before in loads
            for devices in itertools.combinations(range(count), piece.per_replica)
        }
        loads = {after for after in loads if max(after) <= 1.00001}
    return bool(loads)


@pytest.mark.parametrize(
    ("fields", "per", "replicas"),
    [
        ({}, 1, 1),
        ({"tensor_parallel_size": 4}, 4, 1),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 3}, 12, 1),
        ({"replicas": 3}, 1, 3),
        ({"replicas": "auto", "tensor_parallel_size": 2}, 2, "auto"),
        ({"devices": [0, 1, 2, 3]}, 4, 1),
        ({"devices": [0, 1, 2, 3], "replicas": 2}, 2, 2),
        ({"devices": [0, 1, 2, 3], "tensor_parallel_size": 2}, 2, 2),
        ({"devices": [0, 1, 2, 3], "tensor_parallel_size": 2, "replicas": 2}, 2, 2),
        ({"devices": [0, 1, 2, 3], "replicas": "auto"}, 1, 4),
        ({"devices": [0, 1, 2, 3], "pipeline_parallel_size": 2}, 4, 1),
        ({"devices": [0], "replicas": 2, "gpu_memory_utilization": 0.4}, 1, 2),
    ],
)
def test_devices_and_sizes_say_what_an_engine_asks_for(fields, per, replicas) -> None:
    demand = demand_of(EngineSpec.parse({"name": "a", "backend": "vllm", "model": "m", **fields}))
    assert (demand.per_replica, demand.replicas) == (per, replicas)
    assert demand.share == fields.get("gpu_memory_utilization", 0.9)
    assert demand.pinned == (tuple(fields["devices"]) if "devices" in fields else None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"devices": [0, 1, 2], "replicas": 2}, "3 devices cannot be split evenly over 2 replicas"),
        (
            {"devices": [0, 1, 2], "pipeline_parallel_size": 2},
            "split evenly over 1 replica x 2 (pipeline and data parallel)",
        ),
        ({"devices": [0, 1, 2], "tensor_parallel_size": 2}, "3 = 1 replica x 2 + 1 that would be left"),
        (
            {"devices": [0, 1, 2, 3], "tensor_parallel_size": 2, "replicas": 1},
            "1 replica x 2 = 2 devices, and these are 4",
        ),
        (
            {"devices": [0, 1, 2, 3], "tensor_parallel_size": 2, "replicas": 3},
            "3 replicas x 2 = 6 devices, and these are 4",
        ),
        ({"devices": [0, 0]}, "must be different indexes"),
    ],
)
def test_devices_that_cannot_be_split_are_a_plan_error_with_the_arithmetic(fields, said) -> None:
    with pytest.raises(PlanError) as error:
        demand_of(EngineSpec.parse({"name": "a", "backend": "vllm", "model": "m", **fields}))
    assert str(error.value).startswith(f'engine "a": devices {fields["devices"]}')
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "count", "held", "said"),
    [
        ([one("a")], 0, {}, "there are no devices"),
        ([one("a", 0.9), one("b", 0.3)], 1, {}, "0.9 (a) + 0.3 (b) = 1.2 of gpu 0"),
        ([one("a", 0.5)], 1, {0: 0.6}, "0.6 (taken) + 0.5 (a) = 1.1 of gpu 0"),
        ([one("a", pinned=(1,)), one("b", pinned=(1,))], 4, {}, "0.9 (a) + 0.9 (b) = 1.8 of gpu 1"),
        ([one("a", per=8)], 4, {}, "a replica of a takes 8 devices, and there are 4"),
        (
            [one("a", per=2, replicas=2), one("b")],
            2,
            {},
            "2 replicas x 2 devices x 0.9 (a) + 0.9 (b) = 4.5 devices, and there are 2",
        ),
    ],
)
def test_a_shortage_is_said_with_the_arithmetic(wanted, count, held, said) -> None:
    assert place(wanted, gpus(count), held) is None
    assert shortage(wanted, gpus(count), held) == said
