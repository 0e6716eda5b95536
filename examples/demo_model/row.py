"""One row of a generated task: what its prompt is made from and the one right answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .prompts import render


@dataclass(frozen=True)
class Row:
    """What goes into a prompt and the one right answer."""

    task: str
    scope: dict[str, object]
    answer: dict[str, object]

    @property
    def prompt(self) -> tuple[str, str]:
        return render(self.task, self.scope)

    @property
    def text(self) -> str:
        return json.dumps(self.answer, ensure_ascii=False, separators=(",", ":"))
