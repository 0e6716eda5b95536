"""What differs from one backend to the next, and the way from a spec to its backend. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast

from chainette.engine.protocol import Engine
from chainette.specs import Capabilities, EngineSpec, SamplingParams

ALL_SAMPLING = frozenset(SamplingParams.model_fields)

ENDPOINT_WINDOW = 128
"""Calls in flight at an endpoint that does not say what it can take."""


def queued(slots: int) -> int:
    """Calls in flight for an engine that answers `slots` at a time: a few more, so that the next one is there when a
    slot becomes free. 0 for 0."""
    return slots + max(2, slots // 4) if slots else 0


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an engine's process. It reads `settings` as one line of JSON from its standard input, ends when
    that is closed (unless a line `stay` came before: a warm engine is let go so), and says `listening on URL` on its
    standard output, before or after it is healthy."""

    command: tuple[str, ...]
    settings: dict[str, Any] = field(repr=False)
    """May hold the key, which is why it does not go by the command line."""
    api_key: str = field(repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """A server of ours that is up."""

    url: str
    """Up to and with `/v1`."""
    api_key: str = field(repr=False)
    died: Callable[[], str | None]
    """Why its process is gone, or None while it lives."""


class Backend(Protocol):
    """A module of this room that knows one backend."""

    def capabilities(self, spec: EngineSpec) -> Capabilities: ...

    def window(self, spec: EngineSpec) -> int:
        """Calls that may be in flight at once."""
        ...

    def base_url(self, spec: EngineSpec) -> str | None:
        """Where the endpoint is; None when it is ours to start."""
        ...

    def body(self, spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
        """The fields of a request that are the same for all rows of a step, `messages` left out."""
        ...

    def launch(self, spec: EngineSpec, devices: int = 0) -> Launch:
        """How to start one replica; asked only where `base_url` is None. `devices` is how many it is given: which ones
        is said by the environment, CUDA_VISIBLE_DEVICES, and not by the backend.

        Raises:
            EngineStartError: a file or a library is missing, with what to do about it.
        """
        ...

    def settled(self, spec: EngineSpec) -> EngineSpec:
        """The spec with all that its servers' start decides, where nobody decided it before."""
        ...

    def left_out(self, spec: EngineSpec) -> list[str]:
        """What the user has said of a server of ours and will not get, and why."""
        ...

    def unfit_sampling(self, spec: EngineSpec, sampling: SamplingParams) -> list[str]:
        """Values that it would refuse for every row, and why."""
        ...

    def with_sleep(self, spec: EngineSpec) -> EngineSpec | None:
        """The spec whose servers can give their devices' memory back by `POST /sleep` and take it again by
        `POST /wake_up`; None where they cannot, or the user does not want it."""
        ...

    def connect(self, spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
        """The client; `running` is None for an endpoint that is not ours."""
        ...


def backend_of(spec: EngineSpec) -> Backend:
    return cast("Backend", import_module(f"chainette.engine.{spec.backend}"))


def capabilities(spec: EngineSpec) -> Capabilities:
    """What the spec's backend takes and whether it can be used here. Starts and loads nothing heavy."""
    return backend_of(spec).capabilities(spec)
