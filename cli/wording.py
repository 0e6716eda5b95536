"""Numbers, times and foreign text as they stand on a terminal. Knows no terminal library."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from chainette.reports.harmless import lines as lines
from chainette.reports.harmless import one_line as one_line
from chainette.reports.wording import clock as clock
from chainette.reports.wording import count as count
from chainette.reports.wording import counted as counted
from chainette.reports.wording import in_words as in_words
from chainette.reports.wording import rate as rate
from chainette.reports.wording import seconds as seconds
from chainette.reports.wording import short_time as short_time
from chainette.reports.wording import size as size
from chainette.reports.wording import state_in_words as state_in_words


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


def turn_words(turn: object) -> str:
    """`3`, and in nested loops `2, 1`: that of the outermost first."""
    return ", ".join(map(str, turn)) if isinstance(turn, list | tuple) else str(turn)


def run_word(folder: str) -> str:
    """How `show` is told which run: by its name when it lies in `runs/`, else by its path."""
    path = Path(folder)
    return shlex.quote(path.name if path.parent == Path("runs") else folder)


def died_words(engine: str, why: str) -> str:
    """The reason without the end of the log, which `events.jsonl` has."""
    return f"engine {engine} died and is started again: {why.partition(chr(10))[0].rstrip(':')}"
