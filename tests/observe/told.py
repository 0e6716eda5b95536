"""Events and calls made by hand, on a clock that begins at a round number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chainette.events import EngineCount, Event, NodeCount, Progressed, RunFinished, RunStarted
from chainette.observe import event_fields, utc
from chainette.observe.latency import CallReader, Calls
from chainette.observe.ways import Ways

T = 1_750_000_000.0


def at(seconds: float, event: Event) -> dict[str, Any]:
    """The line of an event that was said so many seconds after `T`."""
    record = orjson.loads(orjson.dumps(event_fields(event)))
    return {**record, "time": utc(T + seconds)}


def started(**fields: Any) -> RunStarted:
    given = {"rows_total": 10, "nodes": (("a", "step", "a"),), "tree": (), "engines": (), **fields}
    return RunStarted("run", "runs/run", "Chain", **given)


def finished(state: str = "done", message: str = "") -> RunFinished:
    return RunFinished("run", "runs/run", state, 10, 10, 0, 0, 1.0, {}, {}, message=message)


def snapshot(elapsed_s: float, **fields: Any) -> Progressed:
    """`nodes` and `engines` by name, what is not zero."""
    nodes = {id: NodeCount(**given) for id, given in fields.pop("nodes", {}).items()}
    engines = {name: EngineCount(**given) for name, given in fields.pop("engines", {}).items()}
    return Progressed(fields.pop("read", 0), fields.pop("done", 0), elapsed_s, nodes, engines)


@dataclass(frozen=True)
class Call:
    """One call, by seconds after `T`."""

    step: str
    row: str
    start: float
    end: float
    replica: int = 0
    queue: float | None = None
    answered: bool = True


def calls_of(made: Sequence[Call], steps: Sequence[str]) -> Calls:
    reader = CallReader(steps)
    for step in steps:
        reader.add(step, [_line(call) for call in made if call.step == step])
    return reader.calls()


def _line(call: Call) -> bytes:
    record: dict[str, Any] = {"_id": call.row, "key": "0" * 32, "attempt": 1}
    record |= {"started_s": T + call.start, "seconds": call.end - call.start}
    answer = {"text": "x", "usage": {}, "replica": call.replica}
    record |= answer if call.answered else {"error": {"kind": "timeout", "message": "late"}}
    return orjson.dumps(record | ({"queue_s": call.queue} if call.queue is not None else {}))


def chain_of(*steps: str, engines: dict[str, str] | None = None, functions: Sequence[str] = ()) -> Ways:
    """Nodes one after another, each with an engine of its own name unless `engines` says another."""
    nodes = [
        {"id": id, "type": "apply" if id in functions else "step"}
        | ({} if id in functions else {"engine": (engines or {}).get(id, f"engine_{id}")})
        for id in steps
    ]
    edges = [list(edge) for edge in zip(("chain_input", *steps), steps, strict=False)]
    return Ways.of({"nodes": nodes, "execution_order": nodes, "edges": edges})
