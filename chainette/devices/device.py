"""One device as our process may see it. Knows neither how it was found nor who will have it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a part of one that counts as one."""

    index: int
    """Within CUDA_VISIBLE_DEVICES, as CUDA counts."""
    name: str = ""
    memory_bytes: int | None = None
    free_bytes: int | None = None
    visible: str = ""
    """What a child's CUDA_VISIBLE_DEVICES must say for it. Empty: a declared one that the outer variable hides."""
    declared: bool = False
    """By a `devices:` block."""
    uuid: str = ""
    """The driver's own name for it; empty for one that it does not know."""
    taken: float = 0.0
    """Share of it that nobody can be given: engines of other processes of ours have it."""

    @property
    def id(self) -> str:
        """One name for one device, however CUDA_VISIBLE_DEVICES calls it."""
        return self.uuid or self.visible

    @property
    def label(self) -> str:
        return f"gpu {self.index}"


@dataclass(frozen=True)
class DevicesHere:
    """What there is to place engines on."""

    devices: tuple[Device, ...]
    said: str
    """Why there are none, or the empty string."""
