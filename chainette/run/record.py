"""What `graph.json` and `status.json` hold. Writes nothing itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

from chainette.events import Progressed
from chainette.executor import Outcome
from chainette.files.run_folder import RunFolder
from chainette.graph import Graph, Node, type_name
from chainette.graph.signature import schema_of, source_of, step_facts
from chainette.observe import utc
from chainette.run.checking import Checked, intake_words
from chainette.run.options import RunOptions


def graph_record(checked: Checked, options: RunOptions, inputs: dict[str, Any], run_id: str) -> dict[str, Any]:
    """What ran, without secrets: enough to see what made the rows and to tell two runs apart."""
    graph = checked.graph
    return {
        "run_id": run_id,
        "chain": graph.chain.name,
        "metadata": dict(graph.chain.metadata),
        "execution_order": [{"id": node.id, "name": node.label, "type": node.kind} for node in graph.shown],
        "nodes": [_node(checked, node) for node in graph.shown],
        "edges": [list(arrow) for arrow in graph.arrows()],
        "outline": graph.outline,
        "last": graph.nodes[graph.last].id,
        "engines": [
            {**spec.public(), "description": checked.plan.capabilities[name].description}
            for name, spec in checked.plan.engines.items()
        ],
        "plan": checked.plan.public(),
        "signature": graph.signature,
        "inputs": inputs,
        "options": {
            "chunk_size": options.chunk_size or graph.chain.chunk_size,
            "limit": options.limit,
            "columns": list(options.columns) if options.columns else None,
            "id_field": options.id_field,
            "format": options.format,
            "max_lines_per_file": options.max_lines_per_file,
            "max_failed": options.max_failed,
            "params": {key: str(value) for key, value in options.params.items()},
        },
        "command": list(options.command),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }


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
        record |= {"shape": node.apply.shape.words, "source": source_of(node.apply.fn)}
        record["schema"] = schema_of(node.output_type)
        record["metadata"] = dict(node.apply.metadata)
    else:
        record["branches"] = [{"name": b.name, "alias": b.alias, "missing": b.missing} for b in node.branches]
    return record


def status_record(
    folder: RunFolder,
    graph: Graph,
    state: str,
    started: float,
    progress: Progressed | None,
    outcome: Outcome,
    message: str = "",
) -> dict[str, Any]:
    """How far it is."""
    now = time.time()
    nodes = {}
    if progress is not None:
        for id, count in progress.nodes.items():
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
                "completion_tokens": count.completion_tokens,
                "seconds": round(count.seconds, 3),
            }
    return {
        "run_id": folder.run_id,
        "chain": graph.chain.name,
        "state": state,
        "message": message,
        "pid": os.getpid(),
        "started": utc(started),
        "updated": utc(now),
        "seconds": round(now - started, 3),
        "rows_in": outcome.rows_read,
        "rows_done": outcome.count.rows,
        "rows_out": outcome.count.rows_out,
        "rows_failed": outcome.count.rows_failed,
        "rows_dropped": outcome.count.rows_dropped,
        "prompt_tokens": sum(node["prompt_tokens"] for node in nodes.values()),
        "completion_tokens": sum(node["completion_tokens"] for node in nodes.values()),
        "nodes": nodes,
    }


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
