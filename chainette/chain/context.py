"""What a function may ask about where it is. Set by the executor around each call; read-only for the function."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from chainette.errors import ChainetteError

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Reach(Protocol):
    """What earlier nodes made of one row, by name. All that it gives is the function's own."""

    def chain_input(self) -> Any: ...

    def steps(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Where no row's past can be looked up."""

    why: str

    def chain_input(self) -> Any:
        raise ChainetteError(f"context().chain_input is not there {self.why}")

    def steps(self) -> Mapping[str, Any]:
        raise ChainetteError(f"context().steps is not there {self.why}")


@dataclass(frozen=True, slots=True)
class Context:
    """Where a function runs."""

    run_id: str
    node_id: str
    row_ids: tuple[str, ...]
    """The rows it was given, in order."""
    attempt: int = 1
    """Which try this is, from 1."""
    deadline: float | None = None
    """Unix time at which the time of these rows is over, or None: the smallest of `timeout_s` of the function and
    `deadline_s` of the chains around it."""
    params: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """`--param k=v` of the command line, `params=` of `run`."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """The node's own, and of the chains around it; of one name the nearest counts."""
    turn: int | tuple[int, ...] | None = None
    """Which turn of the loop around it, from 1; in nested loops one number for each, the outermost first."""
    reach: Reach = field(default_factory=lambda: Unreachable("here"), repr=False, compare=False)

    @property
    def chain_input(self) -> Any:
        """The row as it came in.

        Raises:
            ChainetteError: in a function that gets several rows, or in a worker process.
        """
        return self.reach.chain_input()

    @property
    def steps(self) -> Mapping[str, Any]:
        """What earlier nodes and joins made of this row, by the names that templates have for them.

        Raises:
            ChainetteError: in a function that gets several rows, or in a worker process.
        """
        return self.reach.steps()


class Here(Protocol):
    """Where a thread or task is, kept by the executor. A `Context` is only made of it when a function asks."""

    def context(self) -> Context: ...


current: ContextVar[Here] = ContextVar("chainette_context")


def context() -> Context:
    """The context of the function that is running.

    Raises:
        ChainetteError: called where no chain runs.
    """
    try:
        here = current.get()
    except LookupError:
        raise ChainetteError(
            "chainette.context() is only there inside an apply or a predicate while a chain runs"
        ) from None
    return here.context()
