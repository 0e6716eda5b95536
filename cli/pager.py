"""Lines for a person, through a pager when they are more than the terminal is high. Knows nothing of what they say."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import subprocess

    from rich.console import Console
    from rich.text import Text

NoPager = Annotated[
    bool, typer.Option("--no-pager", help="Print all at once, also what is longer than the screen.", show_default=False)
]
_LESS = "-FRX"
"""Unless LESS says else: colours, and nothing is cleared from the screen at the end."""


def print_lines(lines: Iterable[Text], *, cut: bool = False, paged: bool = False) -> None:
    """To stdout: for a terminal in colours, `cut` to its width; `paged` if they are more than it can show.

    The pager is `$PAGER`, else `less`; none where that is empty or `cat`, and none when nobody watches.
    """
    from chainette.cli.screen import console

    terminal = console(sys.stdout)
    if not sys.stdout.isatty() and terminal.color_system is None:
        for text in lines:
            # Ten times as quick as the console, which counts with a million rows.
            sys.stdout.write(text.plain + "\n")
        return
    command = _pager() if paged and sys.stdout.isatty() else None
    if command is None:
        _print(terminal, lines, cut)
        return
    first, more = _screenful(lines, terminal, cut)
    if more is None:
        _print(terminal, first, cut)
    else:
        _page(command, chain(first, more), terminal, cut)


def _print(terminal: Console, lines: Iterable[Text], cut: bool) -> None:
    for text in lines:
        if cut:
            text.truncate(terminal.width, overflow="ellipsis")
        terminal.print(text, soft_wrap=True)


def _screenful(lines: Iterable[Text], terminal: Console, cut: bool) -> tuple[list[Text], Iterator[Text] | None]:
    """The lines that the terminal can show, with room for the prompt; and those after them, None if that is all."""
    taken: list[Text] = []
    left = terminal.height - 1
    rest = iter(lines)
    for text in rest:
        taken.append(text)
        left -= 1 if cut else _height(text, terminal.width)
        if left < 0:
            return taken, rest
    return taken, None


def _height(text: Text, width: int) -> int:
    from rich.cells import cell_len

    return sum(max(1, -(-cell_len(line) // width)) for line in text.plain.split("\n"))


def _pager() -> list[str] | None:
    said = os.environ.get("PAGER")
    try:
        command = shlex.split("less" if said is None else said)
    except ValueError:  # a quote that is not closed
        return None
    return None if not command or command == ["cat"] or os.environ.get("TERM") == "dumb" else command


def _page(command: list[str], lines: Iterable[Text], terminal: Console, cut: bool) -> None:
    import subprocess

    from rich.console import Console

    told = {**os.environ, "LESS": os.environ.get("LESS") or _LESS}
    if os.path.basename(command[0]) == "less":
        # With a LESS of the user's that does not say so, our colours would be shown as ESC.
        command = [command[0], "-R", *command[1:]]
    sys.stdout.flush()
    try:
        pager = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", env=told
        )
    except OSError:
        _print(terminal, lines, cut)
        return
    assert pager.stdin is not None
    system: Any = terminal.color_system or "standard"
    paper = Console(
        file=pager.stdin,
        markup=False,
        highlight=False,
        emoji=False,
        force_terminal=True,
        width=terminal.width,
        color_system=system,
        no_color=terminal.no_color,
    )
    try:
        # Whoever read enough closes the pager, and with it our end of the pipe; a Ctrl-C is meant for it too.
        with suppress(BrokenPipeError, KeyboardInterrupt):
            _print(paper, lines, cut)
        with suppress(BrokenPipeError):
            pager.stdin.close()
    finally:
        _wait(pager)


def _wait(pager: subprocess.Popen[str]) -> None:
    while True:
        try:
            pager.wait()
            return
        except KeyboardInterrupt:
            continue
