"""One row on its way through all steps, with what was asked and answered. Knows the reader, not where lines lie."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.names import INPUT_NODE
from chainette.files.row_lookup import ancestors, is_child
from chainette.reports.sight import Turns, sight_of, turns_of

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

NO_ROWS = ("join", "cond", "switch", "while_loop", "delay", "gather")
"""Kinds of nodes that make no rows of their own: only what failed at them is shown."""
MANY = 20
"""Children of a row that are shown per step."""


class NoSuchRow(RunFolderError):
    """No row of that id was ever in the run."""


def journey(reader: RunReader, step: str, row_id: str, *, every_prompt: bool = False) -> dict[str, Any]:
    """The row as it was read, then per node in order: its rows, failures and calls; rows it was made from and into.

    A row made by an expand is followed up to the input row it came from, and an input row down to its children. The
    prompt is that of `step`; with `every_prompt` each step has its own.

    Raises:
        RunFolderError: no such step; `NoSuchRow` where no row of that id is anywhere.
    """
    if step != INPUT_NODE:
        reader.rows(step)
    graph = reader.graph()
    graph_nodes = {node["id"]: node for node in graph.get("nodes", [])}
    family = _Family(row_id)
    inputs = family.seen(INPUT_NODE, reader.kin(INPUT_NODE, row_id, 0))
    source = _nearest(inputs, row_id)[-1:]
    refused = _failures(reader, INPUT_NODE, row_id)
    stops = [_stop(reader, graph_nodes.get(id, {}), id, family) for id in reader.step_ids()]
    told = _with_answers(stops)
    for stop in stops:
        if stop["kind"] == "step" and (every_prompt or stop["id"] == step):
            _ask(graph, stop, told, (row_id, source[0] if source else {}))
    if not source and not refused and not any(s["rows"] or s["failures"] or s["calls"] for s in stops):
        name = reader.path.name
        raise NoSuchRow(f'no row "{row_id}" in {name} ({shlex.join(["chainette", "show", name, step])})')
    way = {"run": reader.path.name, "step": step, "row": row_id, "input": source[0] if source else None}
    return {**way, "failures": refused, "parents": family.parents(), "children": family.children, "nodes": stops}


def _stop(reader: RunReader, node: dict[str, Any], node_id: str, family: _Family) -> dict[str, Any]:
    """What a node has of the row."""
    stop: dict[str, Any] = {"id": node_id, "kind": node.get("type", ""), "name": node.get("name", "")}
    if node.get("loops"):
        stop["loops"] = node["loops"]
    if not node.get("written", True):
        stop["written"] = False
    kin = family.seen(node_id, reader.kin(node_id, family.row_id, MANY))
    nearest = _nearest(kin, family.row_id)
    stop["rows"] = nearest or [row for row in kin if is_child(str(row.get("_id")), family.row_id)]
    stop["failures"] = _failures(reader, node_id, family.row_id)
    stop["calls"] = reader.kin_calls(node_id, family.row_id)
    return stop


def _ask(
    graph: dict[str, Any], stop: dict[str, Any], stops: list[dict[str, Any]], row: tuple[str, dict[str, Any]]
) -> None:
    """Adds the prompts of a step. A row with several children there has one for each of them; these are shown one at a
    time."""
    row_id, source = row
    asked = {str(call.get("_id")) for call in stop["calls"]}
    if len(asked) > 1 and row_id in asked:
        asked = {row_id}
    if len(asked) > 1:
        return
    node = next(node for node in graph["nodes"] if node["id"] == stop["id"])
    id_ = next(iter(asked), row_id)
    turns = sorted(set(map(turns_of, stop["calls"]))) or [()]
    told = [_prompt(graph, node, id_, source, (stops, turn)) for turn in turns]
    stop["prompt"] = told[-1]
    if stop.get("loops"):
        stop["prompts"] = told


def _with_answers(stops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stops with what steps in loops made in turns whose rows are not kept, from the answers that were taken."""
    told = []
    for stop in stops:
        kept = {(row.get("_id"), turns_of(row)) for row in stop["rows"]}
        made = {}
        for call in stop["calls"] if stop.get("loops") and stop["kind"] == "step" and stop["rows"] else []:
            place = call.get("_id"), turns_of(call)
            if place not in kept and (answer := _answer(call)) is not None:
                made[place] = {"_id": call["_id"], "_turn": call.get("turn"), **answer}
        rows = sorted([*made.values(), *stop["rows"]], key=turns_of) if made else stop["rows"]
        told.append({**stop, "rows": rows})
    return told


def _answer(call: dict[str, Any]) -> dict[str, Any] | None:
    """The fields of an answer that was taken; None for one that is no JSON object."""
    if call.get("error") or call.get("refused") or not isinstance(call.get("text"), str):
        return None
    try:
        found = from_json(call["text"])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class _Family:
    """Those that a row was made from and into, as its way through the nodes shows them."""

    def __init__(self, row_id: str) -> None:
        self.row_id = row_id
        self.children: list[dict[str, Any]] = []
        """Id and step of each, where it was first seen."""
        self._above: dict[str, str] = {}

    def seen(self, node_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows as they are; notes whose they are."""
        for row in rows:
            id = str(row.get("_id"))
            if is_child(self.row_id, id):
                self._above.setdefault(id, node_id)
            elif is_child(id, self.row_id) and all(child["id"] != id for child in self.children):
                self.children.append({"id": id, "step": node_id})
        return rows

    def parents(self) -> list[dict[str, Any]]:
        """Id and step of each where it was first seen, the nearest first."""
        return [{"id": id, "step": self._above[id]} for id in ancestors(self.row_id) if id in self._above]


def _nearest(kin: list[dict[str, Any]], row_id: str) -> list[dict[str, Any]]:
    """The row, or the one it was made from: one, or one for each turn that is kept."""
    return next((rows for id in ancestors(row_id) if (rows := [row for row in kin if row.get("_id") == id])), [])


def _failures(reader: RunReader, node_id: str, row_id: str) -> list[dict[str, Any]]:
    from chainette.files.views import failure_of, failure_record

    return [failure_record(failure_of(line, node_id)) for line in reader.kin_failures(node_id, row_id, MANY)]


def _prompt(
    graph: dict[str, Any],
    node: dict[str, Any],
    row_id: str,
    source: dict[str, Any],
    seen: tuple[list[dict[str, Any]], Turns],
) -> dict[str, Any]:
    """The prompt rendered once more, else its templates; `rendered` says which, `why` what is missing for it.

    `seen` are the row's stops, and the turn in which the step was asked.
    """
    from chainette.reports.prompts import image_names, lost, rendered

    stops, turn = seen
    sight = sight_of(graph, stops, node["id"], turn)
    messages = rendered(graph, node, row_id, source, sight)
    said: dict[str, Any] = {"turn": list(turn)} if turn else {}
    if images := image_names(graph, node, row_id, source, sight):
        said["images"] = images
    if messages is not None:
        return {**said, "rendered": True, "messages": [{"role": role, "content": text} for role, text in messages]}
    if missing := lost(graph, node, row_id, source, sight):
        said["why"] = f"the folder does not have what {', '.join(missing)} was then"
        kept = 'keep="all" on the loop keeps every turn'
        said["why"] += f" ({kept})" if sight.gone else ""
    templates = [(key, node[key]) for key in ("system_prompt", "user_prompt") if node.get(key)]
    told = [{"role": key.removesuffix("_prompt"), "content": text} for key, text in templates]
    return {**said, "rendered": False, "messages": told}
