"""Drives a plan, chunk by chunk, in one task group. Starts no engine itself and opens no file."""

from chainette.executor.executor import Executor
from chainette.executor.outcome import ExecutorOptions, Outcome

__all__ = ["Executor", "ExecutorOptions", "Outcome"]
