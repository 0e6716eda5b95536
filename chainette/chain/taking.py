"""`Taking`: which of the values in reach a node works on, said and not found by type. The traced form makes these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAIN = ""
"""Stands for the main line's row itself."""


@dataclass(frozen=True, eq=False)
class Taking:
    """`node`, working on the alias `source`, or on a model whose fields are drawn from these aliases."""

    node: Any
    source: str | Mapping[str, str]
    """An alias, or field -> alias; `MAIN` is the main line's row."""

    def __repr__(self) -> str:
        return f"Taking({self.node!r}, {self.source!r})"
