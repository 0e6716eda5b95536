"""What a user's function may raise without ending the run, and where it did. Calls nothing."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

ANYTHING = (Exception, asyncio.CancelledError, SystemExit, GeneratorExit, KeyboardInterrupt)
"""A row that raises it is a failed row. A person's Ctrl-C comes as a signal to the main thread and never gets here."""


def is_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not something that user code waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def place_of(error: BaseException, fn: Any) -> str:
    """`file:line` of the innermost frame in the function's own file, else of the innermost frame of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    file = getattr(getattr(fn, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
