"""Which replica gets which devices: a packing of shares, by backtracking. Knows neither graphs nor servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chainette.devices.demand import Demand
from chainette.devices.device import Device

Placement = tuple[tuple[int, ...], ...]
"""Per replica the indexes of its devices."""

_WHOLE = 1_000_000
"""A device in the units that shares are counted in, so that 0.3 + 0.3 + 0.4 is exactly one."""
_SLACK = 10
"""Units by which a device may be overfull: a third written as 0.333334 fits three times."""
_TRIES = 2_000
"""Positions looked at before a packing counts as impossible. Every case of a few devices is decided well before."""


@dataclass(frozen=True, slots=True)
class Lodger:
    """A demand and the times (of any count) at which it holds its devices, always the same ones."""

    demand: Demand
    times: frozenset[int]


def place(
    wanted: Sequence[Demand], devices: Sequence[Device], held: Mapping[int, float] | None = None
) -> dict[str, Placement] | None:
    """A placement of all of them at once, by engine; None when they do not fit together.

    `held` is the share of each device, by index, that is taken besides its own `taken`. Big shares get devices of their
    own where they can, small ones come together; the same question has always the same answer.
    """
    found = place_lodgers([Lodger(demand, frozenset((0,))) for demand in wanted], devices, held)
    return None if found is None else {demand.engine: at for demand, at in zip(wanted, found, strict=True)}


def place_lodgers(
    lodgers: Sequence[Lodger], devices: Sequence[Device], held: Mapping[int, float] | None = None
) -> list[Placement] | None:
    """One placement per lodger, in order, so that at no time a device is overfull; None when there is none."""
    times = sorted(set().union(*(lodger.times for lodger in lodgers))) if lodgers else []
    full = {d.index: d.taken + (held or {}).get(d.index, 0.0) for d in devices}
    free = {index: [_WHOLE - units(share)] * len(times) for index, share in full.items()}
    packing = _Packing(lodgers, [[times.index(t) for t in sorted(lodger.times)] for lodger in lodgers], free)
    if not packing.solve():
        return None
    packing.grow()
    return [tuple(at) for at in packing.placed]


def units(share: float) -> int:
    """Hundredths of a per mille of a device, rounded."""
    return round(share * _WHOLE)


def fits(shares: Sequence[float]) -> bool:
    """Whether one device has room for all of these."""
    return sum(units(share) for share in shares) <= _WHOLE + _SLACK


@dataclass
class _Packing:
    """The state of one search."""

    lodgers: Sequence[Lodger]
    times: Sequence[Sequence[int]]
    """Per lodger, the positions of its times in the lists of `free`."""
    free: dict[int, list[int]]
    """Units left by device index, per time."""
    placed: list[list[tuple[int, ...]]] = field(default_factory=list)
    tries: int = 0
    dead: set[tuple[int, tuple[tuple[int, ...], ...]]] = field(default_factory=set)
    """Positions of the search from which nothing fits."""

    def solve(self) -> bool:
        self.placed = [[] for _ in self.lodgers]
        for position, lodger in enumerate(self.lodgers):
            for devices in _pinned(lodger.demand):
                if not all(self._room(position, device) for device in devices):
                    return False
                self._take(position, devices)
        if self._too_much():
            return False
        return self._descend(self._queue(), 0)

    def _queue(self) -> list[int]:
        """Lodgers that are not pinned, one entry per replica; what is hardest to place comes first."""
        loose = [p for p, lodger in enumerate(self.lodgers) if lodger.demand.pinned is None]
        loose.sort(key=lambda p: (-self.lodgers[p].demand.per_replica, -self.lodgers[p].demand.share, p))
        return [p for p in loose for _ in range(self.lodgers[p].demand.least_replicas)]

    def _too_much(self) -> bool:
        """Whether the sums alone say that it cannot fit: quicker than trying all ways."""
        for time in range(max((max(times, default=-1) for times in self.times), default=-1) + 1):
            asked = sum(
                units(lodger.demand.share) * lodger.demand.per_replica * lodger.demand.least_replicas
                for lodger, times in zip(self.lodgers, self.times, strict=True)
                if time in times and lodger.demand.pinned is None
            )
            if asked > sum(left[time] + _SLACK for left in self.free.values()):
                return True
        return False

    def _descend(self, queue: Sequence[int], depth: int) -> bool:
        if depth == len(queue):
            return True
        self.tries += 1
        state = (depth, tuple(sorted(tuple(left) for left in self.free.values())))
        if self.tries > _TRIES or state in self.dead:
            return False
        for devices in self._choices(queue[depth]):
            self._take(queue[depth], devices)
            if self._descend(queue, depth + 1):
                return True
            self._give_back(queue[depth], devices)
        self.dead.add(state)
        return False

    def _choices(self, position: int) -> Iterator[tuple[int, ...]]:
        """Sets of devices for one more replica, the best first; of sets that are alike only one."""
        lodger = self.lodgers[position]
        times, big = self.times[position], lodger.demand.share > 0.5
        own = {device for devices in self.placed[position] for device in devices}

        def liking(device: int) -> tuple[bool, int, int]:
            least = min(self.free[device][time] for time in times)
            return device in own, -least if big else least, device

        alike: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
        for device in sorted((device for device in self.free if self._room(position, device)), key=liking):
            alike.setdefault((device in own, tuple(self.free[device])), []).append(device)
        for devices in _draws(list(alike.values()), lodger.demand.per_replica):
            yield tuple(sorted(devices))

    def _room(self, position: int, device: int) -> bool:
        share = units(self.lodgers[position].demand.share) - _SLACK
        return device in self.free and all(self.free[device][time] >= share for time in self.times[position])

    def _take(self, position: int, devices: tuple[int, ...], sign: int = 1) -> None:
        share = sign * units(self.lodgers[position].demand.share)
        for device in devices:
            for time in self.times[position]:
                self.free[device][time] -= share
        if sign > 0:
            self.placed[position].append(devices)

    def _give_back(self, position: int, devices: tuple[int, ...]) -> None:
        self._take(position, devices, -1)
        self.placed[position].pop()

    def grow(self) -> None:
        """One more replica for each `auto` in turn, as long as there is room for any."""
        growing = [p for p, lodger in enumerate(self.lodgers) if lodger.demand.replicas == "auto"]
        while growing:
            for position in list(growing):
                devices = next(self._choices(position), None)
                if devices is None:
                    growing.remove(position)
                else:
                    self._take(position, devices)


def _draws(groups: Sequence[Sequence[int]], count: int) -> Iterator[tuple[int, ...]]:
    """Ways to draw `count` from groups whose members are alike, as many as can be from the first group first."""
    if not count:
        yield ()
    elif sum(map(len, groups)) >= count:
        for taken in range(min(count, len(groups[0])), -1, -1):
            for rest in _draws(groups[1:], count - taken):
                yield (*groups[0][:taken], *rest)


def _pinned(demand: Demand) -> list[tuple[int, ...]]:
    """The devices of each replica, in the order they were written; none for what is not pinned. Replicas that outnumber
    the devices take turns on them."""
    if demand.pinned is None:
        return []
    turn = itertools.cycle(demand.pinned)
    return [tuple(itertools.islice(turn, demand.per_replica)) for _ in range(demand.least_replicas)]
