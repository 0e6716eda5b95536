"""An engine that can be told something else between two runs, and runs that end early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chainette import EngineDiedError, register_engine
from chainette.engine.scripted import Fault, Script, ScriptedServer, scripted_server
from chainette.specs import EngineSpec, default_registry
from tests.run.pipeline import ANSWERS, FAULTS, chain, items

ROWS = 24


@pytest.fixture
def stand_in() -> Callable[..., None]:
    """The only engine, registered anew: what it was told before does not count."""

    def register(*, spec: dict[str, Any] | None = None, **script: Any) -> None:
        script = {"answers": ANSWERS, "faults": FAULTS, **script}
        default_registry.add(
            EngineSpec.parse({"name": "stand_in", "backend": "scripted", "script": script, **(spec or {})})
        )

    register()
    return register


@pytest.fixture
def cut_off(stand_in: Callable[..., None], tmp_path: Path) -> Callable[..., Path]:
    """A run in `run` whose engine died after so many calls; the engine is well again."""

    def start(after: int, rows: Any = None, of: Any = None, **options: Any) -> Path:
        stand_in(die_after=after)
        with pytest.raises(EngineDiedError):
            (of or chain()).run(items(ROWS) if rows is None else rows, tmp_path / "run", **options)
        stand_in()
        return tmp_path / "run"

    return start


@pytest.fixture
def served() -> Iterator[Callable[..., ScriptedServer]]:
    """`served(Fault(…), engine={…}, **script)`: a server with that script, and the only engine at it."""
    with ExitStack() as servers:

        def serve(*faults: Fault, engine: dict[str, Any] | None = None, **script: Any) -> ScriptedServer:
            running = servers.enter_context(scripted_server(Script(**{"faults": faults, **script})))
            register_engine("served", backend="openai", model="m", endpoint=running.url, **(engine or {}))
            return running

        yield serve
