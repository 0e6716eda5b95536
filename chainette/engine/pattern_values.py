"""Texts that match a regular expression, as far as the expression is regular. Knows no schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Draw = Callable[[int], int]


class _IrregularError(Exception):
    """The expression uses something that is no regular language, or that this does not know."""


MAX_REPEATS = 4
"""Beyond the least number a repetition asks for."""
MAX_TRIES = 50

_CLASSES = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_WORD": "abcdefghijklmnopqrstuvwxyz0123456789_",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": "abcdefghijklmnopqrstuvwxyz",
    "CATEGORY_NOT_WORD": " -",
    "CATEGORY_NOT_SPACE": "abcdefghijklmnopqrstuvwxyz0123456789",
}
_PRINTABLE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_.,:;!?/+*#@"


def pattern_maker(pattern: str) -> Callable[[Draw], str] | None:
    """None where the expression cannot be read or uses more than this knows (back references, say)."""
    # The parser behind `re`: the only one in the standard library. https://github.com/python/cpython/issues/91308
    from re import _parser  # type: ignore[attr-defined]

    try:
        matches = re.compile(pattern).search
        text_of = _sequence(_parser.parse(pattern))
    except (re.error, _IrregularError, LookupError, RecursionError):
        return None

    def make(draw: Draw) -> str:
        for _ in range(MAX_TRIES):
            text = text_of(draw)
            if matches(text):
                break
        return text

    return make


def _sequence(tree: Any) -> Callable[[Draw], str]:
    parts = [_part(str(kind), value) for kind, value in tree]
    return lambda draw: "".join(part(draw) for part in parts)


def _part(kind: str, value: Any) -> Callable[[Draw], str]:
    if kind == "LITERAL":
        return lambda draw: chr(value)
    if kind in ("AT", "ASSERT", "ASSERT_NOT"):
        # What they ask for is seen when the whole text is matched.
        return lambda draw: ""
    if kind == "ANY":
        return lambda draw: _PRINTABLE[draw(36)]
    if kind in ("IN", "NOT_LITERAL", "CATEGORY"):
        allowed = _characters(kind, value)
        return lambda draw: allowed[draw(len(allowed))]
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = value
        make = _sequence(inner)
        span = min(int(most), least + MAX_REPEATS) - least + 1
        return lambda draw: "".join(make(draw) for _ in range(least + draw(span)))
    if kind == "SUBPATTERN":
        return _sequence(value[-1])
    if kind == "ATOMIC_GROUP":
        return _sequence(value)
    if kind == "BRANCH":
        options = [_sequence(option) for option in value[1]]
        return lambda draw: options[draw(len(options))](draw)
    raise _IrregularError(kind)


def _characters(kind: str, value: Any) -> str:
    if kind == "NOT_LITERAL":
        return _PRINTABLE.replace(chr(value), "")
    if kind == "CATEGORY":
        return _CLASSES[str(value)]
    allowed: list[str] = []
    negated = False
    for part, what in value:
        name = str(part)
        if name == "NEGATE":
            negated = True
        elif name == "RANGE":
            allowed += [chr(code) for code in range(what[0], min(what[1], what[0] + 200) + 1)]
        elif name == "LITERAL":
            allowed.append(chr(what))
        else:
            allowed += _CLASSES[str(what)]
    if negated:
        return "".join(c for c in _PRINTABLE if c not in allowed) or "~"
    return "".join(allowed)
