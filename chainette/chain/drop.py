"""`Drop`: what a function returns to leave a row out and say why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drop:
    """The row ends here and is no failure; `why` is counted beside its node."""

    why: str
