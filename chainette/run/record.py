"""What `graph.json` and `status.json` hold. Writes nothing itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

from chainette.chain import TracedChain
from chainette.events import EngineCount, NodeCount
from chainette.executor import Outcome
from chainette.files.remote_names import without_passwords
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node, type_name
from chainette.graph.nodes import CONTROL
from chainette.graph.signature import bound_to, code_of, schema_of, step_facts
from chainette.observe import utc
from chainette.run.checking import Checked, intake_words
from chainette.run.controls import control_record, loops_of, shown_id
from chainette.run.costs import Costs
from chainette.run.options import RunOptions


def graph_record(checked: Checked, options: RunOptions, inputs: dict[str, Any], run_id: str) -> dict[str, Any]:
    """What ran, without secrets: enough to see what made the rows and to tell two runs apart."""
    graph = checked.graph
    return {
        "run_id": run_id,
        "chain": graph.chain.name,
        "metadata": dict(graph.chain.metadata),
        **({"tags": list(dict.fromkeys(options.tags))} if options.tags else {}),
        **_parameters(graph),
        "execution_order": [{"id": node.id, "name": node.label, "type": node.kind} for node in graph.shown],
        "nodes": [_node(checked, node) for node in graph.shown],
        "edges": [list(arrow) for arrow in graph.arrows()],
        "outline": graph.outline,
        "last": shown_id(graph, graph.last),
        "input_schema": schema_of(graph.input_type),
        "engines": [
            {**spec.public(), "description": checked.plan.capabilities[name].description}
            for name, spec in checked.plan.engines.items()
        ],
        "plan": checked.plan.public(),
        "signature": graph.signature,
        "inputs": inputs,
        "options": {
            "chunk_size": chunk_size_of(graph, options),
            "limit": options.limit,
            "columns": list(options.columns) if options.columns else None,
            "id_field": options.id_field,
            "format": options.format,
            "max_lines_per_file": options.max_lines_per_file,
            "flattened": options.flattened,
            "reuse": without_passwords(str(options.reuse)) if options.reuse is not None else None,
            "engines": dict(options.engines),
            "max_failed": options.max_failed,
            "params": {key: str(value) for key, value in options.params.items()},
        },
        "command": [without_passwords(word) for word in options.command],
        "call": {key: without_passwords(said) if isinstance(said, str) else said for key, said in options.call.items()},
        "versions": _versions(),
        "git_commit": _git_commit(),
    }


def _parameters(graph: Graph) -> dict[str, Any]:
    """With which values the function of a traced chain was called, defaults among them."""
    chain = graph.chain
    return {"parameters": {k: str(v) for k, v in chain.params.items()}} if isinstance(chain, TracedChain) else {}


CHUNK_WITH_CALLS = 128
"""Calls are slow: small chunks, so that little is under way when a run is stopped."""
CHUNK_OF_PYTHON = 1024
"""Functions are quick: large chunks, so that the way to a thread and to disk costs little a row."""


def chunk_size_of(graph: Graph, options: RunOptions) -> int:
    """Rows that are read and committed together."""
    return options.chunk_size or graph.chain.chunk_size or (CHUNK_WITH_CALLS if graph.steps else CHUNK_OF_PYTHON)


def _node(checked: Checked, node: Node) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": node.id,
        "name": node.label,
        "type": node.kind,
        "input": type_name(node.input_type),
        "output": type_name(node.output_type),
        "intake": intake_words(node),
        "signature": node.signature,
        "written": node.written,
    }
    if node.kind == "step":
        step = node.step
        facts = step_facts(step)
        record |= {
            "engine": checked.plan.engine_of.get(node.index),
            "retries": step.retries,
            "timeout_s": step.timeout_s,
            "priority": step.priority,
            "metadata": dict(step.metadata),
            **facts,
        }
    elif node.kind == "apply":
        record |= {
            "shape": node.apply.shape.words,
            **({"scope": node.apply.scope} if node.apply.scope != "chunk" else {}),
            "source": code_of(node.apply),
            "bound": bound_to(node.apply.fn),
        }
        record["schema"] = schema_of(node.output_type)
        record["metadata"] = dict(node.apply.metadata)
    elif node.kind in CONTROL:
        record |= control_record(checked.graph, node)
    else:
        record["branches"] = [{"name": b.name, "alias": b.alias, "missing": b.missing} for b in node.branches]
    if node.loops:
        record["loops"] = loops_of(checked.graph, node)
    return record


class Clock:
    """When a run began, and how long it has been at work. The wall clock may jump; what was measured does not."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        """`status` is that of the run as it was left, empty for a new one."""
        self.started = str(status.get("started") or utc(time.time()))
        self._before_s = float(status.get("seconds") or 0.0)
        self._began_s = time.monotonic()

    def seconds(self) -> float:
        return self._before_s + time.monotonic() - self._began_s


_NO_ENGINES: Mapping[str, EngineCount] = MappingProxyType({})


def status_record(
    folder: RunFolder,
    graph: Graph,
    state: str,
    clock: Clock,
    counts: Mapping[str, NodeCount],
    outcome: Outcome,
    message: str = "",
    *,
    costs: Costs | None = None,
    engines: Mapping[str, EngineCount] = _NO_ENGINES,
) -> dict[str, Any]:
    """How far it is."""
    used = costs.nodes(counts, engines) if costs is not None else {}
    cost = costs.cost(counts) if costs is not None else None
    nodes = {}
    for id, count in counts.items():
        nodes[id] = {
            "rows_in": count.entered,
            "done": count.done,
            "rows_out": count.made,
            "failed": count.failed,
            "dropped": count.dropped,
            "retried": count.retried,
            "calls": count.calls,
            "reused": count.reused,
            "prompt_tokens": count.prompt_tokens,
            "cached_tokens": count.cached_tokens,
            "completion_tokens": count.completion_tokens,
            "seconds": round(count.seconds, 3),
            **({"dropped_why": dict(count.drops)} if count.drops else {}),
            **used.get(id, {}),
        }
    return {
        "run_id": folder.run_id,
        "chain": graph.chain.name,
        "state": state,
        "message": message,
        "pid": os.getpid(),
        "started": clock.started,
        "updated": utc(time.time()),
        "seconds": round(clock.seconds(), 3),
        "rows_in": outcome.rows_read,
        "rows_done": outcome.count.rows,
        "rows_out": outcome.count.rows_out,
        "rows_failed": outcome.count.rows_failed,
        "rows_dropped": outcome.count.rows_dropped,
        "prompt_tokens": sum(node["prompt_tokens"] for node in nodes.values()),
        "cached_tokens": sum(node["cached_tokens"] for node in nodes.values()),
        "completion_tokens": sum(node["completion_tokens"] for node in nodes.values()),
        **({} if cost is None else {"cost": round(cost, 9)}),
        "nodes": nodes,
        "engines": costs.engines(counts, engines) if costs is not None else {},
    }


def standing(graph: Mapping[str, Any], rows_total: int | None) -> dict[str, Any]:
    """What `status.json` repeats in every state, so that a list of runs need not read each run's `graph.json`."""
    tags = {"tags": graph["tags"]} if graph.get("tags") else {}
    return tags if rows_total is None else {"rows_total": rows_total, **tags}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in ("chainette", "pydantic", "xllamacpp", "vllm"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
