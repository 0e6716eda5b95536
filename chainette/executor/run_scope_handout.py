"""Rows on their way into a function over the whole run, and which of them an object that comes back is.

An object is known as long as somebody could return it: those that only this table still holds are let go, so a function
that goes through the rows without keeping them costs no memory. Knows nothing of where rows come from.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_LOOK_AT = 4096
"""Objects from which on it is looked whether somebody else holds them."""


class Handout:
    """Iterates over values, in order, and remembers them by identity."""

    def __init__(self, values: Callable[[], Iterable[Any]]) -> None:
        """`values` gives them from the first on, as often as somebody goes through them."""
        self._values = values
        self._known: dict[int, tuple[Any, int]] = {}
        """Identity -> object and place; of one whose place was told `~place`."""
        self._shared: dict[int, _Places] = {}
        """Objects that were handed out several times (small integers, say)."""
        self._at = -1
        """The place of the one that was handed out last; -1 when all were."""
        self._look_at = _LOOK_AT

    def __iter__(self) -> Iterator[Any]:
        for place, value in enumerate(self._values()):
            self._note(value, place)
            self._at = place
            yield value
        self._at = -1

    def place_of(self, value: Any) -> int:
        """Which of the values handed out it is, from 0; -1 for none of them."""
        shared = self._shared.get(id(value))
        if shared is not None:
            return shared.tell(self._at)
        found = self._known.get(id(value))
        if found is None:
            return -1
        place = found[1]
        if place < 0:
            return ~place
        self._known[id(value)] = (value, ~place)
        return place

    def _note(self, value: Any, place: int) -> None:
        if len(self._known) >= self._look_at:
            self._let_go()
            self._look_at = max(_LOOK_AT, 2 * len(self._known))
        key = id(value)
        if key in self._shared:
            self._shared[key].add(place)
        elif key in self._known:
            self._shared[key] = _Places(self._known[key][1])
            self._shared[key].add(place)
        else:
            self._known[key] = (value, place)

    def _let_go(self) -> None:
        for key in _only_ours(self._known.values()):
            self._known.pop(key, None)
            self._shared.pop(key, None)


class _Places:
    """Where one object was handed out. Each place is told once, as long as there are others."""

    __slots__ = ("_first", "_highest", "_told", "_untold")

    def __init__(self, place: int) -> None:
        """`~place` where it was told."""
        self._told = self._highest = place if place >= 0 else ~place
        self._untold = array("q", [place] if place >= 0 else [])
        self._first = 0

    def add(self, place: int) -> None:
        if place > self._highest:  # and not gone through again
            self._highest = place
            self._untold.append(place)

    def tell(self, now: int) -> int:
        """The place `now`, which who gives back each as it comes means; else the first that was not told."""
        if self._first < len(self._untold):
            if self._untold[-1] == now:
                self._told = self._untold.pop()
            else:
                self._told = self._untold[self._first]
                self._first += 1
        return self._told


def _only_ours(entries: Iterable[tuple[Any, int]]) -> list[int]:
    """The identities of objects that nothing else refers to."""
    # The reference counts are CPython's: https://docs.python.org/3/library/sys.html#sys.getrefcount
    return [id(value) for value, _ in entries if sys.getrefcount(value) <= _OURS]


_OURS = 1 << 30
"""What the count is for an object that only the table holds."""
_OURS = next(sys.getrefcount(value) for value, _ in {0: (object(), 0)}.values())
