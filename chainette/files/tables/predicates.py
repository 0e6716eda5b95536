"""Conditions as SQL over the fields of many rows at once: the same answer as testing each row, or a wider one that says
so. Knows how JSON values are told apart by their text, no files.

A field is its JSON text (`f0`, null where there is none). What its first byte is says its type: numbers begin with
`-` or a digit, texts with `"`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainette.files.tables.needles import variants
from chainette.files.tables.query import Condition, Path, is_number

_EXACT = 1 << 53
"""From here on integers are not all told apart as doubles."""


@dataclass(frozen=True, slots=True)
class FieldSql:
    """A field's value in SQL, each as null where the value is of another type."""

    number: str
    text: str
    null: str
    """True where there is no value."""
    token: str = ""
    """Its JSON text, where that is what there is."""

    def is_text(self, value: str) -> str:
        literal = quoted(value)
        return f"{self.token} = to_json({literal})::VARCHAR" if self.token else f"{self.text} = {literal}"

    def is_bool(self, value: bool) -> str:
        return f"{self.token} = '{str(value).lower()}'"


def json_field(token: str) -> FieldSql:
    """Of a JSON text."""
    return FieldSql(
        number=f"(CASE WHEN {token} >= '-' AND {token} < ':' THEN try_cast({token} AS DOUBLE) END)",
        text=f"""(CASE WHEN {token} >= '"' AND {token} < '#' THEN json_extract_string({token}, '$') END)""",
        null=f"({token} IS NULL OR {token} = 'null')",
        token=token,
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def pointer(path: Path) -> str | None:
    """A path as a JSON pointer in quotes; None where it would mean something else (places of a list)."""
    if any(key.isdecimal() or "\0" in key or not key for key in path) or not _is_sayable("".join(path)):
        return None
    return quoted("".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path))


def _is_sayable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def predicate(condition: Condition, field: FieldSql) -> str | None:
    """SQL that is true exactly where the condition holds, and never null; None where SQL cannot say it.

    `contains` and `matches` are not said here.
    """
    wanted = condition.value
    match condition.op:
        case "is null":
            return field.null
        case "is not null":
            return f"NOT {field.null}"
        case "=":
            return _equals(wanted, field)
        case "!=":
            equals = _equals(wanted, field)
            return None if equals is None else f"NOT {equals}"
        case "in":
            parts = [_equals(one, field) for one in wanted]
            said = [part for part in parts if part is not None]
            return None if len(said) < len(parts) else f"({' OR '.join(said) or 'false'})"
        case "<" | "<=" | ">" | ">=":
            if is_number(wanted) and _is_exact(wanted):
                return f"coalesce({field.number} {condition.op} {_number(wanted)}, false)"
            if isinstance(wanted, str) and _is_sayable(wanted):
                return f"coalesce({field.text} {condition.op} {quoted(wanted)}, false)"
    return None


def _equals(wanted: object, field: FieldSql) -> str | None:
    if isinstance(wanted, bool):
        return f"coalesce({field.is_bool(wanted)}, false)" if field.token else None
    if wanted is None:
        return field.null
    if isinstance(wanted, (int, float)):
        return f"coalesce({field.number} = {_number(wanted)}, false)" if _is_exact(wanted) else None
    if isinstance(wanted, str) and _is_sayable(wanted):
        return f"coalesce({field.is_text(wanted)}, false)"
    return None


def _is_exact(number: float) -> bool:
    return math.isfinite(number) and abs(number) < _EXACT


def _number(number: float) -> str:
    return f"'{number!r}'::DOUBLE"


def pattern(condition: Condition) -> str:
    """What RE2 looks for in a text in place of `contains` or `matches`."""
    if condition.op == "matches":
        return str(condition.value)
    return "".join(map(either_case, str(condition.value)))


def either_case(char: str) -> str:
    """What RE2 takes for a letter in either case."""
    same = "".join(f"\\x{{{ord(one):x}}}" for one in variants(char))
    return f"[{same}]"


def order_by(field: FieldSql, token: str, descending: bool) -> str:
    """Numbers, texts, others; by value; rows of equal values by their number `i`."""
    way = "DESC" if descending else "ASC"
    rank = f"(CASE WHEN {field.number} IS NOT NULL THEN 0 WHEN {field.text} IS NOT NULL THEN 1 ELSE 2 END)"
    whole = f"(CASE WHEN {field.number} IS NOT NULL THEN try_cast({token} AS HUGEINT) END)"
    return ", ".join(f"{key} {way}" for key in (rank, field.number, whole, field.text, token)) + ", i"


def fields_of(lines: str, pointers: Sequence[str]) -> str:
    """The fields `f0`, `f1`, … of the lines in a table, each line read once."""
    if len(pointers) == 1:
        return f"SELECT i, json_extract(l, {pointers[0]})::VARCHAR AS f0 FROM {lines}"
    found = ", ".join(f"f[{n + 1}]::VARCHAR AS f{n}" for n in range(len(pointers)))
    return f"SELECT i, {found} FROM (SELECT i, json_extract(l, [{', '.join(pointers)}]) AS f FROM {lines})"
