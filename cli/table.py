"""Tables for a terminal: columns as wide as their cells, the least needed left out where there is no room. Knows no
figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_GAP = "  "
_LEAST_NAME = 12
"""Cells that the first column keeps when there is no room."""


@dataclass(frozen=True, slots=True)
class Column:
    head: str
    cells: Sequence[str]
    need: int = 0
    """Where there is no room, columns of the highest number go first; those of 0 stay."""
    left: bool = False
    style: str = ""

    @property
    def is_empty(self) -> bool:
        return not any(self.cells)


def table(columns: Sequence[Column], width: int) -> list[Text]:
    """A line of heads and a line per row, in at most `width` cells. Columns without a cell are left out; what is left
    out for want of room is named at the end."""
    from rich.cells import cell_len, set_cell_size

    from chainette.cli.screen import NAME, QUIET, line

    kept = [column for column in columns if column.need == 0 or not column.is_empty]
    gone: list[str] = []
    widths = {id(c): max(cell_len(text) for text in (c.head, *c.cells)) for c in kept}

    def needed() -> int:
        return sum(widths[id(c)] for c in kept) + len(_GAP) * (len(kept) - 1)

    first = kept[0]
    while needed() > width and any(column.need for column in kept):
        most = max(column.need for column in kept)
        last = next(column for column in reversed(kept) if column.need == most)
        kept.remove(last)
        gone = [last.head, *gone] if last.head else gone
    if needed() > width:
        widths[id(first)] = max(_LEAST_NAME, widths[id(first)] - (needed() - width))

    def cell(column: Column, text: str) -> str:
        size = widths[id(column)]
        if cell_len(text) > size:
            return set_cell_size(text, size - 1) + "…"
        return set_cell_size(text, size) if column.left else " " * (size - cell_len(text)) + text

    lines = [line((_GAP.join(cell(column, column.head) for column in kept).rstrip(), QUIET))]
    for row in range(len(first.cells)):
        text = line()
        for column in kept:
            style = column.style or (NAME if column is first else "")
            text.append(_GAP if column is not first else "").append(cell(column, column.cells[row]), style=style)
        text.rstrip()
        lines.append(text)
    if gone:
        lines.append(line((f"{_GAP}(not shown in {width} columns: {', '.join(gone)})", QUIET)))
    return lines
