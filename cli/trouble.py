"""Errors as one clear block on stderr, and the exit code that goes with each. Knows the error tree, no command."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, TextIO

from chainette.errors import (
    ChainError,
    ChainetteError,
    InputError,
    PlanError,
    Problem,
    RunFolderError,
)

if TYPE_CHECKING:
    from rich.text import Text

DONE = 0
STOPPED = 1
WRONG = 2
FAILED_ROWS = 3
INTERRUPTED = 130

DEBUG = "CHAINETTE_DEBUG"


def exit_code(error: BaseException, began: bool = False) -> int:
    """2 when the call, the chain or the input is wrong; 1 when a run that had begun stopped."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, ChainError | PlanError | InputError | RunFolderError) and not began:
        return WRONG
    return STOPPED


def complain(error: ChainetteError, err: TextIO) -> None:
    """What is wrong, where, and the next command."""
    from rich.text import Text

    from chainette.cli.screen import BAD, console
    from chainette.cli.wording import lines

    shown = console(err)
    if isinstance(error, ChainError):
        problems = error.problems
        block = Text("error: ", style=f"bold {BAD}")
        if len(problems) == 1:
            block.append_text(problem_text(problems[0], first=True))
        else:
            block.append(f"{len(problems)} problems", style="default not bold")
            for problem in problems:
                block.append("\n  ").append_text(problem_text(problem))
    else:
        message = lines(str(error) or type(error).__name__).strip()
        block = Text("error: ", style=f"bold {BAD}").append(message.replace("\n", "\n  "), style="default not bold")
    for note in getattr(error, "__notes__", []):
        block.append(f"\n  {lines(note)}", style="default not bold")
    shown.print(block, soft_wrap=not err.isatty())


def problem_text(problem: Problem, first: bool = False) -> Text:
    """A problem on two lines: where and what, then the hint."""
    from rich.text import Text

    from chainette.cli.wording import one_line

    text = Text(style="default not bold")
    if problem.where:
        text.append(one_line(problem.where), style="bold").append(": ")
    text.append(one_line(problem.message))
    if problem.hint:
        text.append(f"\n  {'' if first else '  '}hint: {one_line(problem.hint)}")
    return text


def bewail(error: Exception, err: TextIO) -> None:
    """An error nobody expected: one line, and where its traceback is."""
    import traceback

    from chainette.cli.wording import one_line

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="chainette-", suffix=".traceback", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
        where = f"the traceback is in {file.name}"
    except OSError:
        where = text
    err.write(f"error: {type(error).__name__}: {one_line(error, 500)}\n")
    err.write(f"  this is a bug or a broken installation; {where}\n")
    err.flush()


def report(error: BaseException, began: bool = False, err: TextIO | None = None) -> int:
    """Says what went wrong and returns the exit code. With `CHAINETTE_DEBUG=1` the error goes on as it is."""
    err = err or sys.stderr
    if os.environ.get(DEBUG, "") not in ("", "0"):
        raise error
    if isinstance(error, ChainetteError):
        complain(error, err)
    elif isinstance(error, Exception):
        bewail(error, err)
    else:
        err.write("interrupted\n")
    return exit_code(error, began)
