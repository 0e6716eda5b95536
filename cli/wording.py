"""Numbers, times and foreign text as they stand on a terminal. Knows no terminal library."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that a drawing is made of."""

    step: str
    apply: str
    join: str
    done: str
    failed: str
    full: str
    half: str
    empty: str
    branch: str
    last: str
    joined: str
    pipe: str
    dot: str
    more: str
    dash: str
    times: str
    gate: str
    loop: str
    scan: str
    delay: str
    gather: str

    def of(self, kind: str) -> str:
        """The sign of a node of that kind."""
        gates = {"cond": self.gate, "switch": self.gate, "while_loop": self.loop, "scan": self.scan}
        others = {"apply": self.apply, "join": self.join, "delay": self.delay, "gather": self.gather}
        return gates.get(kind) or others.get(kind) or self.step


ICONS = Glyphs(
    *("◆", "ƒ", "⋈", "✓", "✗", "━", "╸", "─", "├─", "╰─", "╰▸", "│ ", "·", "…", "–", "×", "◇", "↻", "»", "~", "∪")
)
PLAIN = Glyphs(
    *("*", "f", "+", "ok", "x", "#", "#", ".", "|-", "`-", "`>", "| ", "-", "...", "-", "x", "?", "@", ">", "~", "u")
)


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


def count(number: float) -> str:
    return f"{int(number):,}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`; the plural takes an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def turn_words(turn: object) -> str:
    """`3`, and in nested loops `2, 1`: that of the outermost first."""
    return ", ".join(map(str, turn)) if isinstance(turn, list | tuple) else str(turn)


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = max(0, int(seconds))
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def seconds(value: float) -> str:
    """`0.84 s`, `12.3 s`, `2:05`."""
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 60 else clock(value)


def rate(per_second: float) -> str:
    """`0.4/s`, `85/s`, `12,400/s`."""
    if per_second <= 0:
        return ""
    return f"{per_second:.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"


def size(bytes_: float) -> str:
    """`512 B`, `1.4 MB`, `139.8 GB`, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def run_word(folder: str) -> str:
    """How `show` is told which run: by its name when it lies in `runs/`, else by its path."""
    path = Path(folder)
    return shlex.quote(path.name if path.parent == Path("runs") else folder)


def died_words(engine: str, why: str) -> str:
    """The reason without the end of the log, which `events.jsonl` has."""
    return f"engine {engine} died and is started again: {why.partition(chr(10))[0].rstrip(':')}"
