"""Placements over stages: an engine stays where it is, and where it must move that is said and counted."""

from __future__ import annotations

from chainette.devices import Demand, Device
from chainette.plan.housing import house


def engines(**shares: float) -> dict[str, Demand]:
    return {name: Demand(name, 1, 1, share, None) for name, share in shares.items()}


def stays(residents: str, demands: dict[str, Demand], devices: int = 2):
    return house([list(stage) for stage in residents.split()], demands, [Device(index) for index in range(devices)])


def test_an_engine_that_comes_back_has_the_devices_it_had() -> None:
    first, second, third = stays("AB AC AB", engines(A=0.9, B=0.9, C=0.9))
    assert first.placements["B"] == second.placements["C"] == third.placements["B"]
    assert [stay.loads for stay in (first, second, third)] == [("A", "B"), ("C",), ("B",)]
    assert [stay.rests for stay in (first, second, third)] == [(), ("B",), ("C",)]


def test_one_that_comes_back_to_a_taken_device_gets_another() -> None:
    first, second, third = stays("AB BC CA", engines(A=1.0, B=1.0, C=1.0))
    assert first.placements["B"] == second.placements["B"]
    assert second.placements["C"] == third.placements["C"] == first.placements["A"]
    assert third.placements["A"] == first.placements["B"]
    assert sum(len(stay.loads) for stay in (first, second, third)) == 4


def test_engines_that_must_move_are_loaded_once_more_and_that_is_said() -> None:
    # A and B must be apart beside C and D, and together beside E.
    first, second = stays("ABCD ABE", engines(A=0.4, B=0.4, C=0.6, D=0.6, E=1.0))
    assert len(first.loads) == 4
    moved = [name for name in "AB" if first.placements[name] != second.placements[name]]
    assert len(moved) == 1
    assert second.loads == (*moved, "E")
    assert set(second.rests) == {"C", "D", *moved}
    assert second.why.endswith(f"; {moved[0]} must move")


def test_what_is_finished_and_in_nobodys_way_may_stay() -> None:
    _, second = stays("AB BC", engines(A=0.3, B=0.3, C=0.3), devices=1)
    assert second.rests == ()
