"""What a run folder asks of where it is carried to, and the answers of one that stays on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Carried(Protocol):
    """A remote folder that what is written goes to as well."""

    @property
    def url(self) -> str | None:
        """Without a password; None where there is no remote folder."""

    def push(self) -> None:
        """Carry over now what there is, and from now on what there will be."""

    def push_first(self) -> None:
        """`push`, unless there was one."""

    def nudge(self) -> None:
        """There is something new."""

    def still(self) -> AbstractContextManager[None]:
        """While files are exchanged for others."""

    def take_warnings(self) -> list[str]:
        """What there is to say of it since the last time."""

    def close(self) -> None:
        """Carry over what is left and give it back."""


class Uncarried:
    """Nothing is carried anywhere."""

    url: str | None = None

    def push(self) -> None: ...

    def push_first(self) -> None: ...

    def nudge(self) -> None: ...

    def still(self) -> AbstractContextManager[None]:
        return nullcontext()

    def take_warnings(self) -> list[str]:
        return []

    def close(self) -> None: ...
