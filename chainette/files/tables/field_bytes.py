"""One field of many lines at once, by bytes, where lines are as we write them: flat, without spaces, each key once.

What is not surely so is not answered here: the block as a whole (`column` is None), or single rows (`odd`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainette.files.json_text import encode
from chainette.files.tables.parts import Lines
from chainette.files.tables.query import Condition, Path, is_number

_DIGITS = 15
"""Of a decimal number: so many are a double exactly, and so is their quotient by a power of ten."""
_WIDTH = _DIGITS + 3
_WORD = 8
_SAMPLE = 1 << 14
_LONGEST = 64
_QUOTE, _MINUS, _NULL, _COMMA, _BRACE, _DOT = 0x22, 0x2D, 0x6E, 0x2C, 0x7D, 0x2E


@dataclass(slots=True)
class ByteColumn:
    """Where a field's value begins in each line of a block."""

    codes: Any
    """The block's bytes, as a numpy array."""
    at: Any
    escapes: bool
    """Whether a text may be spelt in more ways than one."""

    def first(self) -> Any:
        return self.codes[self.at]

    def _behind(self, at: Any, place: int) -> Any:
        """The byte so many behind `at`, behind the end the last one, which is a line break and in no value."""
        return self.codes.take(at + place, mode="clip")

    def numbers(self) -> tuple[Any, Any]:
        """(values, which rows are plain decimal numbers). Values of other rows mean nothing."""
        import numpy as np

        at = self.at
        minus = self.codes[at] == _MINUS
        at = at + minus
        count = len(at)
        value = np.zeros(count, np.int64)
        scale = np.zeros(count, np.int64)
        digits = np.zeros(count, np.int64)
        going = np.ones(count, bool)
        dotted = np.zeros(count, bool)
        plain = np.zeros(count, bool)
        for place in range(_WIDTH):
            code = self._behind(at, place)
            digit = code - np.uint8(0x30)  # wraps for what is no digit
            is_digit = going & (digit < 10)
            value = np.where(is_digit, value * 10 + digit, value)
            digits += is_digit
            scale += is_digit & dotted
            ends = going & ((code == _COMMA) | (code == _BRACE))
            plain |= ends
            is_dot = going & (code == _DOT) & ~dotted
            dotted |= is_dot
            going = is_digit | is_dot
            if not going.any():
                break
        plain &= (digits > 0) & (digits <= _DIGITS)
        found = value / np.array([float(10**power) for power in range(_WIDTH + 1)])[scale]
        return np.where(minus, -found, found), plain

    def is_token(self, token: bytes) -> tuple[Any, Any]:
        """(which rows have exactly this value, which have it and something behind it)."""
        import numpy as np

        same = np.ones(len(self.at), bool)
        for place, code in enumerate(token):
            same &= self._behind(self.at, place) == code
        behind = self._behind(self.at, len(token))
        ends = (behind == _COMMA) | (behind == _BRACE)
        return same & ends, same & ~ends


class Scratch:
    """Room for one thread to compare a block in, over and over: new memory for each would cost as much as comparing."""

    def __init__(self) -> None:
        self._first: Any = None
        self._second: Any = None

    def count(self, codes: Any, code: int) -> int:
        """How often a byte is there."""
        import numpy as np

        first, _ = self._of(len(codes))
        return int(np.count_nonzero(np.equal(codes, code, out=first)))

    def places(self, codes: Any, data: bytes, text: bytes) -> Any:
        """Where a text of at least two bytes begins, ascending: by its two rarest bytes, then the others.

        Twice as quick as `bytes.find`, and other threads may work meanwhile.
        """
        import numpy as np

        length = len(codes) - len(text) + 1
        if length <= 0:
            return np.array([], np.int64)
        often = np.bincount(codes[:_SAMPLE], minlength=256)
        one, two = sorted(range(len(text)), key=lambda place: int(often[text[place]]))[:2]
        first, second = self._of(length)
        np.equal(codes[one : one + length], text[one], out=first)
        np.equal(codes[two : two + length], text[two], out=second)
        at = np.flatnonzero(np.logical_and(first, second, out=first))
        if len(text) < _WORD:
            for place, code in enumerate(text):
                at = at[codes.take(at + place, mode="clip") == code]
            return at
        words = np.ndarray((len(codes) - _WORD + 1,), np.uint64, data, 0, (1,))
        for start in range(0, len(text), _WORD):
            place = min(start, len(text) - _WORD)
            at = at[words[at + place] == np.frombuffer(text[place : place + _WORD], np.uint64)[0]]
        return at

    def _of(self, size: int) -> tuple[Any, Any]:
        import numpy as np

        if self._first is None or len(self._first) < size:
            self._first, self._second = np.empty(size, bool), np.empty(size, bool)
        return self._first[:size], self._second[:size]


class FlatLines:
    """A block whose lines are flat objects."""

    def __init__(self, lines: Lines, count: int, codes: Any, scratch: Scratch) -> None:
        self._data = lines.data
        self._codes = codes
        self._scratch = scratch
        self.count = count
        self._escapes: bool | None = None

    @classmethod
    def of(cls, lines: Lines, scratch: Scratch) -> FlatLines | None:
        """None where an object may be inside another, or a brace inside a text."""
        import numpy as np

        codes = np.frombuffer(lines.data, np.uint8)
        count = scratch.count(codes, 0x0A)
        return cls(lines, count, codes, scratch) if scratch.count(codes, 0x7B) == count else None

    def column(self, key: str) -> ByteColumn | None:
        """None where not each line has the key once, spelt as we do."""
        spelt = b"," + encode(key) + b":"
        if key == "_id" or b"\\" in spelt:
            return None
        at = self._scratch.places(self._codes, self._data, spelt)
        if len(at) != self.count:
            return None
        if self._escapes is None:
            self._escapes = b"\\" in self._data and self._has_escapes()
        return ByteColumn(self._codes, at + len(spelt), self._escapes)

    def _has_escapes(self) -> bool:
        """Whether there is a `\\u` or `\\/`."""
        behind = self._codes[1:][self._codes[:-1] == 0x5C]
        return bool(((behind == 0x75) | (behind == 0x2F)).any())


def is_for(path: Path, condition: Condition) -> bool:
    """Whether `rows` may say something of it."""
    if len(path) > 1 or path[0] == "_id":
        return False
    wanted = condition.value
    match condition.op:
        case "is null" | "is not null":
            return True
        case "=" | "!=":
            return _is_simple(wanted)
        case "in":
            return all(_is_simple(one) for one in wanted)
        case "<" | "<=" | ">" | ">=":
            return is_number(wanted)
    return False


def _is_simple(wanted: Any) -> bool:
    if isinstance(wanted, str):
        # Of what cannot be printed some has several spellings, and half a surrogate pair has none.
        return wanted.isprintable() and len(encode(wanted)) < _LONGEST
    return wanted is None or isinstance(wanted, (bool, int, float))


def rows(column: ByteColumn, condition: Condition) -> tuple[Any, Any]:
    """(which rows meet the condition, which rows it cannot say that of)."""
    met, odd = _met(column, condition)
    spaced = column.first() <= 0x20
    return met & ~spaced, odd | spaced


def _met(column: ByteColumn, condition: Condition) -> tuple[Any, Any]:
    import numpy as np

    wanted = condition.value
    match condition.op:
        case "is null" | "is not null":
            null = column.first() == _NULL
            return null if condition.op == "is null" else ~null, np.zeros(len(null), bool)
        case "=":
            return _equal(column, wanted)
        case "!=":
            met, odd = _equal(column, wanted)
            return ~met & ~odd, odd
        case "in":
            found = [_equal(column, one) for one in wanted]
            nothing = np.zeros(len(column.at), bool)
            met = np.logical_or.reduce([nothing, *(met for met, _ in found)])
            return met, np.logical_or.reduce([nothing, *(odd for _, odd in found)]) & ~met
    values, plain = column.numbers()
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[condition.op]
    return plain & compare(values, _as_double(wanted)), ~plain & _may_be_number(column)


def _as_double(wanted: float) -> float:
    try:
        return float(wanted)
    except OverflowError:
        return float("inf") if wanted > 0 else float("-inf")


def _may_be_number(column: ByteColumn) -> Any:
    """NaN and Infinity are read as numbers too."""
    first = column.first()
    return (first == _MINUS) | ((first >= 0x30) & (first <= 0x39)) | (first == 0x49) | (first == 0x4E)


def _equal(column: ByteColumn, wanted: Any) -> tuple[Any, Any]:
    if wanted is None:
        null = column.first() == _NULL
        return null, null & ~null
    if is_number(wanted):
        values, plain = column.numbers()
        return plain & (values == _as_double(wanted)), ~plain & _may_be_number(column)
    met, odd = column.is_token(encode(wanted))
    if isinstance(wanted, str) and column.escapes:
        odd = ~met & (column.first() == _QUOTE)
    return met, odd
