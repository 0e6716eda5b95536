"""Answers for other programs: JSON on stdout. Knows nothing of what it writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any


def write_json(value: Any) -> None:
    """One JSON document, indented, UTF-8 as it is."""
    _write(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def write_json_line(value: Any) -> None:
    """One JSON object on one line, for answers of any length."""
    _write(json.dumps(value, ensure_ascii=False, default=str))


def write_json_rows(about: dict[str, Any], rows: Iterable[Any]) -> None:
    """The same document as `write_json({**about, "rows": [...]})`, one row in memory at a time."""
    head = json.dumps(about, ensure_ascii=False, indent=2, default=str).removesuffix("\n}")
    _write(head + ",")
    before = '  "rows": ['
    for row in rows:
        _write(before)
        text = json.dumps(row, ensure_ascii=False, indent=2, default=str).replace("\n", "\n    ")
        _begin(f"    {text}")
        before = ","
    _write(f"{before}]" if before != "," else "\n  ]")
    _write("}")


def write(text: str) -> None:
    """Text that ends with its own line break."""
    _write(text.removesuffix("\n"))


def _write(text: str) -> None:
    _begin(text + "\n")


def _begin(text: str) -> None:
    # A lone surrogate in foreign text has no UTF-8; JSON may escape it.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
