"""The three standard streams, made safe before anything uses them. Knows no command and loads nothing heavy."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from typing import Any, NoReturn, TextIO, cast


class Unwritable(Exception):
    """Standard output takes no more."""


class _Stream(ABC):
    """A text stream that behaves as the one it stands before, but for what a failed write means."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.was_closed = False
        """Whether the program was started without it: what is written goes nowhere."""
        self.mid_line = False
        """Whether the last text written lacks its line break: a line of ours would be glued onto it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text:
            self.mid_line = not text.endswith("\n")
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._failed(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    @abstractmethod
    def _failed(self, error: Exception) -> None:
        """What a write that did not succeed means."""


class Watched(_Stream):
    """stderr: whoever watched may go, or have no room left; that never ends a run."""

    def _failed(self, error: Exception) -> None:
        return


class Read(_Stream):
    """stdout: what another program waits for must not be lost in silence."""

    def _failed(self, error: Exception) -> NoReturn:
        if isinstance(error, BrokenPipeError):
            raise error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unwritable(f"cannot write to standard output: {reason.lower()}") from error


def mend_streams() -> None:
    """Fills what is closed and guards what may fail.

    A closed descriptor 0, 1 or 2 would be given to the next file or socket, and uvloop aborts when it closes one.
    """
    closed = []
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.append(descriptor)
            # The lowest free number is the one that was found closed.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    out = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (lives as long as the process)
    err = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = cast("TextIO", Read(out)), cast("TextIO", Watched(err))
    sys.stdout.was_closed = 1 in closed  # type: ignore[attr-defined]


def require_stdout() -> None:
    """Before rows or a page go to standard output, which a command has no other place for.

    Raises:
        Unwritable: it was closed when the program began.
    """
    if getattr(sys.stdout, "was_closed", False):
        raise Unwritable("cannot write to standard output: it is closed")


def silence_stdout() -> None:
    """Python flushes stdout once more at exit, and would complain once more.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
