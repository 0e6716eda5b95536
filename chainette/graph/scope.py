"""What is in reach at one point of the walk through a chain, and how ids become names. Adds nothing to a graph."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from chainette.graph.nodes import Reference


@dataclasses.dataclass
class Scope:
    """What is in reach at one point of the walk."""

    names: dict[str, Reference] = dataclasses.field(default_factory=dict)
    hidden: dict[str, str] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    main: bool = True
    many: bool = False
    """Whether a row has been expanded since the branch began."""
    expands: list[int] = dataclasses.field(default_factory=list)
    """The nodes on this line whose children are not gathered yet, the nearest last."""
    loops: tuple[int, ...] = ()
    chains: tuple[int, ...] = (0,)

    def inner(self, **changes: Any) -> Scope:
        return dataclasses.replace(self, names=dict(self.names), hidden=dict(self.hidden), **changes)

    def aside(self, **changes: Any) -> Scope:
        """The scope of a line of its own: of a branch, a way or a body."""
        return self.inner(main=False, many=False, expands=[], **changes)


def spelling(id: str) -> str:
    """What two ids must differ in: case, `-`, `_`, `.` and blanks do not count."""
    return re.sub(r"[\s\-_.]+", "_", id.strip()).casefold()


def identifier(id: str) -> str:
    """The name by which templates reach a node: `extract-info` is `extract_info`."""
    return re.sub(r"\W", "_", id.rpartition("/")[2])
