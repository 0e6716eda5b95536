"""`Branch`: steps beside the main line. Does not know what stands around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chainette.chain.operators import Operators, flat
from chainette.errors import ChainError, Problem

Missing = Literal["fail", "none"]

JINJA2_NAMES = ("true", "false", "none", "self", "loop", "super", "caller", "varargs", "kwargs")
"""Names that a template takes to be its own, whatever is in scope."""


@dataclass(frozen=True, eq=False)
class Branch(Operators):
    """Steps that run on the same rows as the branches beside it. Without `.join` its files are its result."""

    name: str
    steps: Sequence[Any]
    alias: str | None = None
    missing: Missing = "fail"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ChainError(Problem("branch", "needs a `name` that is not blank"))
        if isinstance(self.steps, str) or not isinstance(self.steps, Sequence):
            raise ChainError(Problem(f'branch "{self.name}"', "steps must be a list"))
        where, alias = f'branch "{self.name}"', self.alias
        if alias is not None and not (isinstance(alias, str) and alias.isidentifier() and not alias.startswith("_")):
            raise ChainError(Problem(where, f"alias {alias!r} cannot be used in a template", "letters, digits, _"))
        if alias is not None and alias.lower() in JINJA2_NAMES:
            raise ChainError(Problem(where, f'alias "{alias}" is Jinja2\'s own name', "another alias"))
        if self.missing not in ("fail", "none"):
            raise ChainError(Problem(where, f'missing must be "fail" or "none", not {self.missing!r}'))
        object.__setattr__(self, "steps", flat(self.steps))

    def join(self, alias: str | None = None, *, missing: Missing = "fail") -> Branch:
        """A copy whose last output is there under `alias` for every later template.

        `missing` says what happens to a row that the branch has no value for: `fail` it, or go on with `none`.
        """
        alias = self.name if alias is None else alias
        return dataclasses.replace(self, alias=alias, missing=missing)

    def __repr__(self) -> str:
        joined = f".join({self.alias!r})" if self.alias else ""
        return f"Branch({self.name!r}){joined}"
