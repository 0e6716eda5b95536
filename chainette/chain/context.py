"""What an apply may ask about where it is. Set by the executor around each call; read-only for the function."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from chainette.errors import ChainetteError


@dataclass(frozen=True, slots=True)
class Context:
    """Where a function runs."""

    run_id: str
    node_id: str
    row_ids: tuple[str, ...]
    """The rows it was given, in order."""
    attempt: int = 1
    """Which try this is; functions are not tried again in this version."""
    deadline: float | None = None
    """Unix time at which the time of these rows is over (`Chain.deadline_s`), or None."""
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """`--param k=v` of the command line, `params=` of `run`."""


class Here:
    """Where a thread or task is, kept by the executor. A `Context` is only made of it when a function asks."""

    __slots__ = ("deadline", "node_id", "params", "row_ids", "run_id")

    def __init__(self, run_id: str, node_id: str, params: Mapping[str, Any]) -> None:
        self.run_id = run_id
        self.node_id = node_id
        self.params = params
        self.row_ids: tuple[str, ...] = ()
        self.deadline: float | None = None


current: ContextVar[Here] = ContextVar("chainette_context")


def context() -> Context:
    """The context of the apply that is running.

    Raises:
        ChainetteError: called outside an apply.
    """
    try:
        here = current.get()
    except LookupError:
        raise ChainetteError("chainette.context() is only there inside an apply while a chain runs") from None
    return Context(here.run_id, here.node_id, here.row_ids, deadline=here.deadline, params=here.params)
