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
        self._shared: dict[int, array[int]] = {}
        """Objects that were handed out several times (small integers, say): their places, in order."""
        self._given: dict[int, int] = {}
        """How many of those places were told."""
        self._look_at = _LOOK_AT

    def __iter__(self) -> Iterator[Any]:
        for place, value in enumerate(self._values()):
            self._note(value, place)
            yield value

    def place_of(self, value: Any) -> int:
        """Which of the values handed out it is, from 0; -1 for none of them."""
        shared = self._shared.get(id(value))
        if shared is not None:
            given = self._given.get(id(value), 0)
            self._given[id(value)] = given + 1
            return shared[min(given, len(shared) - 1)]
        found = self._known.get(id(value))
        return -1 if found is None else found[1]

    def _note(self, value: Any, place: int) -> None:
        if len(self._known) >= self._look_at:
            self._let_go()
            self._look_at = max(_LOOK_AT, 2 * len(self._known))
        key = id(value)
        if key in self._shared:
            self._shared[key].append(place)
        elif key in self._known:
            self._shared[key] = array("q", [self._known[key][1], place])
        else:
            self._known[key] = (value, place)

    def _let_go(self) -> None:
        for key in _only_ours(self._known.values()):
            for table in (self._known, self._shared, self._given):
                table.pop(key, None)


def _only_ours(entries: Iterable[tuple[Any, int]]) -> list[int]:
    """The identities of objects that nothing else refers to."""
    # The reference counts are CPython's: https://docs.python.org/3/library/sys.html#sys.getrefcount
    return [id(value) for value, _ in entries if sys.getrefcount(value) <= _OURS]


_OURS = 1 << 30
"""What the count is for an object that only the table holds."""
_OURS = next(sys.getrefcount(value) for value, _ in {0: (object(), 0)}.values())
