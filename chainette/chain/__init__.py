"""What a user declares: steps, applies, branches, control flow, chains. Pure data; not checked, not run.

The package itself can be called: `from chainette import chain` is it, and `@chain` is the decorator of `traced.py`. So
there is one object of that name, whichever of the package and the decorator was imported first.
"""

import sys
from types import ModuleType
from typing import Any

from chainette.chain.apply import Apply, apply
from chainette.chain.branch import Branch
from chainette.chain.chain import Chain
from chainette.chain.context import Context, context
from chainette.chain.control import (
    Control,
    Delay,
    Gather,
    Loop,
    Scan,
    Switch,
    cond,
    delay,
    gather,
    scan,
    switch,
    while_loop,
)
from chainette.chain.drop import Drop
from chainette.chain.operators import Line
from chainette.chain.scanning import ScanItem, Scanned
from chainette.chain.step import Step
from chainette.chain.taking import Taking
from chainette.chain.traced import TracedChain
from chainette.chain.traced import chain as _decorate

__all__ = [
    "Apply",
    "Branch",
    "Chain",
    "Context",
    "Control",
    "Delay",
    "Drop",
    "Gather",
    "Line",
    "Loop",
    "Scan",
    "ScanItem",
    "Scanned",
    "Step",
    "Switch",
    "Taking",
    "TracedChain",
    "apply",
    "cond",
    "context",
    "delay",
    "gather",
    "scan",
    "switch",
    "while_loop",
]


class _ChainPackage(ModuleType):
    def __call__(self, *arguments: Any, **fields: Any) -> Any:
        return _decorate(*arguments, **fields)


sys.modules[__name__].__class__ = _ChainPackage
