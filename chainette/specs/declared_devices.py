"""The `devices:` block of an engines file: devices by declaration. Does not know whether they exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainette.errors import ChainError, Problem, nearest

FORMS = "devices: 4, devices: {count: 8, memory_gib: 80} or devices: [{name: A, memory_gib: 24}, …]"
MANY = 4_096


@dataclass(frozen=True, slots=True)
class DeclaredDevice:
    """One device that an engines file says is here."""

    index: int
    """Within CUDA_VISIBLE_DEVICES; without it, its place in the list."""
    name: str = ""
    memory_bytes: int | None = None


def declared_devices(block: Any, where: str) -> tuple[DeclaredDevice, ...]:
    """The devices of a block as it stands in YAML; `where` is the file and key, for messages.

    Raises:
        ChainError: a form, key or value that does not fit; all of them at once.
    """
    problems: list[Problem] = []
    if isinstance(block, int) and not isinstance(block, bool):
        block = {"count": block}
    if isinstance(block, dict):
        fields = _fields(block, ("count", "name", "memory_gib"), where, problems)
        if "count" not in fields and not problems:
            problems.append(Problem(where, "needs a `count`", FORMS))
        devices = [_device(index, fields) for index in range(fields.get("count", 0))]
    elif isinstance(block, list):
        devices = []
        for position, item in enumerate(block):
            item = {"index": item} if isinstance(item, int) and not isinstance(item, bool) else item
            place = f"{where}[{position}]"
            if not isinstance(item, dict):
                problems.append(Problem(place, f"must be a mapping or an index, not {item!r}", FORMS))
                continue
            fields = _fields(item, ("index", "name", "memory_gib"), place, problems)
            device = _device(fields.get("index", position), fields)
            if any(device.index == other.index for other in devices):
                problems.append(Problem(place, f"a second device with index {device.index}"))
            devices.append(device)
    else:
        raise ChainError(Problem(where, f"must be a number, a mapping or a list, not {block!r}", FORMS))
    if problems:
        raise ChainError(problems)
    return tuple(devices)


def _device(index: int, fields: dict[str, Any]) -> DeclaredDevice:
    memory_gib = fields.get("memory_gib")
    return DeclaredDevice(index, fields.get("name", ""), None if memory_gib is None else round(memory_gib * 2**30))


def _fields(block: dict[Any, Any], known: tuple[str, ...], where: str, problems: list[Problem]) -> dict[str, Any]:
    """Those of the block that fit; the rest becomes problems."""
    kept: dict[str, Any] = {}
    for key, value in block.items():
        wrong = _wrong(key, value) if key in known else "no such key"
        if wrong:
            hint = "" if key in known else nearest(str(key), known)
            problems.append(Problem(f"{where}.{key}", wrong, hint))
        else:
            kept[key] = value
    return kept


def _wrong(key: str, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in ("count", "index"):
        good = isinstance(value, int) and number and 0 <= value <= MANY
        return "" if good else f"must be a whole number from 0 to {MANY}, not {value!r}"
    if key == "memory_gib":
        return "" if number and 0 < value < 2**20 else f"must be a number above 0, in GiB, not {value!r}"
    return "" if isinstance(value, str) else f"must be text, not {value!r}"
