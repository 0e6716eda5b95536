"""Which listener a run gets: the live view, plain lines, JSON or none. Knows the terminal, not the run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TextIO

from chainette.cli.progress import RunState
from chainette.events import Event


class Watcher(Protocol):
    """A listener that is opened before the run and closed after it."""

    state: RunState

    def __enter__(self) -> Watcher: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, event: Event) -> None: ...


class Silence:
    """Listens and shows nothing."""

    def __init__(self) -> None:
        self.state = RunState()

    def __enter__(self) -> Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def __call__(self, event: Event) -> None:
        self.state.take(event)


@dataclass(frozen=True, slots=True)
class Screen:
    """How a run is to be shown. What a person watches goes to stderr; stdout is for what another program reads."""

    quiet: bool = False
    json_logs: bool = False
    icons: bool = True
    max_branches: int | None = None

    def watcher(self, out: TextIO, err: TextIO) -> Watcher:
        if self.json_logs:
            from chainette.cli.jsonlog import JsonLines

            return JsonLines(out)
        if self.quiet:
            return Silence()
        from chainette.cli.screen import glyphs, is_live

        if is_live(err):
            from chainette.cli.live import LiveView

            return LiveView(glyphs(err, self.icons), self.max_branches, err)
        from chainette.cli.plain import PlainLines

        return PlainLines(err)

    def say_end(self, state: RunState, out: TextIO, err: TextIO, allowed: bool, kept: bool = True) -> None:
        """The summary for people; the folder's path for programs, where stdout is theirs."""
        if self.json_logs:
            return
        if not self.quiet and state.finished is not None:
            from chainette.cli.screen import console, glyphs, is_live
            from chainette.cli.summary import plain_summary, summary

            signs = glyphs(err, self.icons)
            if is_live(err):
                shown = console(err)
                for text in summary(state.finished, signs, shown.width, allowed, kept):
                    shown.print(text, overflow="fold", no_wrap=False)
            else:
                err.write(plain_summary(state.finished, signs, 400, allowed, kept))
                err.flush()
        self.say_folder(state, out)

    def say_folder(self, state: RunState, out: TextIO) -> None:
        """The folder's path on a line of its own, where no person reads stdout."""
        if state.started is not None and not self.json_logs and (self.quiet or not out.isatty()):
            out.write(f"{state.started.folder}\n")
            out.flush()


def standard_streams() -> tuple[TextIO, TextIO]:
    """stdout and stderr as they are now; a user's `print` may be sent elsewhere later."""
    return sys.stdout, sys.stderr
