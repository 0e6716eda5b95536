"""Which shares of which devices are taken: "does it fit" apart from "take it". Knows no processes."""

from __future__ import annotations

from collections.abc import Sequence

from chainette.devices import Device, Placement, demand_of, place, shortage
from chainette.engine.standing import beside_others, others_on
from chainette.specs import EngineSpec

_TOLERANCE = 1e-6


class Room:
    """The devices of this process and who holds what of them. Not for several threads at once."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = tuple(devices)
        self._taken: dict[object, tuple[Placement, float]] = {}

    def fit(self, spec: EngineSpec, planned: Placement | None = None) -> Placement | None:
        """Where the engine can go now, `planned` if that is free; None when it does not fit beside what is there.

        Raises:
            PlanError: its keys contradict each other.
        """
        demand, held, devices = demand_of(spec), self._held(), beside_others(self.devices)
        if planned is not None:
            full = {device.index: held.get(device.index, 0.0) + device.taken for device in devices}
            for index in _indexes(planned):
                full[index] = full.get(index, 1.0) + demand.share
            if all(full[index] <= 1 + _TOLERANCE for index in _indexes(planned)):
                return planned
        found = place([demand], devices, held)
        return None if found is None else found[spec.name]

    def ever_fits(self, spec: EngineSpec) -> bool:
        """Whether it would fit if all our own engines made room."""
        return place([demand_of(spec)], beside_others(self.devices)) is not None

    def take(self, holder: object, placement: Placement, spec: EngineSpec) -> None:
        self._taken[holder] = (placement, self.share_of(spec))

    def holds(self, holder: object) -> bool:
        return holder in self._taken

    def held_beside(self, holder: object) -> bool:
        """Whether others than this one have a part of it."""
        return any(other is not holder for other in self._taken)

    def share_of(self, spec: EngineSpec) -> float:
        return demand_of(spec).share

    def give(self, holder: object) -> None:
        """Does nothing when the holder has none."""
        self._taken.pop(holder, None)

    def shortage(self, spec: EngineSpec) -> str:
        """Why it does not fit, with the arithmetic, and what others have on these devices."""
        words = shortage([demand_of(spec)], beside_others(self.devices), self._held())
        others = others_on(self.devices)
        return f"{words}; {others}" if others else words

    def _held(self) -> dict[int, float]:
        held: dict[int, float] = {}
        for placement, share in self._taken.values():
            for index in _indexes(placement):
                held[index] = held.get(index, 0.0) + share
        return held


def _indexes(placement: Placement) -> list[int]:
    return [index for replica in placement for index in replica]
