"""Prompts in, texts out, for a person with an engine in hand. Knows no rows and no chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chainette.engine.protocol import Engine, Message
from chainette.specs import SamplingParams


def blocking(agenerate: Callable[..., Coroutine[Any, Any, list[str]]], *args: Any) -> list[str]:
    """What `agenerate` gives, for code without an event loop.

    Raises:
        RuntimeError: a loop runs here, and would stand still.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(agenerate(*args))
    raise RuntimeError("generate() blocks and an event loop runs here: use `await engine.agenerate(...)`")


async def generate(
    engine: Engine,
    prompts: list[str | list[Message]],
    sampling: SamplingParams | None,
    schema: dict[str, Any] | None,
) -> list[str]:
    """The first choice's text per prompt, in order, with at most `engine.window` calls in flight.

    Raises:
        CallError: of the first prompt that gets no answer; the others are cancelled.
        EngineError: the engine answers nobody: it is gone, or its URL, its key or the model's name is wrong.
    """
    import anyio

    prepared = engine.prepare(schema, sampling or SamplingParams())
    texts = [""] * len(prompts)
    waiting = iter(enumerate(prompts))

    async def worker() -> None:
        for position, prompt in waiting:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
            texts[position] = (await engine.call(prepared, messages)).choices[0].text

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(engine.window, len(prompts))):
                group.start_soon(worker)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return texts
