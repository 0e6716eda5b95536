"""The live view: the picture of a run, drawn over itself a few times a second. Knows events only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from chainette.cli.frame import picture
from chainette.cli.progress import RunState
from chainette.cli.screen import console
from chainette.cli.wording import Glyphs
from chainette.events import Event, Progressed, RunFinished, RunStarted

REDRAWS_PER_SECOND = 4


class LiveView:
    """Listens to a run and keeps its picture on a terminal until it is left.

    Whatever the user's own code prints meanwhile goes above the picture.
    """

    def __init__(
        self,
        glyphs: Glyphs,
        max_branches: int | None = None,
        stream: TextIO | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = RunState()
        self._glyphs = glyphs
        self._max_branches = max_branches
        self._console: Console = console(stream or sys.stderr)
        self._now_s = now_s
        self._heard_s = now_s()
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REDRAWS_PER_SECOND,
            vertical_overflow="crop",
        )
        self._started = False

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progressed | RunStarted | RunFinished):
            self._heard_s = self._now_s()
        self.state.take(event, self._now_s())
        if not self._started and isinstance(event, RunStarted):
            self._started = True
            self._live.start()

    def _draw(self) -> Text:
        now = self._now_s()
        since = 0.0 if self.state.finished else now - self._heard_s
        height = self._console.height if self.state.finished is None else 10_000
        return picture(
            self.state,
            self._glyphs,
            self._console.width - 1,
            height,
            now,
            self.state.elapsed_s + since,
            self._max_branches,
        )
