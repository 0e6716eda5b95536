"""What every engine looks like to the executor: prepare once per step, call once per row. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from chainette.errors import EngineError
from chainette.rows import FailureKind
from chainette.specs import EngineSpec, SamplingParams

Message = dict[str, Any]
"""A chat message as OpenAI spells it: `role`, and `content` as text or as a list of parts."""


@dataclass(slots=True)
class Choice:
    """One of the `n` answers to one prompt."""

    text: str
    finish_reason: str
    reasoning: str | None = None
    logprobs: Any = None
    declined: str | None = None
    """Why this one is no answer, where the model or a content filter declined; only beside others that are one."""


@dataclass(slots=True)
class Answer:
    """What came back from one call."""

    choices: list[Choice]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    prompt_logprobs: Any = None
    started_s: float = 0.0
    """`time.time()` when the request that was answered left us."""
    seconds: float = 0.0
    queue_s: float | None = None
    """Waited in the engine before it was taken up, where the server tells; so with `first_token_s`."""
    first_token_s: float | None = None
    """From the request's arrival at the engine to its first token."""
    replica: int = 0
    sent: int = 1
    """Requests it took, those refused or cut included."""


class CallError(EngineError):
    """A call that will not be answered, after all the tries worth making."""

    def __init__(self, kind: FailureKind, message: str, *, raw: str | None = None, sent: int = 1) -> None:
        super().__init__(message)
        self.kind = kind
        self.raw = raw
        self.sent = sent


class Prepared(Protocol):
    """What all calls of a step have in common, compiled once for one engine. Opaque to the executor."""


class Engine(Protocol):
    """A live engine."""

    spec: EngineSpec
    devices: int
    """It has for itself, all replicas together."""

    @property
    def window(self) -> int:
        """Calls that should be in flight: a few more than the engine can run at once. May change at any time."""
        ...

    @property
    def held_by(self) -> str:
        """What the next call waits for besides the window, as people call it; empty where none waits."""
        ...

    def follow(self, changed: Callable[[], None]) -> None:
        """From now on `changed` is called, on the event loop, whenever `window` has become another."""
        ...

    async def attend(self) -> None:
        """Looks after the window while the engine is in use: returns at once where there is nothing to do, else runs
        until it is cancelled. Once per lease, beside the calls."""
        ...

    def prepare(self, schema: dict[str, Any] | None, sampling: SamplingParams, adapter: str | None = None) -> Prepared:
        """`schema` is the JSON schema of the output model; None asks for free text. `adapter` is a LoRA's name."""
        ...

    async def call(self, prepared: Any, messages: list[Message], timeout_s: float | None = None) -> Answer:
        """One answer with `n` choices, in order.

        Raises:
            CallError: with the failure kind, for this row only.
            EngineDiedError: the engine is gone for every row, or was never there.
            EngineError: no call was served yet, and none will be: the key, the model's name or the URL is wrong.
        """
        ...

    def generate(
        self,
        prompts: list[str | list[Message]],
        sampling: SamplingParams | None = None,
        schema: dict[str, Any] | None = None,
    ) -> list[str]:
        """One text per prompt, in order. Blocks; not for use inside an event loop."""
        ...

    async def agenerate(
        self,
        prompts: list[str | list[Message]],
        sampling: SamplingParams | None = None,
        schema: dict[str, Any] | None = None,
    ) -> list[str]: ...

    async def aclose(self) -> None:
        """Closes connections. Ends no process: that is the broker's."""
        ...
