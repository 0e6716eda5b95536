"""The search for the order of loads, against every order there is."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chainette.devices import Demand, Device, place
from chainette.plan.order import loads_of, orders
from chainette.plan.work import Work

ENGINES = 4


@st.composite
def works(draw: st.DrawFn) -> Work:
    """Up to seven steps, each after any of those before it; some, as loops do, need several engines together."""
    count = draw(st.integers(1, 7))
    needed = st.one_of(st.sampled_from([0, *(1 << engine for engine in range(ENGINES))]), st.integers(0, 0b111))
    engines = draw(st.lists(needed, min_size=count, max_size=count))
    before: list[int] = []
    for step in range(count):
        direct = draw(st.integers(0, (1 << step) - 1))
        above = [before[other] | 1 << other for other in range(step) if direct >> other & 1]
        before.append(sum_of(above))
    return Work(engines, before)


def sum_of(sets: list[int]) -> int:
    found = 0
    for bits in sets:
        found |= bits
    return found


sizes = st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.6, 1.0]), min_size=ENGINES, max_size=ENGINES)


def fitting(shares: list[float], devices: int):
    def fits(engines: int) -> bool:
        wanted = [Demand(str(e), 1, 1, shares[e], None) for e in range(ENGINES) if engines >> e & 1]
        return place(wanted, [Device(index) for index in range(devices)]) is not None

    return fits


def least_loads(work: Work, fits) -> int:
    """By trying every set of engines after every other, however wasteful."""
    sets = [engines for engines in range(1 << ENGINES) if fits(engines)]
    cost = {(0, 0): 0}
    waiting = [(0, 0)]
    while waiting:
        done, resident = waiting.pop()
        for engines in sets:
            after = (work.after(done, engines), engines)
            loads = cost[done, resident] + (engines & ~resident).bit_count()
            if loads < cost.get(after, loads + 1):
                cost[after] = loads
                waiting.append(after)
    return min(loads for (done, _), loads in cost.items() if done == work.all_done)


@given(works(), sizes, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_no_order_has_fewer_loads(work: Work, shares: list[float], devices: int) -> None:
    fits = fitting(shares, devices)
    assume(all(fits(engines) for engines in work.engines))
    turns, proved = next(orders(work, fits, ENGINES))
    assert proved
    assert loads_of(turns) == least_loads(work, fits)


@given(works(), sizes, st.integers(1, 3), st.sampled_from([0, 3_000]))
@settings(max_examples=150, deadline=None)
def test_every_turn_fits_and_does_all_that_it_can(work: Work, shares: list[float], devices: int, edges: int) -> None:
    fits = fitting(shares, devices)
    assume(all(fits(engines) for engines in work.engines))
    for turns, _ in orders(work, fits, ENGINES, edges):
        done = 0
        for turn in turns:
            assert fits(turn.resident)
            assert turn.done == work.after(done, turn.resident) != done
            done = turn.done
        assert done == work.all_done


def test_fifty_steps_on_ten_engines_are_solved_to_the_end() -> None:
    engines = [1 << (step * 7 + step // 5) % 10 for step in range(50)]
    work = Work(engines, [(1 << step) - 1 for step in range(50)])
    turns, proved = next(orders(work, lambda resident: resident.bit_count() <= 3, 3))
    assert proved
    assert turns[-1].done == (1 << 50) - 1


def test_of_orders_with_as_few_loads_the_one_with_fewer_turns_is_taken() -> None:
    independent = Work([1, 2, 4, 8], [0, 0, 0, 0])
    turns, _ = next(orders(independent, lambda resident: resident.bit_count() <= 2, 2))
    assert [turn.resident for turn in turns] == [0b0011, 0b1100]
