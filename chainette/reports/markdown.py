"""Foreign text inside a Markdown page, so that it stays text. Knows no run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chainette.reports.harmless import lines, one_line

_SIGNS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@$])")
_TICKS = re.compile(r"`+")


def said(text: object, limit: int = 0) -> str:
    """One line of text among other text: no sign in it means anything."""
    line = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SIGNS.sub(r"\\\1", line)


def code(text: object, limit: int = 0) -> str:
    """One line of code among other text. In a table too, where a bar would end the cell."""
    line = one_line(text, limit).replace("|", "¦") or " "
    ticks = "`" * (1 + max(map(len, _TICKS.findall(line)), default=0))
    return f"{ticks} {line} {ticks}" if "`" in line or line.isspace() else f"{ticks}{line}{ticks}"


def fenced(text: object, language: str = "") -> str:
    """Lines of code between fences that nothing in them can close."""
    body = lines(text).rstrip("\n")
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(body)), default=0))
    return f"{ticks}{language}\n{body}\n{ticks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already. Numbers stand to the right where the head ends with a colon."""
    marks = ["---:" if cell.endswith(":") else "---" for cell in head]
    lines = [[cell.rstrip(":") for cell in head], marks, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
