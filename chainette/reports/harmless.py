"""Foreign text made safe to show: no control characters, nothing that changes how the rest is read. Knows no medium."""

from __future__ import annotations

import re

# CSI and OSC sequences: colours, cursor movements, window titles, links.
_ESCAPES = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[@-_]")
_KEPT = {ord("\n"), ord("\t")}
_CONTROL = [*range(0x20), *range(0x7F, 0xA0)]
# Bidirectional and invisible format characters can make a line read as something that it is not.
_FORMAT = [0x200B, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]
_ONE_LINE: dict[int, str | None] = {
    **dict.fromkeys(_CONTROL + _FORMAT),
    **dict.fromkeys([ord("\n"), ord("\r"), ord("\t"), 0x2028, 0x2029], " "),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
_LINES: dict[int, str | None] = {k: v for k, v in _ONE_LINE.items() if k not in _KEPT}


def one_line(text: object, limit: int = 0) -> str:
    """Foreign text as one harmless line: control characters gone, cut at `limit` characters where there is one."""
    value = str(text)
    if limit and len(value) > 4 * limit:
        value = value[: 4 * limit]
    line = _ESCAPES.sub("", value).translate(_ONE_LINE).strip()
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def lines(text: object) -> str:
    """Foreign text with its line breaks, without other control characters."""
    return _ESCAPES.sub("", str(text)).replace("\r\n", "\n").translate(_LINES)
