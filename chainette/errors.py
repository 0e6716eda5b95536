"""Every error a user may catch. Knows nothing of the rooms that raise them.

ChainetteError
├── ChainError          the declaration is wrong; `problems` lists all that is
├── PlanError           it does not fit on the devices, with the arithmetic
├── EngineError         an engine cannot be used
│   ├── EngineStartError    it did not come up; ends with the last lines of its log
│   └── EngineDiedError     it went away while it was needed
├── InputError          the data is wrong: file, line, field
├── RunFolderError      the run folder cannot be written, read or taken
├── RunStoppedError     the run ended before its last row, and says why
└── RowFailedError      the one row that a node was called on failed

A bad row of a run is not an exception but a `chainette.rows.Failure`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class ChainetteError(Exception):
    """Anything Chainette says is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a chain, and what to do about it."""

    where: str
    """The node, branch or engine it is about, e.g. `step "qa"`."""
    message: str
    hint: str = ""
    severity: str = "error"
    """`error` stops a run; `warning` and `note` are only said."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ChainError(ChainetteError):
    """A chain, step, sampling field or engine name is wrong. Holds every problem found, not only the first."""

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{len(self.problems)} problems", *(f"  - {p}" for p in self.problems)]
        return "\n".join(lines)


class PlanError(ChainetteError):
    """What the chain needs does not fit on what is here."""


class EngineError(ChainetteError):
    """An engine cannot be used as asked."""


class EngineStartError(EngineError):
    """An engine did not become healthy. The message ends with the last lines of its log."""


class EngineStartGivenUp(EngineStartError):
    """Nobody waits for the start any more."""


class EngineDiedError(EngineError):
    """An engine's process or endpoint went away while calls were waiting for it."""


class InputError(ChainetteError):
    """The input cannot be read as the chain's first model. Names file, line and field."""


class RunFolderError(ChainetteError):
    """The run folder cannot be written, read or taken."""


class RunStoppedError(ChainetteError):
    """The run ended before its last row; what was finished is in the folder."""


class RowFailedError(ChainetteError):
    """The row that a step, apply or chain was called on failed."""

    def __init__(self, message: str, kind: str, node_id: str, raw: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        """One of `chainette.rows.FailureKind`."""
        self.node_id = node_id
        """The node at which it stopped."""
        self.raw = raw
        """The text that was refused, where there is one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name` as a hint, or all of them when none is near.

    Returns `did you mean "temperature"?`, or `known: a, b, c`, or the empty string when nothing is known.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}"
