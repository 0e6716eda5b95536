"""Reads the little of a GGUF file's header that decides how it is served. Knows no llama.cpp.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING = 8
_ARRAY = 9


def is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def trained_context_length(path: Path) -> int | None:
    """The context length the model was trained for, or None when the header does not say or cannot be read."""
    try:
        with path.open("rb") as file:
            magic, _, _, entries = struct.unpack("<4sIQQ", file.read(24))
            if magic != MAGIC:
                return None
            for _ in range(entries):
                key = _text(file)
                (kind,) = struct.unpack("<I", file.read(4))
                if key.endswith(b".context_length") and kind in (4, 10):
                    return int.from_bytes(file.read(_SIZES[kind]), "little")
                _skip(file, kind)
    except (OSError, struct.error, KeyError, MemoryError):
        pass
    return None


def _text(file: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length)


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(length, 1)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    else:
        file.seek(_SIZES[kind], 1)
