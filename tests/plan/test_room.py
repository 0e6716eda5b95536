"""What does not fit, with the arithmetic; what is tight; who takes no devices."""

from __future__ import annotations

import pytest

from chainette.devices import Device
from chainette.specs import Capabilities
from tests.plan.conftest import Planner, ask

GIB = 2**30


@pytest.mark.parametrize(
    ("fields", "devices", "said"),
    [
        ({"tensor_parallel_size": 4}, 2, 'engine "A": does not fit: a replica of A takes 4 devices, and there are 2'),
        ({"replicas": 3}, 2, 'engine "A": does not fit: 3 replicas x 0.9 (A) = 2.7 devices, and there are 2'),
        ({"replicas": 2}, 1, 'engine "A": does not fit: 0.9 (A) + 0.9 (A) = 1.8 of gpu 0'),
        ({"devices": [0, 3]}, 2, 'engine "A": does not fit: A is pinned to gpu 3, and there is only gpu 0, 1'),
        (
            {"replicas": 3, "gpu_memory_utilization": 0.6},
            2,
            'engine "A": does not fit: 3 replicas x 0.6 (A) = 1.8 of 2 devices, but not in pieces that fit',
        ),
        (
            {"devices": [0, 1, 2], "replicas": 2},
            4,
            'engine "A": devices [0, 1, 2]: 3 devices cannot be split evenly over 2 replicas',
        ),
        (
            {"devices": [0, 1, 2], "tensor_parallel_size": 2},
            4,
            'engine "A": devices [0, 1, 2]: 3 = 1 replica x 2 + 1 that would be left',
        ),
        (
            {"devices": [0, 1], "tensor_parallel_size": 4},
            4,
            'engine "A": devices [0, 1]: a replica takes 4 devices, and these are 2',
        ),
        ({"tensor_parallel_size": "two"}, 4, "tensor_parallel_size must be a whole number from 1 on, not 'two'"),
    ],
)
def test_what_cannot_fit_even_alone_is_said_with_the_arithmetic(planner: Planner, fields, devices, said) -> None:
    plan = planner([ask("s0", "A")], devices, A=fields)
    assert [said in problem for problem in planner.said] == [True], planner.said
    assert list(plan.misfits) == planner.problems
    assert len(plan.stages) == 1


def test_without_devices_a_server_of_ours_cannot_be_and_the_ways_out_are_named(planner: Planner) -> None:
    planner([ask("s0", "A")], 0, A={})
    (problem,) = planner.problems
    assert problem.message == "runs on devices, and there are none here: no NVIDIA driver here"
    assert all(way in problem.hint for way in ("endpoint", "CPU", "`devices: 1`"))


def test_a_server_that_can_do_without_takes_devices_only_where_there_are_some(planner: Planner) -> None:
    def on_cpu(spec):
        return Capabilities(frozenset(), images=False, on_devices=True, on_cpu=True)

    steps = [ask("s0", "A"), ask("s1", "B")]
    nowhere = planner(steps, 0, on_cpu, A={}, B={})
    assert (nowhere.placements, len(nowhere.stages), planner.problems) == ({}, 1, [])
    declared = planner(steps, 1, on_cpu, A={}, B={})
    assert (declared.placements, len(declared.stages)) == ({"A": ((0,),), "B": ((0,),)}, 2)


def test_a_device_that_others_use_is_a_warning(planner: Planner) -> None:
    busy = Device(0, "A100", memory_bytes=80 * GIB, free_bytes=40 * GIB)
    plan = planner([ask("s0", "A")], [busy], A={})
    (problem,) = planner.problems
    assert problem.severity == "warning"
    assert problem.message == "takes 0.9 of gpu 0 (72.0 GiB of 80.0 GiB), where only 40.0 GiB are free"
    assert plan.placements == {"A": ((0,),)}
    planner([ask("s0", "A")], [busy], A={"gpu_memory_utilization": 0.4})
    assert planner.problems == []


def test_auto_replicas_take_what_the_others_of_their_stage_leave(planner: Planner) -> None:
    plan = planner([ask("s0", "A"), ask("s1", "B")], 4, A={"replicas": "auto"}, B={"tensor_parallel_size": 2})
    assert plan.placements == {"A": ((2,), (3,)), "B": ((0, 1),)}
