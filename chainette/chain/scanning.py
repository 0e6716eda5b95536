"""The types of rows on their way through a scan. Pure data."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

C = TypeVar("C")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class ScanItem(BaseModel, Generic[C, I]):
    """What a scan's body gets: the carry so far and the next item."""

    carry: C
    item: I


class Scanned(BaseModel, Generic[C, O]):
    """What comes out of a scan through a list."""

    carry: C
    """The last one; the first where the list is empty."""
    outputs: list[O]
    """One per item, in order."""
