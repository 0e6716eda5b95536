"""Who has which devices in which stage, given which engines are resident when. Knows no steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chainette.devices import Demand, Device, Lodger, Placement, place, place_lodgers, shortage

_FULL = 1 + 1e-5


@dataclass(frozen=True)
class Stay:
    """What one stage means for the devices."""

    placements: Mapping[str, Placement]
    """Of all resident engines, in the order of declaration."""
    loads: tuple[str, ...]
    rests: tuple[str, ...]
    why: str
    """Why those that rest must, with the arithmetic."""


def house(residents: Sequence[Sequence[str]], demands: Mapping[str, Demand], devices: Sequence[Device]) -> list[Stay]:
    """One stay per stage. `residents` are the engines of each, any of which fit together."""
    placed = _one_place_each(residents, demands, devices) or _one_place_a_visit(residents, demands, devices)
    if placed is None:
        placed = _stage_by_stage(residents, demands, devices)
    stays: list[Stay] = []
    there: dict[str, Placement] = {}
    for placements in placed:
        loads = tuple(engine for engine, at in placements.items() if there.get(engine) != at)
        moved = [engine for engine in loads if stays and engine in stays[-1].placements]
        rests = _in_the_way(there, placements, demands)
        stays.append(Stay(placements, loads, rests, _why(rests, moved, placements, demands, devices)))
        there = {engine: at for engine, at in there.items() if engine not in rests} | dict(placements)
    return stays


def _one_place_each(
    residents: Sequence[Sequence[str]], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> list[dict[str, Placement]] | None:
    """The same devices for an engine in the whole run: where it slept it can wake."""
    engines = list(dict.fromkeys(engine for stage in residents for engine in stage))
    lodgers = [
        Lodger(demands[engine], frozenset(time for time, stage in enumerate(residents) if engine in stage))
        for engine in engines
    ]
    found = place_lodgers(lodgers, devices)
    if found is None:
        return None
    at = dict(zip(engines, found, strict=True))
    return [{engine: at[engine] for engine in stage} for stage in residents]


def _one_place_a_visit(
    residents: Sequence[Sequence[str]], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> list[dict[str, Placement]] | None:
    """The same devices as long as an engine stays; others when it comes back."""
    visits: list[tuple[str, list[int]]] = []
    current: dict[str, list[int]] = {}
    for time, stage in enumerate(residents):
        current = {engine: times for engine, times in current.items() if engine in stage}
        for engine in stage:
            if engine not in current:
                current[engine] = []
                visits.append((engine, current[engine]))
            current[engine].append(time)
    found = place_lodgers([Lodger(demands[engine], frozenset(times)) for engine, times in visits], devices)
    if found is None:
        return None
    placed: list[dict[str, Placement]] = [{} for _ in residents]
    for (engine, times), at in zip(visits, found, strict=True):
        for time in times:
            placed[time][engine] = at
    return [{engine: placed[time][engine] for engine in stage} for time, stage in enumerate(residents)]


def _stage_by_stage(
    residents: Sequence[Sequence[str]], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> list[dict[str, Placement]]:
    """The newcomers around those who are there; where that cannot be, some move, which is a load more for each."""
    placed: list[dict[str, Placement]] = []
    for stage in residents:
        staying = {engine: at for engine, at in (placed[-1] if placed else {}).items() if engine in stage}
        kept, new = next(_around(staying, stage, demands, devices))
        placed.append({engine: kept.get(engine) or new[engine] for engine in stage})
    return placed


def _around(
    staying: Mapping[str, Placement], stage: Sequence[str], demands: Mapping[str, Demand], devices: Sequence[Device]
) -> Iterator[tuple[dict[str, Placement], dict[str, Placement]]]:
    """(who stays where it is, where the others go), first with the fewest that move. The last of them always can be:
    only engines that fit together make a stage."""
    for moving in range(len(staying) + 1):
        for names in itertools.combinations(staying, len(staying) - moving):
            kept = {engine: staying[engine] for engine in names}
            others = [demands[engine] for engine in stage if engine not in kept]
            new = place(others, devices, _held(kept, demands))
            if new is not None:
                yield kept, new


def _held(placements: Mapping[str, Placement], demands: Mapping[str, Demand]) -> dict[int, float]:
    """The share of each device that these have."""
    held: dict[int, float] = {}
    for engine, replicas in placements.items():
        for device in (device for replica in replicas for device in replica):
            held[device] = held.get(device, 0.0) + demands[engine].share
    return held


def _in_the_way(
    there: Mapping[str, Placement], placements: Mapping[str, Placement], demands: Mapping[str, Demand]
) -> tuple[str, ...]:
    """Those of the engines that are there that must give up their devices, the moved among them; others may linger."""
    held = _held(placements, demands)
    rests = []
    for engine, at in there.items():
        if placements.get(engine) == at:
            continue
        own = _held({engine: at}, demands)
        if engine in placements or any(held.get(d, 0.0) + share > _FULL for d, share in own.items()):
            rests.append(engine)
            continue
        for device, share in own.items():
            held[device] = held.get(device, 0.0) + share
    return tuple(rests)


def _why(
    rests: Sequence[str],
    moved: Sequence[str],
    placements: Mapping[str, Placement],
    demands: Mapping[str, Demand],
    devices: Sequence[Device],
) -> str:
    if not rests:
        return ""
    together = [demands[engine] for engine in dict.fromkeys((*rests, *placements))]
    if place(together, devices) is None:
        said = shortage(together, devices)
    else:
        said = f"their devices are for {', '.join(e for e in placements if e not in rests) or 'others'}"
    return f"{said}; {', '.join(moved)} must move" if moved else said
