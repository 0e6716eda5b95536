"""Calls a list function on a chunk and finds out which row each of its rows came from. Knows no graph.

See docs/design/001 for the order of the rules and why position alone is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Made = list[list[Any]]
"""Per row that went in, what came out of it."""


class UnattributableError(Exception):
    """The function made rows of which nobody can say where they came from."""


class ListFunction:
    """One list function, and what has been learnt about it."""

    def __init__(self, call: Callable[[list[Any]], Sequence[Any]], *, one_for_one: bool) -> None:
        self._call = call
        self._one_for_one = one_for_one
        self._row_by_row: bool | None = None
        """None: not known yet. False: as a whole, one row for one row."""

    def __call__(self, values: list[Any]) -> Made:
        """What the function makes of `values`, by row.

        Raises:
            UnattributableError: rows came back that cannot be told apart.
            Exception: whatever the function raises.
        """
        if self._row_by_row:
            return [list(self._call([value])) for value in values]
        out = list(self._call(list(values)))
        made = _by_identity(values, out)
        if made is not None:
            return made
        if self._one_for_one or self._row_by_row is False:
            if len(out) == len(values):
                return [[value] for value in out]
            if self._one_for_one:
                raise UnattributableError(f"returned {len(out)} rows for {len(values)}, but promises one for one")
        return self._learn(values, out)

    def _learn(self, values: list[Any], out: list[Any]) -> Made:
        if len(values) == 1:
            return [out]
        made = [list(self._call([value])) for value in values]
        if [value for rows in made for value in rows] == out:
            self._row_by_row = any(len(rows) != 1 for rows in made)
            return made
        if len(out) == len(values):
            self._row_by_row = False
            return [[value] for value in out]
        raise UnattributableError(
            f"returned {len(out)} new rows for {len(values)}, and does not treat rows one by one, so nobody can say "
            "which came from which; annotate it as T -> list[U], or return the rows it got"
        )


def _by_identity(values: list[Any], out: list[Any]) -> Made | None:
    """By row, when everything that came back went in; None otherwise."""
    if values and isinstance(values[0], _SHARED):
        return None
    positions: dict[int, list[int]] = {}
    for position, value in enumerate(values):
        positions.setdefault(id(value), []).append(position)
    made: Made = [[] for _ in values]
    turn: dict[int, int] = {}
    for value in out:
        places = positions.get(id(value))
        if places is None:
            return None
        if len(places) == 1:
            made[places[0]].append(value)
        else:  # one object that went in several times, as small numbers do
            used = turn.get(id(value), 0)
            made[places[min(used, len(places) - 1)]].append(value)
            turn[id(value)] = used + 1
    return made


_SHARED = (str, bytes, int, float, bool, tuple, type(None))
"""Types of which Python may use one object in several places, so that identity says nothing."""
