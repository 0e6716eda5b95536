"""Failures that differ only in a number or a quoted value, as one group. Draws nothing.

Memory does not grow with failures: groups are bounded, and each keeps a few rows as examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

_PARTICULAR = re.compile(r"""'[^']*'|"[^"]*"|\d+(?:[.,]\d+)*""")
_COMPARED = 300
EXAMPLES = 5
MOST_GROUPS = 500
"""What comes after that many different ones is counted and not told apart."""
MOST_READ = 200_000
"""Failures that are looked at, of all nodes together."""


@dataclass(slots=True)
class Alike:
    """Failures of one kind at one node; `message` is that of the commonest."""

    node: str
    kind: str
    message: str
    times: int
    _most: int = 0
    rows: list[str] = field(default_factory=list)
    """Ids of the first few, where they are known."""


class Groups:
    """Failures as they are added, each to those that are like it."""

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self._groups: dict[tuple[str, str, str], Alike] = {}
        self._room = most
        self.others = 0
        """Failures that are in no group, for there were too many groups."""

    def add(self, node: str, kind: str, message: str, times: int = 1, row_id: str | None = None) -> None:
        key = (node, kind, pattern(message))
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= self._room:
                self.others += times
                return
            group = self._groups[key] = Alike(node, kind, message, 0)
        group.times += times
        if times > group._most:
            group.message, group._most = message, times
        if row_id is not None and len(group.rows) < EXAMPLES:
            group.rows.append(row_id)

    def commonest(self) -> list[Alike]:
        return sorted(self._groups.values(), key=lambda group: -group.times)


def pattern(message: str) -> str:
    """What messages that are alike have in common."""
    return _PARTICULAR.sub("#", message[:_COMPARED])


def alike(failures: Iterable[tuple[str, str, str, int]]) -> list[Alike]:
    """(node, kind, message, times) grouped, the commonest first."""
    groups = Groups(most=1 << 60)
    for node, kind, message, times in failures:
        groups.add(node, kind, message, times)
    return groups.commonest()


@dataclass(frozen=True, slots=True)
class GroupedFailures:
    groups: list[Alike]
    """The commonest first."""
    total: int
    """Failures in the folder."""
    read: int
    """Of them, those that were looked at: at each node the first."""
    others: int
    """Of those that were looked at, those in no group."""


def grouped_failures(reader: RunReader, most: int = MOST_READ) -> GroupedFailures:
    """The failures of a run, of each node not more than its part of `most`.

    Raises:
        RunFolderError: a file is damaged.
    """
    groups = Groups()
    failing = [view for id in failing_nodes(reader) if (view := reader.failures(id))]
    read = 0
    for place, view in enumerate(failing):
        fair = max(1, (most - read) // (len(failing) - place))
        for failure in view[:fair]:
            groups.add(failure.node_id, failure.kind, failure.message, row_id=failure.row_id)
            read += 1
    return GroupedFailures(groups.commonest(), sum(map(len, failing)), read, groups.others)


def failing_nodes(reader: RunReader) -> list[str]:
    """The nodes at which rows may have stopped, in order, the input first."""
    from chainette.files.names import INPUT_NODE

    return [INPUT_NODE, *(id for id in reader.step_ids() if id != INPUT_NODE)]
