"""Consoles that take data as text, and when a live view may be drawn. Knows nothing of runs."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from chainette.cli.wording import ICONS, PLAIN, Glyphs

MIN_WIDTH = 60
PIPE_WIDTH = 120

QUIET = "dim"
GOOD = "green"
BAD = "red"
WARN = "yellow"
NAME = "bold"


def console(stream: TextIO | None = None) -> Console:
    """A console without markup, highlighting or emoji codes: what stands in a row is shown, never obeyed."""
    stream = stream or sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or PIPE_WIDTH)
    shown = Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)
    if shown.width < MIN_WIDTH:
        shown.width = MIN_WIDTH
    return shown


def is_live(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can be drawn over."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def glyphs(stream: TextIO, icons: bool) -> Glyphs:
    """ASCII when icons are not wanted or the stream cannot carry them."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    return ICONS if icons and encoding.startswith(("utf", "cp65001")) else PLAIN


def cut(text: Text, width: int, glyphs: Glyphs) -> None:
    """At most `width` cells, with the sign for more at the end of what was longer; in place."""
    if text.cell_len > width:
        text.truncate(max(0, width - cell_len(glyphs.more)), overflow="crop")
        text.append(glyphs.more)


def line(*parts: str | tuple[str, str]) -> Text:
    """One line of text from plain parts and (text, style) pairs."""
    text = Text(no_wrap=True, overflow="ellipsis", end="\n")
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        else:
            text.append(part[0], style=part[1])
    return text
