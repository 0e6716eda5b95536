"""What is asked of a table: conditions on fields, a search, an order, and the exact test of one row. Knows no files.

A path walks objects by their keys: `("qa.answer", "text")` is `row["qa.answer"]["text"]`. A key that is not there is
null, as in a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic_core import from_json

from chainette.errors import RunFolderError, nearest
from chainette.files.json_text import encode

Op = Literal["=", "!=", "<", "<=", ">", ">=", "contains", "matches", "in", "is null", "is not null"]
OPS: tuple[Op, ...] = get_args(Op)
_SPELLINGS: dict[str, Op] = {
    "==": "=",
    "<>": "!=",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "~": "contains",
    "=~": "matches",
    "is": "=",
    "null": "is null",
    "not null": "is not null",
}

Row = dict[str, Any]
Path = tuple[str, ...]
Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """`field op value`.

    Numbers are compared with numbers and texts with texts (by code points); other values are neither less nor greater.
    `!=` is the opposite of `=`: what is null is not equal to a value. `contains` (ignoring case) looks at a text, or at
    every value inside a list or an object, numbers as they are spelt in the file. `matches` (RE2, anywhere in the text)
    looks at what is no text as JSON. `in` takes a list of values.
    """

    field: str
    """`answer`, or `a.b` for a field of an object. A column whose own name has dots comes first (`qa.answer`)."""
    op: Op
    value: Any = None
    table: str = ""
    """Another table: of the same item (the row's id, that of a parent or a child) one row there meets this and all
    other conditions on that table."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a table, in which order."""

    where: tuple[Condition, ...] = ()
    """All of them must hold."""
    search: str = ""
    """A text that must stand in any of the row's values, ignoring case."""
    order: str = ""
    """A field; rows of equal values, and all rows without one, stand as in the files. Numbers come before texts before
    other values; rows without a value are last either way."""
    descending: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it asks for all rows as they stand."""
        return not (self.where or self.search or self.order)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A field of a table's rows."""

    name: str
    kind: str
    """`text`, `number`, `bool`, `time`, `list`, `object` or `any`; what the model says, else the first rows."""
    help: str = ""
    """What the model says of it."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of a run."""

    name: str
    kind: str
    """`input`, `step`, `flattened`, `failed` or `calls`."""
    step: str = ""
    """The node whose rows or calls they are."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of an answer, and how much of it is known."""

    rows: list[Row]
    places: list[int]
    """Of each row, which it is of the whole table, from 0: does not change with filters, and is what `row_at` takes."""
    offset: int
    """Which of the answer the first row is."""
    found: int
    """Rows of the answer that are known to be there."""
    scanned: int
    """Rows of the table that were looked at."""
    table_rows: int
    """Rows of the table."""
    complete: bool
    """Whether `found` is all there are; if not, `Selection.advance` looks on."""
    capped: bool = field(default=False)
    """An ordered answer goes on behind the rows that can be shown in order."""

    @property
    def total(self) -> int | None:
        """Rows of the answer; None while that is not known."""
        return self.found if self.complete else None


def op_of(text: str) -> Op:
    """
    Raises:
        RunFolderError: there is no such operator.
    """
    word = " ".join(text.lower().split())
    op = _SPELLINGS.get(word, word)
    if op not in OPS:
        raise RunFolderError(f'no such operator: "{text}" ({nearest(word, OPS)})')
    return op


def typed_value(text: str, op: Op, kind: str) -> Any:
    """What somebody typed as a value for a column of that kind: `5` is a number unless the column holds text.

    A quoted text is a text anywhere, `null`, `true` and `false` are what they say where the column is no text.
    """
    if op in ("is null", "is not null"):
        return None
    if op in ("contains", "matches"):
        return text
    if op == "in":
        return [typed_value(part, "=", kind) for part in _listed(text)]
    text = text.strip()
    if kind in ("text", "time") and not (len(text) > 1 and text[0] == text[-1] == '"'):
        return text
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


def _listed(text: str) -> list[str]:
    return [found.strip() for found in re.findall(r'\s*("(?:[^"\\]|\\.)*"|[^,]+)', text) if found.strip()]


def path_of(field: str, columns: Sequence[str]) -> Path:
    """The keys that lead to a field. The longest column that it begins with comes first."""
    whole = max((name for name in columns if field == name or field.startswith(f"{name}.")), key=len, default="")
    if whole:
        rest = field[len(whole) + 1 :]
        return (whole, *rest.split(".")) if rest else (whole,)
    return tuple(field.split("."))


def value_at(row: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(row, dict):
            return None
        row = row.get(key)
    return row


def is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def text_of(value: Any) -> str:
    """A value as `matches` sees it."""
    return value if isinstance(value, str) else encode(value).decode()


def ignoring_case(needle: str) -> Callable[[str], bool]:
    """Whether a text has `needle` in it, letter by letter in either case (`ς` is `σ`, `ß` is not `ss`)."""
    found = re.compile(re.escape(needle), re.IGNORECASE).search
    return lambda text: found(text) is not None


def check_of(condition: Condition) -> Test:
    """What says whether a field's value meets a condition.

    Raises:
        RunFolderError: the operator takes no such value.
    """
    wanted = condition.value
    match condition.op:
        case "is null":
            return lambda value: value is None
        case "is not null":
            return lambda value: value is not None
        case "=":
            return _equals(wanted)
        case "!=":
            equals = _equals(wanted)
            return lambda value: not equals(value)
        case "in":
            if not isinstance(wanted, (list, tuple, set, frozenset)):
                raise RunFolderError(f'"in" takes a list of values, not {wanted!r}')
            tests = [_equals(one) for one in wanted]
            return lambda value: any(test(value) for test in tests)
        case "contains":
            inside = ignoring_case(str(wanted))
            return lambda value: has_text(value, inside)
        case "matches":
            return _matches(str(wanted))
    return _compares(condition.op, wanted)


def _equals(wanted: Any) -> Test:
    if is_number(wanted):
        return lambda value: is_number(value) and value == wanted
    if isinstance(wanted, bool) or wanted is None:
        return lambda value: value is wanted
    if isinstance(wanted, str):
        return lambda value: isinstance(value, str) and value == wanted
    text = encode(wanted)
    return lambda value: isinstance(value, (dict, list)) and encode(value) == text


def _compares(op: str, wanted: Any) -> Test:
    if is_number(wanted):
        kind: Test = is_number
    elif isinstance(wanted, str):
        kind = _is_text
    else:
        raise RunFolderError(f'"{op}" takes a number or a text, not {encode(wanted).decode()}')
    if op == "<":
        return lambda value: kind(value) and value < wanted
    if op == "<=":
        return lambda value: kind(value) and value <= wanted
    if op == ">":
        return lambda value: kind(value) and value > wanted
    return lambda value: kind(value) and value >= wanted


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _matches(pattern: str) -> Test:
    import pyarrow as pa
    import pyarrow.compute as pc

    def test(value: Any) -> bool:
        if value is None:
            return False
        found = pc.match_substring_regex(pa.array([text_of(value)], pa.string()), pattern=pattern)
        return bool(found[0].as_py())

    try:
        test("")
    except (pa.ArrowException, ValueError) as error:
        raise RunFolderError(f'"{pattern}" is no pattern that RE2 takes: {error}') from error
    return test


def has_text(row: Any, inside: Callable[[str], bool]) -> bool:
    """Whether any value of a row, at any depth, has the text in it. `_id` counts, keys do not."""
    if isinstance(row, str):
        return inside(row)
    if isinstance(row, dict):
        return any(has_text(value, inside) for value in row.values())
    if isinstance(row, list):
        return any(has_text(value, inside) for value in row)
    return row is not None and inside(encode(row).decode())


def spelt(line: bytes) -> Any:
    """A line with its numbers as texts, as they are spelt."""
    return json.loads(line, parse_float=str, parse_int=str, parse_constant=str)


def is_like_a_number(needle: str) -> bool:
    """Whether a number's spelling may have it."""
    return not set(needle) - set("0123456789eE+-.")


def rank_of(value: Any) -> tuple[int, Any]:
    """What sorts values of any kind: numbers, texts, then the others by their JSON; null is not sorted by it."""
    if is_number(value):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (2, encode(value))
