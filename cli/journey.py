"""One row on its way through all steps, with what was asked and answered. Knows the reader, not the files."""

from __future__ import annotations

import shlex
from itertools import islice
from typing import TYPE_CHECKING, Any

from chainette.cli.sight import Turns, sight_of, turns_of
from chainette.cli.turns import Turn, in_turns
from chainette.cli.wording import lines as clean_lines
from chainette.cli.wording import one_line, seconds
from chainette.errors import RunFolderError

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunReader

INPUT = "chain_input"
NO_ROWS = ("join", "cond", "switch", "while_loop", "delay", "gather")
"""Kinds of nodes that make no rows of their own: only what failed at them is shown."""
MANY = 20
"""Children of a row that are shown per step."""


def journey(reader: RunReader, step: str, row_id: str) -> dict[str, Any]:
    """The row as it was read, then per node in order: its rows, failures and calls.

    A row made by an expand is followed up to the input row it came from, and an input row down to its children.

    Raises:
        RunFolderError: no such step, or no row of that id anywhere.
    """
    if step != INPUT:
        reader.rows(step)
    graph_nodes = {node["id"]: node for node in reader.graph().get("nodes", [])}
    stops = []
    for node_id in reader.step_ids():
        node = graph_nodes.get(node_id, {})
        stop: dict[str, Any] = {"id": node_id, "kind": node.get("type", ""), "name": node.get("name", "")}
        if node.get("loops"):
            stop["loops"] = node["loops"]
        if not node.get("written", True):
            stop["written"] = False
        stop["rows"] = _related(reader, node_id, row_id)
        stop["failures"] = _failures(reader, node_id, row_id)
        stop["calls"] = [call for call in reader.calls(node_id) if _is_kin(str(call.get("_id")), row_id)]
        stops.append(stop)
    source = _first(reader, INPUT, row_id)
    for stop in stops:
        # A row with several children here has a prompt for each of them; they are shown one at a time.
        asked = {str(call.get("_id")) for call in stop["calls"]}
        if stop["id"] == step and stop["kind"] == "step" and len(asked) < 2:
            id_ = next(iter(asked), row_id)
            turns = sorted(set(map(turns_of, stop["calls"]))) or [()]
            told = [_prompt(reader.graph(), graph_nodes[step], id_, source or {}, (stops, turn)) for turn in turns]
            stop["prompt"] = told[-1]
            if stop.get("loops"):
                stop["prompts"] = told
    refused = _failures(reader, INPUT, row_id)
    if source is None and not refused and not any(s["rows"] or s["failures"] or s["calls"] for s in stops):
        name = reader.path.name
        raise RunFolderError(f'no row "{row_id}" in {name} ({shlex.join(["chainette", "show", name, step])})')
    return {"run": reader.path.name, "step": step, "row": row_id, "input": source, "failures": refused, "nodes": stops}


def _ancestors(row_id: str) -> list[str]:
    """The id and those it was made from, the nearest first: `17.2.0`, `17.2`, `17`."""
    parts = row_id.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _is_kin(other: str, row_id: str) -> bool:
    return other == row_id or _is_child(other, row_id) or _is_child(row_id, other)


def _is_child(id_: str, of: str) -> bool:
    """`17.2.0` of `17.2` and of `17`; an id from the data that only begins alike is none."""
    return id_.startswith(of + ".") and id_[len(of) + 1 :].replace(".", "").isdecimal()


def _first(reader: RunReader, node_id: str, row_id: str) -> dict[str, Any] | None:
    found = _nearest(reader, node_id, row_id)
    return found[-1] if found else None


def _nearest(reader: RunReader, node_id: str, row_id: str) -> list[dict[str, Any]]:
    """The row at a node, or the one it was made from: one, or one for each turn that is kept."""
    return next((rows for id_ in _ancestors(row_id) if (rows := reader.turns(node_id, id_))), [])


def _related(reader: RunReader, node_id: str, row_id: str) -> list[dict[str, Any]]:
    """The row at a node, or the one it was made from, or its first children there."""
    rows = _nearest(reader, node_id, row_id)
    if rows:
        return rows
    children = (r for r in reader.rows(node_id) if str(r.get("_id", "")).startswith(row_id + "."))
    return list(islice(children, MANY))


def _failures(reader: RunReader, node_id: str, row_id: str) -> list[dict[str, Any]]:
    from chainette.files.views import failure_record

    return [failure_record(f) for f in reader.failures(node_id) if _is_kin(f.row_id, row_id)]


def journey_lines(way: dict[str, Any]) -> list[Text]:
    """The journey for a person; the step that was asked for with all that was said there."""
    from chainette.cli.screen import BAD, NAME, QUIET, line

    lines = [line((one_line(f"row {way['row']}"), NAME), (f"  {way['run']}", QUIET)), line()]
    lines += [line(("input", NAME)), *_fields(way["input"] or {})]
    lines += [_failure(f) for f in way["failures"]]
    for part in in_turns(way["nodes"]):
        if isinstance(part, Turn):
            lines += [line(), line((one_line(part.words), "italic"))]
        elif part["kind"] not in NO_ROWS or part["failures"] or part["rows"]:
            lines += _stop_lines(part, way)
    if not way["nodes"]:
        lines.append(line(("no step was run", BAD)))
    return lines


def _stop_lines(stop: dict[str, Any], way: dict[str, Any]) -> list[Text]:
    """One node, in a loop in one of its turns."""
    from chainette.cli.screen import NAME, QUIET, line

    lines = [line(), line((one_line(stop["id"]), NAME), (f"  {stop['kind']}", QUIET))]
    asked = stop["id"] == way["step"]
    if "prompt" in stop:
        lines += _prompt_lines(stop["prompt"])
    elif asked and stop["calls"]:
        one = shlex.join(["chainette", "show", way["run"], stop["id"], str(stop["calls"][0].get("_id"))])
        lines.append(line((f"  several calls; one with its prompt: {one_line(one)}", QUIET)))
    for call in stop["calls"]:
        lines += _call(call, asked, way["row"])
    for row in stop["rows"]:
        if len(stop["rows"]) > 1 or row.get("_id") != way["row"]:
            lines.append(line((f"  row {one_line(row.get('_id'))}", QUIET)))
        lines += _fields(row)
    lines += [_failure(f) for f in stop["failures"]]
    if not (stop["rows"] or stop["failures"] or stop["calls"]):
        told = "never got here, or was dropped" if stop.get("written", True) else "its rows are not written"
        lines.append(line((f"  {told}", QUIET)))
    return lines


def _fields(row: dict[str, Any]) -> list[Text]:
    from chainette.cli.screen import QUIET, line
    from chainette.cli.show import in_words

    names = [key for key in row if key not in ("_id", "_turn")]
    wide = min(max((len(one_line(name)) for name in names), default=0), 24)
    return [line((f"  {one_line(name):<{wide}}  ", QUIET), _indented(in_words(row[name]), wide + 4)) for name in names]


def _indented(text: str, by: int) -> str:
    return clean_lines(text).strip("\n").replace("\n", "\n" + " " * by)


def _failure(failure: dict[str, Any]) -> Text:
    from chainette.cli.screen import BAD, line

    text = line("  ", (f"failed, {failure['kind']}", BAD), f"  {one_line(failure['message'])}")
    for cause in failure["cause"]:
        text.append(f"\n    {one_line(cause)}")
    if failure["raw"]:
        text.append(f"\n    answer  {_indented(failure['raw'], 12)}")
    return text


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
    from chainette.cli.prompts import lost, rendered

    stops, turn = seen
    sight = sight_of(graph, stops, node["id"], turn)
    messages = rendered(graph, node, row_id, source, sight)
    said: dict[str, Any] = {"turn": list(turn)} if turn else {}
    if messages is not None:
        return {**said, "rendered": True, "messages": [{"role": role, "content": text} for role, text in messages]}
    if missing := lost(graph, node, row_id, source, sight):
        said["why"] = f"the folder does not have what {', '.join(missing)} was then"
        kept = 'keep="all" on the loop keeps every turn'
        said["why"] += f" ({kept})" if sight.gone else ""
    templates = [(key, node[key]) for key in ("system_prompt", "user_prompt") if node.get(key)]
    told = [{"role": key.removesuffix("_prompt"), "content": text} for key, text in templates]
    return {**said, "rendered": False, "messages": told}


def _prompt_lines(prompt: dict[str, Any]) -> list[Text]:
    from chainette.cli.screen import QUIET, WARN, line
    from chainette.cli.show import in_words

    kind = "" if prompt["rendered"] else " template"
    said = [(f"{one_line(m['role'])}{kind}", in_words(m["content"])) for m in prompt["messages"]]
    wide = max((len(role) for role, _ in said), default=0)
    lines = [line((f"  {role:<{wide}}  ", QUIET), _indented(text, wide + 4)) for role, text in said]
    return [line((f"  {one_line(prompt['why'])}", WARN)), *lines] if prompt.get("why") else lines


def _call(call: dict[str, Any], whole: bool, row_id: str) -> list[Text]:
    from chainette.cli.screen import BAD, QUIET, WARN, line

    usage = call.get("usage") or {}
    words = [f"row {call.get('_id')}"] if call.get("_id") != row_id else []
    words.append(f"attempt {call.get('attempt', 1)}")
    if "completion_tokens" in usage:
        words.append(f"{usage.get('prompt_tokens') or 0} + {usage.get('completion_tokens') or 0} tokens")
    words += [seconds(call["seconds"])] if call.get("seconds") is not None else []
    words += [str(call[k]) for k in ("finish_reason", "replica") if call.get(k)]
    lines = [line((f"  call    {one_line(', '.join(words))}", QUIET))]
    error = call.get("error")
    if error:
        lines.append(line(("  error   ", QUIET), (one_line(f"{error.get('kind')}: {error.get('message')}"), BAD)))
    lines += [line(("  refused ", QUIET), (one_line(reason), WARN)) for reason in call.get("refused") or []]
    if whole:
        if call.get("reasoning"):
            lines.append(line(("  thought ", QUIET), _indented(call["reasoning"], 10)))
        texts = [text for text in call.get("texts") or [call.get("text")] if text is not None]
        lines += [line(("  answer  ", QUIET), _indented(text, 10)) for text in texts]
    return lines
