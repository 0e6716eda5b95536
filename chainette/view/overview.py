"""What the page of a run says, from its folder: state, figures, steps, engines, where it came from. Knows no page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainette.files.reading import RunReader
from chainette.files.runs import RESUMABLE, RunSummary, summarise

LIVE_FIELDS = ("rows_in", "rows_done", "rows_out", "rows_failed", "rows_dropped", "prompt_tokens", "completion_tokens")
NODE_FIELDS = (
    *("rows_in", "done", "rows_out", "failed", "dropped", "retried", "calls", "reused"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
)
DOWNLOADS = {
    "graph.json": "what ran",
    "status.json": "how far it is",
    "events.jsonl": "what happened",
    "trace.json": "timeline of every call, for ui.perfetto.dev",
    "report.html": "one page to send to a colleague",
}
_PROMPTS = ("system_prompt", "user_prompt", "output_format_instruction")
_KNOWN = {
    *("id", "name", "type", "input", "output", "signature", "written", "metadata", "schema", "sampling", "engine"),
    *("ways", "intake", "loops", *_PROMPTS),
}


@dataclass(frozen=True, slots=True)
class Overview:
    summary: RunSummary
    graph: Mapping[str, Any]
    status: Mapping[str, Any]
    nodes: list[dict[str, Any]]
    """In order: what ran, with its counts; those that a status has and the graph does not at the end."""
    downloads: list[tuple[str, str]]
    """(name, what it is) of the files that are there."""
    next_commands: list[tuple[str, str]]
    """(why, command)."""

    @property
    def total(self) -> int:
        return self.summary.rows_total or self.summary.rows_in

    @property
    def live(self) -> bool:
        return self.summary.state == "running"

    @property
    def command(self) -> str:
        told = self.graph.get("command")
        return shlex.join(str(word) for word in told) if isinstance(told, list) else ""


def overview_of(reader: RunReader) -> Overview:
    """
    Raises:
        RunFolderError: a document cannot be read.
    """
    summary = summarise(reader.path)
    graph = reader.graph()
    status: Mapping[str, Any] = {} if summary.state == "broken" else reader.status()
    return Overview(
        summary,
        graph,
        status,
        _nodes(reader, graph, status),
        [(name, about) for name, about in DOWNLOADS.items() if download(reader, name) is not None],
        _next(reader.place, summary),
    )


def download(reader: RunReader, name: str) -> Any:
    """The path of one of `DOWNLOADS` in the run's folder; None when it is not there, or is a link out of it."""
    path = reader.path / name
    if name not in DOWNLOADS or not path.is_file() or path.resolve().parent != reader.path.resolve():
        return None
    return path


def live_counts(reader: RunReader) -> dict[str, Any]:
    """What changes while it runs, as numbers."""
    summary = summarise(reader.path)
    status = {} if summary.state == "broken" else reader.status()
    nodes = status.get("nodes")
    return {
        "state": summary.state,
        "seconds": summary.seconds,
        "rows_total": summary.rows_total,
        "cost": summary.cost,
        **{name: status.get(name, 0) for name in LIVE_FIELDS},
        "nodes": {
            str(id): {name: count[name] for name in NODE_FIELDS if isinstance(count.get(name), int | float)}
            for id, count in (nodes.items() if isinstance(nodes, dict) else ())
            if isinstance(count, dict)
        },
    }


def _nodes(reader: RunReader, graph: Mapping[str, Any], status: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = graph.get("nodes")
    facts = (
        {str(node.get("id")): node for node in told or () if isinstance(node, dict)} if isinstance(told, list) else {}
    )
    known = status.get("nodes")
    counts = known if isinstance(known, dict) else {}
    return [_node(id, facts.get(id, {}), counts.get(id, {})) for id in reader.step_ids()]


def _node(id: str, facts: Mapping[str, Any], counts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": id,
        "name": str(facts.get("name") or id),
        "type": str(facts.get("type", "")),
        "engine": facts.get("engine"),
        "input": facts.get("input"),
        "output": facts.get("output"),
        "prompts": [(_prompt_name(key), facts[key]) for key in _PROMPTS if facts.get(key)],
        "schema": facts.get("schema"),
        "sampling": facts.get("sampling") or {},
        "source": facts.get("source"),
        "metadata": facts.get("metadata") or {},
        "others": {k: v for k, v in facts.items() if k not in _KNOWN and k != "source" and v not in (None, [], {}, "")},
        "deep": len(facts.get("loops") or ()),
        "seconds": _number(counts, "seconds"),
        "cost": counts.get("cost"),
        "gpu_seconds": _number(counts, "gpu_seconds"),
        "dropped_why": counts.get("dropped_why") or {},
        **{name: _number(counts, name) for name in NODE_FIELDS},
    }


def _number(counts: Mapping[str, Any], name: str) -> Any:
    value = counts.get(name, 0)
    return value if isinstance(value, int | float) else 0


def _prompt_name(key: str) -> str:
    return key.removesuffix("_prompt").replace("_", " ")


def _next(place: str, summary: RunSummary) -> list[tuple[str, str]]:
    word = shlex.quote(place)
    commands = []
    if summary.state in RESUMABLE:
        commands.append(("go on where it ended", f"chainette resume {word}"))
    if summary.state == "running":
        commands.append(("end it, resumable", f"chainette cancel {word}"))
    elif summary.rows_failed:
        commands.append(("try its failed rows again", f"chainette retry {word}"))
    return commands
