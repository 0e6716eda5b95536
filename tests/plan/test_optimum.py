"""Whole plans against every plan there is: which engines come when, and where they are put."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.conftest import Planner, ask

NAMES = "ABCD"
lines = st.text(NAMES, min_size=1, max_size=7)
sizes = st.fixed_dictionaries({name: st.sampled_from([0.3, 0.4, 0.5, 0.6, 1.0]) for name in NAMES})


def fewest_loads(line: str, shares: dict[str, float], devices: int) -> int:
    """Of all ways to have engines on devices before each step; one that is somewhere else than before was loaded."""
    engines = sorted(set(line))
    nowhere = (None,) * len(engines)
    states = [
        where
        for where in itertools.product([None, *range(devices)], repeat=len(engines))
        if all(
            sum(shares[name] for name, at in zip(engines, where, strict=True) if at == device) <= 1.00001
            for device in range(devices)
        )
    ]
    cost: dict[tuple[int | None, ...], int] = {nowhere: 0}
    for name in line:
        cost = {
            after: min(
                loads + sum(a is not None and a != b for a, b in zip(after, before, strict=True))
                for before, loads in cost.items()
            )
            for after in states
            if after[engines.index(name)] is not None
        }
    return min(cost.values())


@given(lines, sizes, st.integers(1, 2))
@settings(max_examples=120, deadline=None)
def test_no_plan_of_a_line_has_fewer_loads(line: str, shares: dict[str, float], devices: int) -> None:
    steps = [ask(f"s{position}", name) for position, name in enumerate(line)]
    engines = {name: {"gpu_memory_utilization": share} for name, share in shares.items()}
    plan = Planner()(steps, devices, **engines)
    best = fewest_loads(line, shares, devices)
    if plan.stages[0].why:
        assert plan.total_loads >= best
    else:
        assert plan.total_loads == best
