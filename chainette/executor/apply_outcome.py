"""From what a function gave back, or raised, to rows, drops and failures. Of the user's it calls only validators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from chainette.chain.drop import Drop
from chainette.chain.shape import Shape
from chainette.executor.user_errors import place_of
from chainette.executor.wording import error_words, without_addresses
from chainette.files.writable import plain_type, unwritable
from chainette.graph import Node
from chainette.graph.types import cast_to
from chainette.rows import Failure, FailureKind, Order, Row

Told = tuple[FailureKind, str, tuple[str, ...]]
"""Of a failure its kind, message and causes."""

MAX_WHY = 200
"""Characters of a reason to drop a row that are kept."""


class OutOfTime(Exception):
    """A row has used up its time."""

    def __init__(self, deadline_s: float | None, what: str = "deadline_s") -> None:
        super().__init__(f"its time was over ({deadline_s:g} s for a row, {what})")


class Result:
    """What became of some rows."""

    __slots__ = ("drops", "failures", "final", "made")

    def __init__(self) -> None:
        self.made: list[Row] = []
        self.failures: list[tuple[Row, Told, float | None]] = []
        """Rows that may be tried again, and when the time of each is over, where it began."""
        self.final: list[tuple[Row, Told]] = []
        """Rows that failed for good."""
        self.drops: list[tuple[Row, str]] = []
        """Rows that were dropped with a word why."""

    def add(self, other: Result) -> None:
        self.made += other.made
        self.failures += other.failures
        self.final += other.final
        self.drops += other.drops

    def put_failure(self, row: Row, said: Told, until: float | None = None) -> None:
        if said[0] == "timeout":
            self.final.append((row, said))
        else:
            self.failures.append((row, said, until))


class Maker:
    """Makes rows of one apply."""

    def __init__(self, node: Node) -> None:
        shape = node.apply.shape
        self._node = node.index
        self._makes = shape.makes
        self._declared = shape.declared
        self.cast = caster(shape)
        self.simple = shape.makes == "one" and shape.declared
        """A row for a row, or a `Drop`."""

    def put(self, row: Row, out: Any, result: Result) -> None:
        """What one row's return value becomes.

        Raises:
            Exception: it is not what the annotations say.
        """
        if out.__class__ is Drop:
            result.drops.append((row, reason(out)))
            return
        makes = self._makes
        if makes == "one" and not self._declared:
            makes = "maybe" if out is None else "many" if is_many(out) else "one"
        if makes == "maybe" and out is None:
            return
        if makes in ("one", "maybe"):
            result.made.append(Row(row.id, row.order, self.cast(out), self._node, row, row.ticket))
        elif out is not None:
            self.put_children(row, out, result, always=True)

    def put_children(self, row: Row, out: Iterable[Any], result: Result, *, always: bool) -> None:
        """Children `17.0`, `17.1`, …; with `always=False` an only child keeps its parent's id.

        Raises:
            Exception: one of them is not what the annotations say.
        """
        values = [value for value in out if value.__class__ is not Drop or self._drop(row, value, result)]
        self.put_values(row, [self.cast(value) for value in values], result, always=always)

    def put_values(self, row: Row, values: Sequence[Any], result: Result, *, always: bool) -> None:
        """Values that are of the right type already."""
        node, ticket = self._node, row.ticket
        if len(values) == 1 and not always:
            result.made.append(Row(row.id, row.order, values[0], node, row, ticket))
            return
        result.made += [
            Row(f"{row.id}.{position}", (*row.order, position), value, node, row, ticket)
            for position, value in enumerate(values)
        ]

    def _drop(self, row: Row, drop: Drop, result: Result) -> bool:
        result.drops.append((row, reason(drop)))
        return False


def reason(drop: Drop) -> str:
    """What stands beside the count; a text of one line."""
    return " ".join(str(drop.why).split())[:MAX_WHY] or "no reason given"


def is_many(out: Any) -> bool:
    return isinstance(out, list | tuple | set) or inspect.isgenerator(out) or hasattr(out, "__next__")


def listed(out: Any) -> Sequence[Any]:
    """What a list function gave, as a list.

    Raises:
        TypeError: it is none.
    """
    if out is None:
        raise TypeError("returned None; a list function returns a list")
    if not isinstance(out, Sequence) or isinstance(out, str | bytes):
        if is_many(out):
            return list(out)
        raise TypeError(f"returned {type(out).__name__}; a list function returns a list")
    return out


def told(error: BaseException, fn: Any, shape: Shape) -> Told:
    """What a failure says of an error that came out of the function, or of what it gave back."""
    if isinstance(error, OutOfTime):
        return "timeout", str(error), ()
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = without_addresses(f"{error.title}: {place + ': ' if place else ''}{first['msg']}")
    else:
        message = error_words(error)
        if not shape.declared and shape.takes == "list" and ("'list'" in message or "returns a list" in message):
            message += " (without annotations a function gets the list of rows; T -> U gets one)"
    where = place_of(error, fn)
    causes = [where] if where else []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 8:
        causes.append(error_words(cause))
        cause = cause.__cause__ or cause.__context__
    return "apply", message, tuple(causes)


def failure_of(node: Node, row: Row, said: Told, attempts: int) -> tuple[Order, Failure]:
    kind, message, causes = said
    return row.order, Failure(row.id, node.id, kind, message, attempts, cause=causes)


def caster(shape: Shape) -> Callable[[Any], Any]:
    """From what the function returned to what the next node and the file get."""
    cast = cast_to(shape.output_type if shape.declared else Any)
    if shape.declared and plain_type(shape.output_type):
        return cast

    def cast_and_look(value: Any) -> Any:
        """
        Raises:
            TypeError: no file could hold it.
        """
        value = cast(value)
        why = unwritable(value)
        if why is not None:
            raise TypeError(f"returned {type(value).__name__}, which cannot be written as JSON: {why}")
        return value

    return cast_and_look
