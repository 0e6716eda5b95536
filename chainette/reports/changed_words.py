"""Two texts word by word. Knows no medium."""

from __future__ import annotations

import difflib
import re

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_COMPARED_WORDS = 400
_AROUND = 6
"""Words that stay before and after a change; the rest of what is the same is left out."""


def changed_words(before: str, after: str) -> list[tuple[str, str]]:
    """(sign, words) in order: `-` gone, `+` new, ` ` the same, of which only what is near a change is left."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    parts: list[tuple[str, str]] = [(" ", _shortened(old[:start], first=True))]
    ours, theirs = old[start : len(old) - end], new[start : len(new) - end]
    parts += _middle(ours[:_COMPARED_WORDS], theirs[:_COMPARED_WORDS])
    if max(len(ours), len(theirs)) > _COMPARED_WORDS:
        parts.append((" ", " … "))
    parts.append((" ", _shortened(old[len(old) - end :], last=True)))
    return [(sign, words) for sign, words in parts if words]


def _middle(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    parts: list[tuple[str, str]] = []
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            parts.append((" ", _shortened(old[a:b])))
        else:
            parts += [("-", "".join(old[a:b])), ("+", "".join(new[c:d]))]
    return parts


def _shortened(words: list[str], *, first: bool = False, last: bool = False) -> str:
    """The words near a change; those in the middle, or far before the first and behind the last, are left out."""
    kept = 2 * _AROUND  # of words and the white space between them
    before = 0 if first else kept
    after = 0 if last else kept
    if len(words) <= before + after + 2:
        return "".join(words)
    return "".join(words[:before]) + ("…" if last else "… " if first else " … ") + "".join(words[len(words) - after :])
