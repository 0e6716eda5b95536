"""One row through a chain, for a node that is called on a value: a run in a folder that does not stay."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainette.chain import Chain, Gather
from chainette.errors import RowFailedError, RunStoppedError
from chainette.graph import Graph
from chainette.graph.build import makes_several
from chainette.rows import Row
from chainette.run.loops import calm_collector, in_new_loop, loop_is_running
from chainette.run.options import RunOptions
from chainette.run.result import RunResult
from chainette.run.running import arun


def call_chain(chain: Chain, value: Any, *, takes_list: bool = False) -> Any:
    """What becomes of `value`, or of each in it where it is a list and `takes_list`: see `Composable.__call__`.

    Inside an event loop an awaitable.
    """
    several = takes_list and isinstance(value, list)
    rows = value if several else [value]
    if loop_is_running():
        return _call(chain, rows, several, handle_signals=False)

    async def main() -> Any:
        signals = threading.current_thread() is threading.main_thread()
        return await _call(chain, rows, several, handle_signals=signals)

    with calm_collector():
        return in_new_loop(main)


async def _call(chain: Chain, rows: list[Any], several: bool, *, handle_signals: bool) -> Any:
    """
    Raises:
        RowFailedError: a row failed.
        ChainError, InputError, PlanError, EngineError, RunStoppedError: see `Chain.run`.
    """
    found: list[Row] = []

    def collect(_: int, made: Sequence[Row]) -> None:
        found.extend(made)

    with tempfile.TemporaryDirectory(prefix="chainette-", ignore_cleanup_errors=True) as place:
        options = RunOptions(output_dir=Path(place) / "run", flattened=False)
        result = await arun(chain, rows, options, results=collect, handle_signals=handle_signals)
        if result.state == "interrupted":
            raise KeyboardInterrupt("interrupted")
        if result.state != "done":
            raise RunStoppedError(result.message)
        _raise_failure(result)
        graph = result._the_graph()
    if several or len(found) > 1 or _makes_several(graph) or (found and len(found[0].order) > 1):
        return [row.value for row in found]
    return found[0].value if found else None


def _raise_failure(result: RunResult) -> None:
    """The first that failed is told, which is the cause where others failed after it."""
    failures = list(result.failed) if result.rows_failed else []
    if failures:
        first = failures[0]
        cause = f" ({first.cause[0]})" if first.cause else ""
        raise RowFailedError(
            f'"{first.node_id}": {first.kind}: {first.message}{cause}', first.kind, first.node_id, first.raw
        )


def _makes_several(graph: Graph) -> bool:
    """Whether one row comes out as several, so that a list of one or none is a list too."""
    node, depth = graph.nodes[graph.last], 0
    while node.parent >= 0:
        if isinstance(node.decl, Gather) and node.kind == "gather":
            depth -= 1
        elif makes_several(node):
            depth += 1
            if depth > 0:
                return True
        node = graph.nodes[node.parent]
    return False
