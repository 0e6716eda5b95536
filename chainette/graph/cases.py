"""Whether a switch's cases are those that its key can be, where the key's type says so. Judges types, never values."""

from __future__ import annotations

import enum
import typing
from collections.abc import Iterable
from typing import Any

from chainette.chain import Switch
from chainette.chain.asking import returned_type
from chainette.errors import Problem, nearest
from chainette.graph.types import fields_of


def case_problems(decl: Switch, row: Any, where: str) -> list[Problem]:
    """`row` is the type of what arrives. A case that cannot come is misspelt; one that is missing fails its rows."""
    type_ = (fields_of(row) or {}).get(decl.key, Any) if isinstance(decl.key, str) else returned_type(decl.key)
    possible = _values(type_)
    if decl.is_cond or possible is None:
        return []
    problems = []
    for case in decl.cases:
        if not _among(case, possible):
            hint = nearest(str(case), [str(value) for value in possible])
            problems.append(Problem(where, f"its key is never {case!r}", hint))
    missing = [value for value in possible if not any(_same(case, value) for case in decl.cases)]
    if missing and decl.default is None:
        listed = ", ".join(repr(value) for value in missing)
        message = f"has no case for {listed}: such rows will fail"
        problems.append(Problem(where, message, "a case or a default", "warning"))
    return problems


def _values(type_: Any) -> list[Any] | None:
    """All that a value of the type can be; None where that is not known."""
    if typing.get_origin(type_) is typing.Literal:
        return list(typing.get_args(type_))
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return [member.value for member in type_]
    return None


def _among(case: Any, possible: Iterable[Any]) -> bool:
    return any(_same(case, value) for value in possible)


def _same(case: Any, value: Any) -> bool:
    return bool((case.value if isinstance(case, enum.Enum) else case) == value)
