"""Why engines do not fit on the devices, with the arithmetic. Says what `place` found, decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainette.devices.demand import Demand
from chainette.devices.device import Device
from chainette.devices.placing import fits


def shortage(wanted: Sequence[Demand], devices: Sequence[Device], held: Mapping[int, float] | None = None) -> str:
    """Why these do not fit together, in words for a person; asked when `place` finds nothing."""
    if not devices:
        return "there are no devices"
    held = {device.index: device.taken + (held or {}).get(device.index, 0.0) for device in devices}
    here = {device.index for device in devices}
    for demand in wanted:
        gone = [index for index in demand.pinned or () if index not in here]
        if gone:
            return f"{demand.engine} is pinned to {_gpus(gone)}, and there is only {_gpus(sorted(here))}"
        if demand.per_replica > len(devices):
            return f"a replica of {demand.engine} takes {_count(demand.per_replica)}, and there {_are(devices)}"
    return _of_one_device(wanted, devices, held) or _of_all(wanted, devices, held)


def _of_one_device(wanted: Sequence[Demand], devices: Sequence[Device], held: Mapping[int, float]) -> str:
    """The sum on a device that is too full by what has no other place to go."""
    for device in devices:
        shares = [(held[device.index], "taken")] if held.get(device.index) else []
        for demand in wanted:
            if demand.pinned is not None and device.index in demand.pinned:
                on_it = demand.least_replicas * demand.per_replica // len(demand.pinned)
                shares += [(demand.share, demand.engine)] * on_it
            elif len(devices) == 1:
                shares += [(demand.share, demand.engine)] * demand.least_replicas
        if not fits([share for share, _ in shares]):
            said = " + ".join(f"{share:g} ({of})" for share, of in shares)
            total = sum(share for share, _ in shares)
            return f"{said} = {total:.6g} of {device.label}" if len(shares) > 1 else f"{said} of {device.label}"
    return ""


def _of_all(wanted: Sequence[Demand], devices: Sequence[Device], held: Mapping[int, float]) -> str:
    parts = [_part(demand) for demand in wanted]
    asked = sum(demand.least_replicas * demand.per_replica * demand.share for demand in wanted)
    taken = sum(held.get(device.index, 0.0) for device in devices)
    if taken:
        parts.append(f"{taken:.6g} (taken)")
    said = f"{' + '.join(parts)} = {asked + taken:.6g}"
    if asked + taken > len(devices):
        return f"{said} devices, and there {_are(devices)}"
    return f"{said} of {_count(len(devices))}, but not in pieces that fit: the shares of one device add up to at most 1"


def _part(demand: Demand) -> str:
    """`2 replicas x 4 devices x 0.9 (llama3)`, without what is one."""
    factors = []
    if demand.least_replicas > 1:
        factors.append(f"{demand.replicas} replicas")
    if demand.per_replica > 1:
        factors.append(_count(demand.per_replica))
    return " x ".join([*factors, f"{demand.share:g} ({demand.engine})"])


def _count(number: int) -> str:
    return "1 device" if number == 1 else f"{number} devices"


def _are(devices: Sequence[Device]) -> str:
    return "is 1" if len(devices) == 1 else f"are {len(devices)}"


def _gpus(indexes: Sequence[int]) -> str:
    return f"gpu {', '.join(map(str, indexes))}"
