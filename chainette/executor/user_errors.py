"""What a user's function may raise without ending the run, and where it did. Calls nothing."""

from __future__ import annotations

import math
import traceback
from typing import Any

import anyio

from chainette.chain.shape import class_of

ANYTHING = BaseException
"""A row that raises it is a failed row: a library may have errors of its own that are no `Exception`, as those of
Rust's panics. A person's Ctrl-C comes as a signal to the main thread and never gets here."""


def is_cancelled() -> bool:
    """Whether it is the run that was cancelled, and not something that user code waited for, or its task by itself."""
    return anyio.current_effective_deadline() == -math.inf


def place_of(error: BaseException, fn: Any) -> str:
    """`file:line` of the innermost frame in the function's own file (of a class: its `__call__`'s), else of the
    innermost frame of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    cls = class_of(fn)
    called = fn if cls is None else cls.__dict__.get("__call__", fn)
    file = getattr(getattr(called, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
