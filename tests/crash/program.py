"""`chainette` as a process of its own, in a process group of its own, to be watched and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

CHAINETTE = str(Path(sys.executable).with_name("chainette"))
DEADLINE_S = 60.0
"""For anything that a process is waited for: far more than it takes on a busy machine."""
_LOOK_S = 0.004
pause = threading.Event().wait


class Program:
    """A running `chainette ARGUMENTS`. Its output goes to `log`, behind what stands there."""

    def __init__(self, *arguments: str, log: Path, before: Sequence[str] = ()) -> None:
        """`before`: words in front of the command."""
        self.arguments = arguments
        self.log = log
        self.began = time.monotonic()
        with log.open("ab") as out:
            out.write(f"$ chainette {' '.join(arguments)}\n".encode())
            out.flush()
            self._process = subprocess.Popen(
                [*before, CHAINETTE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began

    def said(self) -> str:
        """What stands in the log, the last of it."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def until(self, reached: Callable[[], bool], what: str) -> bool:
        """Waits for `reached`. False: the program ended before."""
        while self._process.poll() is None:
            if reached():
                return True
            assert self.age_s < DEADLINE_S, f"{what} was not reached in {DEADLINE_S:g} s; {self.said()}"
            pause(_LOOK_S)
        return False

    def kill(self) -> None:
        """`kill -9` of the process alone: whatever it started has to notice by itself."""
        self._process.kill()
        self._process.wait(timeout=DEADLINE_S)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Waits for its end and returns the exit code, negative for a death by signal."""
        try:
            return self._process.wait(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {DEADLINE_S:g} s; {self.said()}") from None

    def leaves_no_process(self) -> None:
        """Raises AssertionError: a process of its group is still there after the deadline."""
        until = time.monotonic() + DEADLINE_S
        while left := self._group():
            assert time.monotonic() < until, f"left behind by chainette {' '.join(self.arguments)}: {left}"
            pause(_LOOK_S)

    def _group(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
            except (ProcessLookupError, psutil.Error):
                continue
        return found
