"""What a Python error says, in the same words in every run. Knows no rows and no nodes."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def error_words(error: BaseException) -> str:
    """The error's type and message."""
    return without_addresses(f"{type(error).__name__}: {error}")


def without_addresses(text: str) -> str:
    """The text without where in memory its objects were, which differs from run to run."""
    return _ADDRESS.sub("", text)
