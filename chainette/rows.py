"""Rows, failures and the ids that tie them together. Knows neither where rows come from nor where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FailureKind = Literal[
    "schema",  # the answer is not valid JSON or does not fit the output model
    "truncated",  # the answer stopped at max_tokens (finish_reason=length)
    "timeout",
    "http",  # the endpoint refused or broke off, after all transport retries
    "context_length",  # prompt and answer do not fit into the model's context
    "refused",  # the endpoint or the model declined (content filter)
    "input",  # the row does not fit the chain's first model
    "prompt",  # the template failed on this row's values
    "apply",  # a Python function raised or returned what its annotations do not allow
    "route",  # a switch had no way for the row, or a predicate, key or scan could not work on it
    "max_iterations",  # a loop's turns were used up
    "join",  # a joined branch has no value for this row
    "upstream",  # a gather misses a child that failed
]

Order = tuple[int, ...]
"""What sorts rows as the input stands: `(17, 2)` is the third child of the eighteenth input row."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row stopped. A value, never raised."""

    row_id: str
    node_id: str
    kind: FailureKind
    message: str
    attempts: int = 1
    raw: str | None = None
    """The text that was refused, where there is one."""
    cause: tuple[str, ...] = ()
    """From the outermost to the innermost cause, `file:line` first for an apply."""
    turns: tuple[int, ...] = ()
    """In which turn of each loop around it, the outermost first."""


class Row:
    """One item of data at one node.

    The rows of one item form a chain through `parent`, from here back to the input, so a template can reach every
    earlier value.
    """

    __slots__ = ("id", "node", "order", "parent", "ticket", "value")

    def __init__(self, id: str, order: Order, value: Any, node: int, parent: Row | None, ticket: Any = None) -> None:
        self.id = id
        self.order = order
        self.value = value
        self.node = node
        self.parent = parent
        self.ticket = ticket

    def __repr__(self) -> str:
        return f"Row({self.id!r}, node={self.node}, {self.value!r})"


class StepRow(Row):
    """A row made by a model's answer, with the reasoning that came beside it."""

    __slots__ = ("reasoning",)

    reasoning: str | None


class TurnRow(Row):
    """A row at the beginning of a loop's turn."""

    __slots__ = ("state", "turns")

    turns: tuple[int, ...]
    """Which turn of each loop around it this is, from 1, the outermost first."""
    state: Any
    """What a scan has so far; None in other loops."""


class DealtRow(Row):
    """A row as a function over the whole run gave it, in the chunk that it was dealt to."""

    __slots__ = ("aside",)

    aside: dict[int, Any]
    """What became of it before in branches that end there, by node; its former chunk is not at hand any more."""


class JoinedRow(Row):
    """A row after a join: the main line's value, with what the joined branches made of it."""

    __slots__ = ("aliases",)

    aliases: dict[str, Row | list[Row] | None]


def made_from(id: str) -> list[str]:
    """The ids of the rows that a row was made from, the nearest first: `17.2.0` from `17.2` and `17`.

    What follows a dot in an id from the data makes it a child only where it is a number.
    """
    found: list[str] = []
    while True:
        id, _, number = id.rpartition(".")
        if not id or not (number.isdecimal() and number.isascii()):
            return found
        found.append(id)


def source_of(id: str, positions: Mapping[str, int]) -> int:
    """Which input row an id comes from: its own, or that of the row it is a child of (`17.2.0`, `17.2`, `17`).

    Raises:
        KeyError: of none of them.
    """
    known = id
    while known not in positions and "." in known:
        known = known.rpartition(".")[0]
    if known not in positions:
        raise KeyError(id)
    return positions[known]


class Absent:
    """Stands for a row of a chunk that is left as it is when others of the chunk are done again."""


@dataclass(slots=True)
class Again:
    """What is to be done otherwise when rows of a chunk go through the chain once more."""

    anew: frozenset[tuple[str, str]]
    """(node id, row id) of the failures to heal: what the log has of them is not taken."""
    kept: Mapping[tuple[str, str], Failure]
    """(node id, row id) of the failures that stay."""
    rows: frozenset[int]
    """Positions of the input rows with a failure to heal: what they made takes the place of what they had made."""


@dataclass(slots=True)
class InputChunk:
    """Consecutive input rows as they were read, before anything is made of them."""

    index: int
    first: int
    """Position of the first row in the whole input."""
    ids: list[str]
    values: list[Any]
    """Instances of the chain's input type; a row that does not fit is a `Failure` in its place, one that does not take
    part is `Absent`."""
    raw: list[Any]
    """The rows as read: dicts, ready to be written as JSON."""
    again: Again | None = None

    @property
    def present(self) -> Sequence[int]:
        """Positions of the rows that take part."""
        if self.again is None:
            return range(len(self.ids))
        return [position for position, value in enumerate(self.values) if value is not Absent]


@dataclass(slots=True)
class NodeChunk:
    """What one node made of one chunk, in input order."""

    node_id: str
    ids: list[str]
    values: list[Any]
    failures: list[Failure] = field(default_factory=list)
    turns: list[int | list[int]] | None = None
    """Of a node in a loop: per row the turn it is from, in nested loops one number for each, the outermost first."""
    beside: list[Any] = field(default_factory=list)
    """Values of rows that stand in another chunk's files, for the flattened rows of this one; they count on after
    `values`."""
