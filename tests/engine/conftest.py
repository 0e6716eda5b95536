"""Engines on real sockets, and a wait for the odd moment when a server must first notice something."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import chainette
from chainette.engine.endpoint import EndpointEngine
from chainette.specs import EngineSpec

ROOT = Path(chainette.__file__).parent.parent

SCHEMA: dict[str, Any] = {
    "title": "Extract",
    "type": "object",
    "properties": {
        "product": {"type": "string", "maxLength": 80},
        "rating": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["product", "rating"],
    "additionalProperties": False,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
async def connect():
    """`connect(url, **fields)`: an engine on that endpoint, closed after the test."""
    engines: list[EndpointEngine] = []

    def make(url: str, **fields: Any) -> EndpointEngine:
        block = {"name": "here", "backend": "openai", "model": "some-model", "endpoint": url}
        engines.append(EndpointEngine(EngineSpec.parse({**block, "retry_wait_s": 0, **fields})))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def environment() -> dict[str, str]:
    """For processes of ours: the package is found wherever the tests run from."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def until():
    """`await until(lambda: …)`: gives the other side its turn until it has noticed."""

    async def wait(condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await anyio.lowlevel.checkpoint()

    return wait
