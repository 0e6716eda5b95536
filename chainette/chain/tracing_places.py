"""Where in the user's code something is called, for messages. Looks at the stack; knows nothing of what is called."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import FrameType

_OURS = str(Path(__file__).resolve().parents[1]) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def users_frame() -> FrameType:
    """The nearest frame on the stack that is neither ours nor Python's own."""
    frame = sys._getframe(1)
    nearest: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            nearest = nearest or frame
            if not _is_pythons(file):
                return frame
        if frame.f_back is None:
            break
        frame = frame.f_back
    return nearest or frame


def users_place() -> str:
    """`file.py:12`, the file from the working directory where it lies below it."""
    frame = users_frame()
    return place_of(frame.f_code.co_filename, frame.f_lineno)


def place_of(file: str, line: int | None) -> str:
    try:
        shown = os.path.relpath(file)
    except ValueError:  # another drive
        shown = file
    return f"{file if shown.startswith('..') else shown}:{line}"


def asked_by_user() -> bool:
    """Whether the code that asked us, over Python's `abc` if need be, is the user's: no package's, not ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "abc":
        frame = frame.f_back
    if frame is None:
        return False
    file = frame.f_code.co_filename
    return not file.startswith(_OURS) and not _is_pythons(file) and not any(part in file for part in _INSTALLED)


def _is_pythons(file: str) -> bool:
    return file.startswith("<frozen") or (file.startswith(_STDLIB) and not any(part in file for part in _INSTALLED))
