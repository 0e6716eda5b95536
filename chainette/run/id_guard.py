"""Refuses ids from the data that an expanded row's children could have too. Knows only ids."""

from __future__ import annotations

from collections.abc import Sequence

from chainette.errors import InputError


class IdGuard:
    """With `a` and `a.0` both in the data, a child of `a` and the row `a.0` would be one id. Keeps a hash per id."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._parents: set[int] = set()

    def check(self, ids: Sequence[str]) -> None:
        """
        Raises:
            InputError: names the two ids.
        """
        for id in ids:
            parent, _, number = id.rpartition(".")
            key = hash(id)
            self._ids.add(key)
            if key in self._parents:
                raise _clash(id, f"{id}.…")
            while parent and number.isdigit():
                if hash(parent) in self._ids:
                    raise _clash(parent, id)
                self._parents.add(hash(parent))
                parent, _, number = parent.rpartition(".")


def _clash(parent: str, child: str) -> InputError:
    return InputError(
        f'ids "{parent}" and "{child}": the chain makes several rows of one, and a child of "{parent}" would have the '
        "id of the other; take another --id-field, or none"
    )
