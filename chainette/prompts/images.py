"""A field's value to image content parts, as OpenAI spells them. Fetches nothing: a URL is the engine's to fetch."""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def image_parts(value: Any) -> list[dict[str, Any]]:
    """One part per image, in order; none for None.

    Raises:
        OSError: a path that cannot be read.
        ValueError: something that is no URL, data URL, path or bytes.
    """
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [part for item in value for part in image_parts(item)]
    return [{"type": "image_url", "image_url": {"url": _url(value)}}]


def _url(value: Any) -> str:
    if isinstance(value, bytes):
        return _data_url(value, _sniff(value))
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if text.startswith(("http://", "https://", "data:")):
        return text
    path = Path(text)
    if not path.suffix:
        raise ValueError(f"{text[:60]!r} is no URL and no image path")
    return _data_url(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "image/png")


def _sniff(data: bytes) -> str:
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(b"GIF8"):
        return "image/gif"
    return "image/webp" if data[8:12] == b"WEBP" else "image/png"


def _data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
