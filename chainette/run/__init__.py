"""Composition root: checks the chain, opens input and folder, starts the broker, calls the executor.

Knows every room by its door and no terminal.
"""

from chainette.run.calling import call_chain
from chainette.run.checking import Checked, check
from chainette.run.options import RunOptions
from chainette.run.result import RunResult
from chainette.run.running import arun_chain, run, run_chain
from chainette.run.streaming import Stream, stream_chain
from chainette.run.target import load_chain

__all__ = [
    "Checked",
    "RunOptions",
    "RunResult",
    "Stream",
    "arun_chain",
    "call_chain",
    "check",
    "load_chain",
    "run",
    "run_chain",
    "stream_chain",
]
