"""Values of a run as a page shows them: laid out, coloured, cut where they are long. Knows no page.

Every text is foreign. What comes out is text for a template to escape, or HTML from pygments, which has escaped it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from chainette.files.json_text import encode

MOST = 20_000
"""Characters of one value on a page; the rest is a click away."""
_COLOURED = 60_000
"""Characters of JSON that are coloured; more takes a browser and us too long."""
_PARSED = 400_000
_SHORT = 160
_LONGER = 3_000
_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


@dataclass(frozen=True, slots=True)
class Piece:
    """A value ready for a template."""

    text: Markup | str
    is_json: bool
    cut: int = 0
    """Characters that it has in all, where not all are here."""
    at: str = ""
    """Where in the journey it is, for the page that has all of it."""


def visible(text: str) -> str:
    """Control characters by their signs (`␀`), so that none is lost or does something."""
    return text.replace("\r\n", "\n").translate(_SIGNS)


def laid_out(value: Any) -> tuple[str, bool]:
    """The text of a value, and whether it is JSON. A text that is a JSON object or list is laid out as one."""
    if not isinstance(value, str):
        return _pretty(value), isinstance(value, dict | list)
    if value[:1] in ("{", "[") and len(value) <= _PARSED:
        try:
            return _pretty(json.loads(value)), True
        except (ValueError, RecursionError):
            pass
    return value, False


def _pretty(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return encode(value).decode("utf-8", "replace")


def piece(value: Any, at: str = "", most: int = MOST) -> Piece:
    """A value for a template; `at` is the address of the whole of it."""
    text, is_json = laid_out(value)
    # A little more than that is not worth a click.
    cut = len(text) if len(text) > most * 5 // 4 else 0
    shown = visible(text[:most] if cut else text)
    if is_json and len(shown) <= _COLOURED:
        return Piece(_coloured(shown), True, cut, at)
    return Piece(shown, is_json, cut, at)


def _coloured(text: str) -> Markup:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import JsonLexer

    # Half a surrogate pair in somebody's data has no UTF-8.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return Markup(highlight(clean, JsonLexer(stripnl=False), HtmlFormatter(nowrap=True)))


@dataclass(frozen=True, slots=True)
class Cell:
    """A value on one line of a table."""

    short: str
    long: str = ""
    """More of it, where the short text is not all."""
    kind: str = ""
    """`number`, `null`, or nothing."""


def cell_of(value: Any) -> Cell:
    """A value for a table."""
    if value is None:
        return Cell("", kind="null")
    short = brief(value, _SHORT)
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return Cell(short, brief(value, _LONGER), kind) if short.endswith("…") else Cell(short, kind=kind)


def brief(value: Any, most: int = 160) -> str:
    """A value on one line of a table."""
    if isinstance(value, str):
        text = value[: 4 * most]
    elif value is None:
        return ""
    else:
        text = json.dumps(_shallow(value, most), ensure_ascii=False, default=str)
    line = " ".join(visible(text).split(None, most))
    return line if len(line) <= most else line[: most - 1] + "…"


def _shallow(value: Any, most: int) -> Any:
    """Enough of a value for one line: long lists and texts are cut before they are written out."""
    if isinstance(value, str):
        return value[:most]
    if isinstance(value, list):
        return [_shallow(item, most) for item in value[:50]]
    if isinstance(value, dict):
        return {str(key)[:most]: _shallow(item, most) for key, item in list(value.items())[:50]}
    return value
