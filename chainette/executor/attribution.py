"""Calls a list function on a chunk and finds out which row each of its rows came from. Knows no graph.

See docs/design/001 for the order of the rules and why position alone is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainette.chain.drop import Drop

Made = list[list[Any]]
"""Per row that went in, what came out of it."""


class UnattributableError(Exception):
    """The function made rows of which nobody can say where they came from."""


class ListFunction:
    """One list function, and what has been learnt about it."""

    def __init__(
        self, call: Callable[[list[Any]], Sequence[Any]], own: Callable[[Any], Any], *, one_for_one: bool
    ) -> None:
        """`own` gives a value's copy for the function to keep, so that asking again gives it the same rows again."""
        self._call = call
        self._own = own
        self._one_for_one = one_for_one
        self._row_by_row = False

    def __call__(self, values: list[Any]) -> Made:
        """What the function makes of `values`, by row.

        Raises:
            UnattributableError: rows came back that cannot be told apart.
            Exception: whatever the function raises.
        """
        if self._row_by_row:
            return self._each(values)
        given = [self._own(value) for value in values]
        out = list(self._call(list(given)))
        made = _by_identity(given, out)
        if made is not None:
            return made
        if self._one_for_one:
            if len(out) != len(values):
                raise UnattributableError(f"returned {len(out)} rows for {len(values)}, but promises one for each")
            return [[value] for value in out]
        return self._learn(values, out)

    def _each(self, values: list[Any]) -> Made:
        return [list(self._call([self._own(value)])) for value in values]

    def _learn(self, values: list[Any], out: list[Any]) -> Made:
        """New rows: asks again, row by row. The same rows, or others of a function that never gives the same twice,
        mean that it treats rows one by one."""
        if len(values) == 1:
            return [out]
        made = self._each(values)
        if _same_rows(made, out) or not _same_rows(self._each(values), _flat(made)):
            self._row_by_row = True
            return made
        raise UnattributableError(
            f"returned {len(out)} new rows for {len(values)} and looks across rows, so nobody can say which came from "
            "which; return the rows it got, annotate it as T -> list[U], or promise one for each, in order: "
            'apply(fn, shape="map")'
        )


def _flat(made: Made) -> list[Any]:
    return [value for rows in made for value in rows]


def _same_rows(made: Made, out: list[Any]) -> bool:
    """Whether both hold the same values, in whatever order."""
    flat = _flat(made)
    if len(flat) != len(out):
        return False
    try:
        if flat == out:
            return True
        rest = list(out)
        for value in flat:
            rest.remove(value)
    except Exception:  # not among them, or of a type that has no plain truth
        return False
    return True


def _by_identity(given: list[Any], out: list[Any]) -> Made | None:
    """By row, when everything that came back went in; None otherwise."""
    if given and isinstance(given[0], _SHARED):
        return None
    positions: dict[int, list[int]] = {}
    for position, value in enumerate(given):
        positions.setdefault(id(value), []).append(position)
    made: Made = [[] for _ in given]
    turn: dict[int, int] = {}
    for value in out:
        places = positions.get(id(value))
        if places is None:
            return _in_place(given, out)
        if len(places) == 1:
            made[places[0]].append(value)
        else:  # one object that went in several times
            used = turn.get(id(value), 0)
            made[places[min(used, len(places) - 1)]].append(value)
            turn[id(value)] = used + 1
    return made


def _in_place(given: list[Any], out: list[Any]) -> Made | None:
    """By row, when each row that went in is there still, or a `Drop` in its place; None otherwise."""
    if len(out) != len(given):
        return None
    pairs = zip(given, out, strict=True)
    return [[value] for value in out] if all(n is o or type(o) is Drop for n, o in pairs) else None


_SHARED = (str, bytes, int, float, bool, tuple, type(None))
"""Types of which Python may use one object in several places, so that identity says nothing."""
