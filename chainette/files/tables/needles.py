"""Which lines can hold a text, by their bytes alone: never too few, seldom many more. Knows how JSON is spelt.

A JSON string may be spelt in several ways. All but `\\u` (and `\\/`) are the same bytes each time, so a line is a
candidate when it has those bytes, or any such escape at all.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from chainette.files.json_text import encode
from chainette.files.tables.parts import Lines

_MOST_FORMS = 8
_LONGEST = 100
"""Characters of a text in any case that are looked at: to try all their pieces takes the square of that."""
_PUNCTUATION = frozenset('"\\{}[],:')


class Needle:
    """A text that stands in a string of every line that is looked for."""

    def __init__(self, text: str, *, any_case: bool = False, whole: bool = False) -> None:
        """`whole`: the string is that text and nothing else."""
        self.text = text
        self.any_case = any_case
        self._slash = "/" in text
        self._escaped = any(ord(char) < 0x20 and char not in "\b\f\n\r\t" for char in text)
        self._aliens: list[bytes] = []
        if not any_case:
            body = encode(text)
            self.forms = [body if whole else body[1:-1]]
        else:
            self.forms = self._in_any_case(text[:_LONGEST])
        letters = [char for char in text if char not in "0123456789eE+-. "]
        self.is_of_a_string = (
            bool(letters) and not _PUNCTUATION & set(text) and not self._escaped and text.lower() not in "null"
        )
        """Wherever these bytes stand, they are inside a string or say `true` or `false`; and not in `null`."""

    @property
    def length(self) -> int:
        return min(map(len, self.forms))

    def _in_any_case(self, text: str) -> list[bytes]:
        """The spellings of the longest piece of the text that has few of them."""
        spelt = [_spellings(char) for char in text]
        best, best_size, best_at = [b""], 0, (0, 0)
        for start in range(len(text)):
            forms = [b""]
            for end in range(start, len(text)):
                if len(forms) * len(spelt[end][0]) > _MOST_FORMS:
                    break
                forms = [form + more for form in forms for more in spelt[end][0]]
                size = 2 * min(map(len, forms)) - len(forms)
                if size > best_size:
                    best, best_size, best_at = forms, size, (start, end + 1)
        self._aliens = sorted({alien for _, aliens in spelt[slice(*best_at)] for alien in aliens})
        return best

    def candidates(self, lines: Lines) -> Any:
        """The numbers of the lines that may hold it, ascending, as a numpy array."""
        import numpy as np

        if self._escaped or not self.length:
            return np.arange(len(lines.index()) - 1)
        data = lines.data.lower() if self.any_case else lines.data
        places: list[int] = []
        for form in self.forms:
            _places(data, form, places)
        if _has_escape(data):
            _places(data, b"\\u", places)
        if self._slash:
            _places(data, b"\\/", places)
        if self._aliens and not data.isascii():
            for alien in self._aliens:
                _places(lines.data, alien, places)
        found = np.searchsorted(lines.index(), np.array(places, np.int64), "right") - 1
        return np.unique(found) if len(self.forms) > 1 or self._aliens or b"\\" in data else found

    def is_surely_in(self, line: bytes) -> bool:
        """Whether the line has it in a value, as far as bytes can tell: False is not sure."""
        if not self.is_of_a_string:
            return False
        data = line.lower() if self.any_case else line
        for form in self.forms:
            if len(form) < len(self.text.encode()):  # a piece of it
                return False
            at = data.find(form)
            if at >= 0:
                quote = line.find(b'"', at + len(form))
                # A key's end would be `":`, in any spelling of the line.
                return (
                    quote > 0 and line[quote - 1 : quote] != b"\\" and line[quote + 1 : quote + 2] in (b",", b"}", b"]")
                )
        return False


def _places(data: bytes, form: bytes, places: list[int]) -> None:
    """Adds one place for each line that has the bytes."""
    find = data.find
    at = find(form)
    while at >= 0:
        places.append(at)
        at = find(form, find(b"\n", at))


def _has_escape(data: bytes) -> bool:
    """Whether there is a `\\u`. (`find` of two bytes is slow where one of them is common.)"""
    if b"\\" not in data:
        return False
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    return bool(((codes[:-1] == 0x5C) & (codes[1:] == 0x75)).any())


@cache
def _cased() -> str:
    """Every character that has another case."""
    return "".join(char for char in map(chr, range(0x1F000)) if char.lower() != char or char.upper() != char)


def variants(char: str) -> list[str]:
    """The characters that are the same when case does not matter, itself among them."""
    return sorted({char, *re.findall(re.escape(char), _cased(), re.IGNORECASE)})


@cache
def _spellings(char: str) -> tuple[list[bytes], list[bytes]]:
    """A character's bytes in a line whose ASCII letters are small, and its rare ones beyond ASCII."""
    same = variants(char)
    spelt = {one: encode(one)[1:-1].lower() for one in same}
    if not char.isascii():
        return sorted(set(spelt.values())), []
    return sorted({spelt[one] for one in same if one.isascii()}), [spelt[one] for one in same if not one.isascii()]
