"""Why a row's call at a step was made, and what of it differs from another run. Knows run folders, no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chainette.errors import RunFolderError, nearest
from chainette.reports.journey import MANY, NO_ROWS, journey
from chainette.reports.sight import sight_of, turns_of
from chainette.reports.wording import state_in_words

if TYPE_CHECKING:
    from chainette.files.graph_changes import Change
    from chainette.files.reading import RunReader

_NEAR = 2_000
"""Ids among which the nearest to an unknown one is looked for."""
_KEY_PARTS = ("prompt", "schema", "sampling", "samples", "images", "model")
_APPLY_PARTS = ("source", "bound values", "shape", "types", "schema")
_OTHER_PARTS = (
    *("branches", "types", "predicate", "key", "bound values", "cases", "body", "max_iterations", "at_least_once"),
    *("feed", "keep", "source", "over", "init", "seconds", "alias", "missing"),
)


def reasons(reader: RunReader, step: str, row_id: str, other: RunReader | None = None) -> dict[str, Any]:
    """Each call of the row at the step, where the row stopped if it did, and the comparison with `other`.

    Raises:
        RunFolderError: no such step, or no such row; with the nearest names.
    """
    way = _journey(reader, step, row_id)
    stops = {stop["id"]: stop for stop in way["nodes"]}
    here = stops[step]
    calls = _own(here["calls"], row_id)
    told: dict[str, Any] = {
        "run": reader.path.name,
        "folder": reader.place,
        "step": step,
        "row": row_id,
        "kind": here["kind"],
        "calls": [_call(call, calls, here["failures"]) for call in calls],
        "rows": here["rows"],
        "failures": here["failures"],
        "stopped": None,
    }
    if not (calls or here["rows"]) or (not calls and here["failures"]):
        told["stopped"] = _stopped(reader, way, stops)
    if other is not None:
        told["against"] = _against(reader, other, way, calls)
    return told


def _journey(reader: RunReader, step: str, row_id: str) -> dict[str, Any]:
    try:
        return journey(reader, step, row_id)
    except RunFolderError as error:
        if not str(error).startswith("no row "):
            raise
        ids = [str(row["_id"]) for row in reader.inputs()[:_NEAR]]
        message = f'no row "{row_id}" in {reader.path.name} ({nearest(row_id, ids)})'
        raise RunFolderError(message if ids else f"{reader.path.name} has no rows") from None


def _own(calls: list[dict[str, Any]], row_id: str) -> list[dict[str, Any]]:
    """The calls for the row itself; else for the one it was made from; else for the rows that were made of it."""
    asked = {str(call.get("_id")) for call in calls}
    if row_id in asked:
        return [call for call in calls if call.get("_id") == row_id]
    above = [id for id in asked if row_id.startswith(id + ".")]
    if above:
        return [call for call in calls if call.get("_id") == max(above, key=len)]
    return calls


def _call(call: dict[str, Any], calls: list[dict[str, Any]], failures: list[dict[str, Any]]) -> dict[str, Any]:
    usage = call.get("usage") or {}
    started_s = call.get("started_s")
    return {
        "_id": call.get("_id"),
        **({"turn": call["turn"]} if "turn" in call else {}),
        "attempt": call.get("attempt", 1),
        "reused": call.get("reused"),
        "started": datetime.fromtimestamp(started_s, UTC).isoformat() if started_s is not None else None,
        "seconds": call.get("seconds"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "wrong": _wrong(call, calls, failures),
        "key": call.get("key"),
    }


def _wrong(call: dict[str, Any], calls: list[dict[str, Any]], failures: list[dict[str, Any]]) -> str | None:
    """Why the answer was not taken, as far as the log says; the last one's reason stands with the failure."""
    error = call.get("error")
    if error:
        return f"{error.get('kind')}: {error.get('message')}"
    refused = call.get("refused") or []
    if not refused:
        return None
    last = [c for c in calls if c.get("_id") == call.get("_id") and turns_of(c) == turns_of(call)][-1]
    id = str(call.get("_id"))
    reasons = [f for f in failures if f["_id"] == id or f["_id"].startswith(id + ".")]
    reasons = [f for f in reasons if turns_of(f) == turns_of(call)]
    if last is call and reasons:
        return "; ".join(dict.fromkeys(f"{f['kind']}: {f['message']}" for f in reasons))
    return ", ".join(dict.fromkeys(refused))


def _stopped(reader: RunReader, way: dict[str, Any], stops: dict[str, Any]) -> dict[str, Any] | None:
    """Where the row's way ended, and why; None where the folder does not say that it did."""
    from chainette.files.runs import summarise

    step = way["step"]
    before = _upstream(reader.graph(), step)
    for id, failures in [("chain_input", way["failures"]), *((i, stops[i]["failures"]) for i in before if i in stops)]:
        if failures:
            return {"at": id, "how": "failed", "kind": failures[0]["kind"], "message": failures[0]["message"]}
    written = {node["id"] for node in reader.graph().get("nodes") or [] if node.get("written")}
    state = summarise(reader.path).state
    inside = _inside(reader.graph())
    for id in before:
        if id in inside and id != step:
            continue  # rows may go another way
        if id == step and id in inside and not stops[id]["rows"] and state == "done":
            return {"at": inside[id]["id"], "how": "another way", "kind": inside[id]["type"], "message": ""}
        if id in written and not stops[id]["rows"]:
            if state == "done":
                return {"at": id, "how": "dropped", "kind": stops[id]["kind"], "message": ""}
            return _not_reached(id, state)
    return None if state == "done" else _not_reached(step, state)


def _not_reached(step: str, state: str) -> dict[str, Any]:
    return {"at": step, "how": "not reached", "kind": "", "message": f"the run {state_in_words(state)}"}


def _inside(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Node -> the innermost control flow in whose ways it lies."""
    nodes = graph.get("nodes") or []
    return {id: node for node in nodes for way in node.get("ways") or [] for id in way.get("nodes") or []}


def _upstream(graph: dict[str, Any], step: str) -> list[str]:
    """The nodes before a step and the step itself, in order."""
    edges = [(str(a), str(b)) for a, b in graph.get("edges") or []]
    found, waiting = {step}, [step]
    while waiting:
        here = waiting.pop()
        for source, target in edges:
            if target == here and source not in found:
                found.add(source)
                waiting.append(source)
    return [node["id"] for node in graph.get("execution_order") or [] if node["id"] in found]


def _against(reader: RunReader, other: RunReader, way: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """What of the call differs from that of the same row in another run."""
    from chainette.files.comparing_inputs import partner_of
    from chainette.files.graph_changes import graph_changes

    step, row_id = way["step"], way["row"]
    told: dict[str, Any] = {"run": other.path.name, "step": step, "row": None, "same": False, "why": "", "parts": []}
    changes = graph_changes(other.graph(), reader.graph())
    was = {c.after: c.before for c in changes if c.part == "graph" and isinstance(c.before, str) and c.after}
    told["step"] = other_step = str(was.get(step, step))
    if other_step not in other.step_ids():
        told["why"] = f'it has no step "{other_step}"'
        return told
    told["elsewhere"] = _elsewhere(other, other_step, calls)
    source = str((way["input"] or {}).get("_id", row_id))
    partner = partner_of(reader, other, source)
    if partner is None:
        told["why"] = f"none of its input rows has the content or the id of row {source}"
        return told
    asked = str(calls[0].get("_id")) if calls else row_id
    told["row"] = other_id = partner + (asked[len(source) :] if asked.startswith(source) else "")
    try:
        theirs = journey(other, other_step, other_id)
    except RunFolderError as error:
        told["why"] = str(error)
        return told
    ours = way if asked == row_id else journey(reader, step, asked)
    _compare(told, (other, theirs), (reader, ours), changes)
    return told


def _elsewhere(other: RunReader, step: str, calls: list[dict[str, Any]]) -> list[str]:
    """The rows there with a call of the same key; which of them an answer is taken from does not matter."""
    keys = {call.get("key") for call in calls}
    found = (str(call.get("_id")) for call in other.calls(step) if call.get("key") in keys and not call.get("error"))
    return list(dict.fromkeys(found)) if keys else []


def _compare(
    told: dict[str, Any],
    before: tuple[RunReader, dict[str, Any]],
    after: tuple[RunReader, dict[str, Any]],
    changes: list[Change],
) -> None:
    """Adds what differs between a row's two journeys, in parts of the key and in values."""
    (other, theirs), (reader, ours) = before, after
    node, other_node = _node(reader, ours["step"]), _node(other, theirs["step"])
    kind = node.get("type", "")
    parts = {"step": _KEY_PARTS, "apply": _APPLY_PARTS}.get(kind, _OTHER_PARTS)
    places = (f'{kind} "{node.get("id")}"', f'engine "{node.get("engine")}"')
    told["changes"] = [c for c in changes if c.where in places and c.part in parts]
    old_keys, new_keys = ({c["key"] for c in _own(_stop(w)["calls"], w["row"])} for w in (theirs, ours))
    if kind == "step":
        seen = [_seen(r.graph(), n, w, node) for r, n, w in ((other, other_node, theirs), (reader, node, ours))]
        told["prompt"] = _messages(_stop(theirs).get("prompt"), _stop(ours).get("prompt"))
        told["same"] = bool(new_keys & old_keys)
    else:
        seen = [_entering(r.graph(), w) for r, w in ((other, theirs), (reader, ours))]
    names = [name for name in dict.fromkeys([*seen[0], *seen[1]]) if seen[0].get(name) != seen[1].get(name)]
    told["values"] = [{"name": n, "before": seen[0].get(n), "after": seen[1].get(n)} for n in names]
    told["parts"] = list(dict.fromkeys([c.part for c in told["changes"]] + (["input"] if names else [])))
    if kind != "step":
        told["same"] = not told["parts"]
    elif not old_keys:
        told["why"] = "no call was made for that row there" if new_keys else "neither run made a call for it"


def _node(reader: RunReader, id: str) -> dict[str, Any]:
    return next((node for node in reader.graph().get("nodes") or [] if node.get("id") == id), {})


def _stop(way: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(stop for stop in way["nodes"] if stop["id"] == way["step"])
    return found


def _messages(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The messages that differ, both rendered; without one of them nothing is said."""
    if before is None or after is None or not (before["rendered"] and after["rendered"]):
        return []
    ours, theirs = before["messages"], after["messages"]
    length = max(len(ours), len(theirs))
    pairs = zip(_padded(ours, length), _padded(theirs, length), strict=True)
    return [
        {"role": (b or a)["role"], "before": a.get("content"), "after": b.get("content")} for a, b in pairs if a != b
    ]


def _padded(messages: list[dict[str, Any]], length: int) -> list[dict[str, Any]]:
    return [*messages, *({} for _ in range(length - len(messages)))]


def _seen(graph: dict[str, Any], node: dict[str, Any], way: dict[str, Any], asked: dict[str, Any]) -> dict[str, str]:
    """The values that the templates of `asked` see at `node`, by the names they have there."""
    from chainette.reports.prompts import rendered

    sight = sight_of(graph, way["nodes"], node["id"], tuple((_stop(way).get("prompt") or {}).get("turn", ())))
    seen = {}
    for name in dict.fromkeys(_names(asked)):
        alone = {**node, "system_prompt": "", "user_prompt": f"{{{{ {name} }}}}", "output_format_instruction": ""}
        messages = rendered(graph, alone, way["row"], way["input"] or {}, sight)
        if messages is not None:
            seen[name] = messages[0][1]
    return seen


def _names(node: dict[str, Any]) -> Iterator[str]:
    """What the templates name, as far as they go into it: `text`, `qa.answer`."""
    from jinja2 import TemplateError, meta

    from chainette.prompts.environment import make_environment

    user = node.get("user_prompt") or ""
    users = [str(m.get("content")) for m in user] if isinstance(user, list) else [str(user)]
    environment = make_environment()
    for template in [str(node.get("system_prompt") or ""), *users]:
        try:
            parsed = environment.parse(template)
        except TemplateError:
            continue
        outer = meta.find_undeclared_variables(parsed)
        yield from (path for path in _paths(parsed) if path.partition(".")[0].partition("[")[0] in outer)
    if node.get("images"):
        yield str(node["images"])


def _paths(node: Any) -> Iterator[str]:
    from jinja2 import nodes

    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        yield from _paths(node.node.node)
        for argument in node.args:
            yield from _paths(argument)
        return
    path = _path(node)
    if path is not None:
        yield path
        return
    for child in node.iter_child_nodes():
        yield from _paths(child)


def _path(node: Any) -> str | None:
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return str(node.name) if node.ctx == "load" else None
    if isinstance(node, nodes.Getattr):
        inner = _path(node.node)
        return None if inner is None else f"{inner}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        inner = _path(node.node)
        return None if inner is None else f"{inner}[{node.arg.value!r}]"
    return None


def _entering(graph: dict[str, Any], way: dict[str, Any]) -> dict[str, Any]:
    """The fields that enter a node, as they are on disk: of the node before it; past a join, of all its branches."""
    rows = {stop["id"]: stop["rows"] for stop in way["nodes"]}
    rows["chain_input"] = [way["input"]] if way["input"] else []
    kinds = {node["id"]: node.get("type") for node in graph.get("nodes") or []}
    joins = {id for id, kind in kinds.items() if kind in NO_ROWS and not rows.get(id)}
    edges = [(str(a), str(b)) for a, b in graph.get("edges") or []]
    sources = [a for a, b in edges if b == way["step"]]
    while any(source in joins for source in sources):
        sources = [
            s for source in sources for s in ([a for a, b in edges if b == source] if source in joins else [source])
        ]
    found: dict[str, Any] = {}
    for source in dict.fromkeys(sources):
        for row in rows.get(source, [])[:MANY]:
            head = f"{source}." if len(set(sources)) > 1 else ""
            tail = f" of {row['_id']}" if len(rows[source]) > 1 else ""
            found |= {f"{head}{name}{tail}": value for name, value in row.items() if name not in ("_id", "_turn")}
    return found
