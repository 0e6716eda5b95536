"""Failures that differ only in a number or a quoted value, counted as one. Draws nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PARTICULAR = re.compile(r"""'[^']*'|"[^"]*"|\d+(?:[.,]\d+)*""")
_COMPARED = 300


@dataclass(slots=True)
class Alike:
    """Failures of one kind at one node; `message` is that of the commonest."""

    node: str
    kind: str
    message: str
    times: int
    _most: int = 0


def alike(failures: Iterable[tuple[str, str, str, int]]) -> list[Alike]:
    """(node, kind, message, times) grouped, the commonest first."""
    groups: dict[tuple[str, str, str], Alike] = {}
    for node, kind, message, times in failures:
        key = (node, kind, _PARTICULAR.sub("#", message[:_COMPARED]))
        group = groups.setdefault(key, Alike(node, kind, message, 0))
        group.times += times
        if times > group._most:
            group.message, group._most = message, times
    return sorted(groups.values(), key=lambda group: -group.times)
