"""Chainette: a batch pipeline engine for LLM work, filesystem first. Names are loaded when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainette.chain import (
        Branch,
        Chain,
        Context,
        Drop,
        Line,
        ScanItem,
        Scanned,
        Step,
        TracedChain,
        cond,
        delay,
        gather,
        scan,
        switch,
        while_loop,
    )
    from chainette.chain.apply import apply
    from chainette.chain.context import context
    from chainette.chain.traced import chain  # at run time the package, which can be called
    from chainette.engine.engine_broker import EngineBroker
    from chainette.errors import (
        ChainError,
        ChainetteError,
        EngineDiedError,
        EngineError,
        EngineStartError,
        InputError,
        PlanError,
        Problem,
        RowFailedError,
        RunFolderError,
        RunStoppedError,
    )
    from chainette.rows import Failure
    from chainette.run import RunResult
    from chainette.specs import EngineSpec, SamplingParams, register_engine

__version__ = "0.1.0"

_HOMES = {
    "Branch": "chainette.chain",
    "Chain": "chainette.chain",
    "Context": "chainette.chain",
    "Step": "chainette.chain",
    "apply": "chainette.chain",
    "context": "chainette.chain",
    "Drop": "chainette.chain",
    "Line": "chainette.chain",
    "TracedChain": "chainette.chain",
    "ScanItem": "chainette.chain",
    "Scanned": "chainette.chain",
    "cond": "chainette.chain",
    "delay": "chainette.chain",
    "gather": "chainette.chain",
    "scan": "chainette.chain",
    "switch": "chainette.chain",
    "while_loop": "chainette.chain",
    "EngineBroker": "chainette.engine.engine_broker",
    "ChainError": "chainette.errors",
    "ChainetteError": "chainette.errors",
    "EngineDiedError": "chainette.errors",
    "EngineError": "chainette.errors",
    "EngineStartError": "chainette.errors",
    "InputError": "chainette.errors",
    "PlanError": "chainette.errors",
    "Problem": "chainette.errors",
    "RowFailedError": "chainette.errors",
    "RunFolderError": "chainette.errors",
    "RunStoppedError": "chainette.errors",
    "Failure": "chainette.rows",
    "RunResult": "chainette.run",
    "EngineSpec": "chainette.specs",
    "SamplingParams": "chainette.specs",
    "register_engine": "chainette.specs",
}

__all__ = [
    "Branch",
    "Chain",
    "ChainError",
    "ChainetteError",
    "Context",
    "Drop",
    "EngineBroker",
    "EngineDiedError",
    "EngineError",
    "EngineSpec",
    "EngineStartError",
    "Failure",
    "InputError",
    "Line",
    "PlanError",
    "Problem",
    "RowFailedError",
    "RunFolderError",
    "RunResult",
    "RunStoppedError",
    "SamplingParams",
    "ScanItem",
    "Scanned",
    "Step",
    "TracedChain",
    "__version__",
    "apply",
    "chain",
    "cond",
    "context",
    "delay",
    "gather",
    "register_engine",
    "scan",
    "switch",
    "while_loop",
]


def __getattr__(name: str) -> Any:
    if name == "chain":
        return import_module("chainette.chain")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'chainette' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
