"""What decides the outcome of a run and differs between two `graph.json`. Knows the documents, no chain and no rows.

A document of an older version may lack a key; then nothing is said of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainette.files.json_text import encode

Node = Mapping[str, Any]

_SMALL = 60
"""Characters of a value that is told in full, if it is one line."""
_PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "step": {
        "prompt": ("system_prompt", "user_prompt", "output_format_instruction"),
        "schema": ("schema",),
        "samples": ("n",),
        "images": ("images",),
    },
    "apply": {"source": ("source",), "bound values": ("bound",), "shape": ("shape", "scope"), "schema": ("schema",)},
    "join": {"branches": ("branches",)},
    "cond": {"predicate": ("key",), "bound values": ("bound",), "cases": ("ways",)},
    "switch": {"key": ("key",), "bound values": ("bound",), "cases": ("ways",)},
    "while_loop": {
        "predicate": ("until",),
        "bound values": ("bound",),
        "max_iterations": ("max_iterations",),
        "at_least_once": ("at_least_once",),
        "feed": ("feed",),
        "keep": ("keep",),
        "body": ("ways",),
    },
    "scan": {
        "source": ("source",),
        "bound values": ("bound",),
        "over": ("over",),
        "init": ("init",),
        "keep": ("keep",),
        "body": ("ways",),
    },
    "delay": {"seconds": ("seconds",)},
    "gather": {"alias": ("alias",), "missing": ("missing",)},
}
_NODE_PARTS = {"types": ("input", "output", "intake"), "output": ("written",)}
_OPTIONS = {
    "input": ("limit", "columns", "id_field"),
    "output": ("format", "max_lines_per_file", "flattened"),
}
_WHOLE = ("prompt", "schema", "source", "bound values", "branches", "cases", "body", "input schema")
"""Parts that are too long to be told: that they changed is said, not how."""
_DATASET = ("dataset", "config", "split", "version")


@dataclass(frozen=True, slots=True)
class Change:
    """One part that differs. Where a part has several keys, `before` and `after` hold those that differ, by name."""

    where: str
    """The node, engine or option, e.g. `step "qa"`; `chain` and `input` for the whole of them."""
    part: str
    before: Any
    """None for what was not there."""
    after: Any
    """None for what is gone."""

    def __str__(self) -> str:
        if self.part == "graph":
            return f"{self.where}: {_graph_words(self.before, self.after)}"
        if self.part in _WHOLE:
            return f"{self.where}: its {self.part} changed"
        if isinstance(self.before, dict) and isinstance(self.after, dict):
            names = list(dict.fromkeys([*self.before, *self.after]))
            return f"{self.where}: " + ", ".join(_words(n, self.before.get(n), self.after.get(n)) for n in names)
        name = "it" if self.where.startswith("option ") else self.part
        return f"{self.where}: {_words(name, self.before, self.after)}"


def graph_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The differences between the `graph.json` of two runs: the graph, each node in order, the input, the options.

    What does not decide the outcome (retries, time limits, names, endpoints, versions, paths) is not compared.
    """
    old, new = _as_read(old), _as_read(new)
    before, after = _nodes(old), _nodes(new)
    renamed = _renamed(old, new)
    changes = _graph(old, new, renamed)
    engines: set[str] = set()
    was = {now: name for name, now in renamed.items()}
    for id, node in after.items():
        earlier = before.get(was.get(id, id))
        if earlier is None or earlier.get("type") != node.get("type"):
            continue
        changes += _node(_with_new_names(earlier, renamed), node)
        changes += [c for c in _model(old, new, earlier, node) if c.where not in engines]
        engines.update(c.where for c in changes if c.part == "model" and c.where.startswith("engine "))
    return changes + _inputs(old, new) + _options(old, new)


def _as_read(document: Mapping[str, Any]) -> dict[str, Any]:
    """As it stands in the file: lists for tuples, text for every key."""
    read = json.loads(encode(dict(document)))
    return read if isinstance(read, dict) else {}


def _nodes(document: Mapping[str, Any]) -> dict[str, Node]:
    return {str(node.get("id")): node for node in document.get("nodes") or []}


def node_words(node: Node) -> str:
    """`step "qa"`, as changes name it."""
    return f'{node.get("type") or "node"} "{node.get("id")}"'


def _graph(old: Mapping[str, Any], new: Mapping[str, Any], renamed: Mapping[str, str]) -> list[Change]:
    """Nodes gone, renamed and added, then their order; edges where the nodes are the same."""
    before, after = _nodes(old), _nodes(new)
    was = {now: name for name, now in renamed.items()}
    gone = [n for id, n in before.items() if id not in renamed and not _same_kind(n, after.get(id))]
    added = [n for id, n in after.items() if id not in was and not _same_kind(n, before.get(id))]
    changes = [Change(node_words(node), "graph", node["id"], None) for node in gone]
    for id, node in after.items():
        if id in was:
            changes.append(Change(node_words(node), "graph", was[id], id))
        elif node in added:
            changes.append(Change(node_words(node), "graph", None, id))
    kept = [renamed.get(id, id) for id, node in before.items() if node not in gone]
    now = [id for id, node in after.items() if node not in added]
    if kept != now:
        changes.append(Change("chain", "graph", kept, now))
    if not gone and not added:
        changes += _lines(old, new, renamed)
    if "input_schema" in old and "input_schema" in new and old["input_schema"] != new["input_schema"]:
        changes.append(Change("chain", "input schema", old["input_schema"], new["input_schema"]))
    return changes


def _lines(old: Mapping[str, Any], new: Mapping[str, Any], renamed: Mapping[str, str]) -> list[Change]:
    """How the same nodes are tied together, and which one makes the result."""
    changes = []
    if "edges" in old and "edges" in new:
        before = [[renamed.get(id, id) for id in edge] for edge in old["edges"]]
        lost = [edge for edge in before if edge not in new["edges"]]
        made = [edge for edge in new["edges"] if edge not in before]
        if lost or made:
            changes.append(Change("chain", "graph", lost, made))
    if "last" in old and "last" in new and renamed.get(old["last"], old["last"]) != new["last"]:
        changes.append(Change("chain", "last step", old["last"], new["last"]))
    return changes


def _same_kind(one: Node, other: Node | None) -> bool:
    return other is not None and one.get("type") == other.get("type")


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Old id -> new id of nodes that do the same under another id."""
    before, after = _nodes(old), _nodes(new)
    free = [node for id, node in after.items() if id not in before]
    renamed: dict[str, str] = {}
    for id, node in before.items():
        if id in after:
            continue
        same = (n for n in free if _same_kind(node, n) and not _node(node, n) and not _model(old, new, node, n))
        found = next(same, None)
        if found is not None:
            free.remove(found)
            renamed[id] = str(found["id"])
    return renamed


def _node(old: Node, new: Node) -> list[Change]:
    """What differs between two nodes of one kind, but for the engine."""
    parts = {**_PARTS.get(str(new.get("type")), {}), **_NODE_PARTS}
    where = node_words(new)
    changes = [change for part, keys in parts.items() if (change := _differing(where, part, keys, old, new))]
    if "sampling" in old and "sampling" in new:
        # `n` is told as the number of samples.
        before, after = ({k: v for k, v in (node["sampling"] or {}).items() if k != "n"} for node in (old, new))
        if before != after:
            changes.append(_by_name(where, "sampling", before, after))
    return changes


def _with_new_names(node: Node, renamed: Mapping[str, str]) -> Node:
    """A node whose ways hold what is in them by the ids of now."""
    if not node.get("ways") or not renamed:
        return node
    ways = [{**way, "nodes": [renamed.get(id, id) for id in way.get("nodes") or []]} for way in node["ways"]]
    return {**node, "ways": ways}


def _differing(where: str, part: str, keys: Iterable[str], old: Node, new: Node) -> Change | None:
    names = [key for key in keys if key in old and key in new and _decisive(key, old) != _decisive(key, new)]
    if not names:
        return None
    if len(names) == 1 and part not in ("types", "output", "input", "prompt"):
        return Change(where, part, old[names[0]], new[names[0]])
    return Change(where, part, {name: old[name] for name in names}, {name: new[name] for name in names})


def _decisive(key: str, node: Node) -> Any:
    if key == "ways":
        return [(way.get("name"), way.get("case"), way.get("nodes")) for way in node[key] or []]
    if key == "branches":
        return [(branch.get("alias"), branch.get("missing")) for branch in node[key] or []]
    return node[key]


def _by_name(where: str, part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    names = [n for n in dict.fromkeys([*before, *after]) if n not in before or n not in after or before[n] != after[n]]
    return Change(where, part, {n: before[n] for n in names if n in before}, {n: after[n] for n in names if n in after})


def model_of(document: Mapping[str, Any], node: Node) -> dict[str, Any] | None:
    """The model and revision behind a step, by the engine that served it; None where the document does not say."""
    for engine in document.get("engines") or []:
        if engine.get("name") == node.get("engine"):
            return {"model": engine.get("model") or "", "revision": engine.get("revision")}
    return None


def _model(old: Mapping[str, Any], new: Mapping[str, Any], before: Node, after: Node) -> list[Change]:
    was, is_ = model_of(old, before), model_of(new, after)
    if was and is_ and not was["model"] and not is_["model"]:  # each backend has a model of its own for no name
        was["backend"], is_["backend"] = (_backend(*pair) for pair in ((old, before), (new, after)))
    if was is None or is_ is None or was == is_:
        return []
    same_engine = before.get("engine") == after.get("engine")
    return [_by_name(f'engine "{after["engine"]}"' if same_engine else node_words(after), "model", was, is_)]


def _backend(document: Mapping[str, Any], node: Node) -> Any:
    engines = {engine.get("name"): engine for engine in document.get("engines") or []}
    return engines.get(node.get("engine"), {}).get("backend")


def _inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The input by its content. Of one without a fingerprint, or with one of another kind, nothing can be said."""
    before, after = old.get("inputs") or {}, new.get("inputs") or {}
    changes: list[Change] = []
    families = _family(before), _family(after)
    if families[0] == families[1] and families[0]:
        keys = {"files": ("blake2b", "formats"), "python": ("blake2b", "rows"), "datasets": _DATASET}[families[0]]
        differing = [key for key in keys if key in before and key in after and before[key] != after[key]]
        if differing and not (families[0] == "files" and _unsure(before, after)):
            changes.append(Change("input", "input", *({k: found[k] for k in differing} for found in (before, after))))
    if before.get("columns") and after.get("columns") and before["columns"] != after["columns"]:
        named = [(document.get("options") or {}).get("columns") for document in (old, new)]
        if named[0] == named[1]:  # otherwise the option says it
            changes.append(Change("input", "columns", before["columns"], after["columns"]))
    return changes


def _family(inputs: Mapping[str, Any]) -> str:
    if "files" in inputs:
        return "files"
    return str(inputs.get("kind")) if inputs.get("kind") in ("python", "datasets") else ""


def _unsure(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether files that differ by their fingerprints may be the same, as one is of all of a file, one of its ends."""
    ours, theirs = before["files"], after["files"]
    if len(ours) != len(theirs) or before.get("formats") != after.get("formats"):
        return False
    pairs = list(zip(ours, theirs, strict=True))
    size, of, content = "size", "of", "blake2b"
    if any(
        a.get(size) != b.get(size) or (a.get(of) == b.get(of) and a.get(content) != b.get(content)) for a, b in pairs
    ):
        return False
    return any(a.get(of) != b.get(of) for a, b in pairs)


def _options(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    before, after = old.get("options") or {}, new.get("options") or {}
    parts = [(part, name) for part, names in _OPTIONS.items() for name in names if name in before and name in after]
    changes = [
        Change(f'option "{name}"', part, before[name], after[name])
        for part, name in parts
        if before[name] != after[name]
    ]
    params = before.get("params") or {}, after.get("params") or {}
    if "params" in before and "params" in after and params[0] != params[1]:
        changes.append(_by_name('option "params"', "parameters", *params))
    return changes


def _graph_words(before: Any, after: Any) -> str:
    if before is None or after is None:
        return "it is new" if before is None else "it is gone"
    if isinstance(before, str):
        return f'it was called "{before}"'
    if any(isinstance(item, list) for item in (*before, *after)):
        words = [("no longer", before), ("now", after)]
        return "; ".join(f"{word} {', '.join(map(_arrow, edges))}" for word, edges in words if edges)
    return f"its steps stood in the order {', '.join(before)} and stand in the order {', '.join(after)}"


def _arrow(edge: Sequence[str]) -> str:
    return " -> ".join(edge)


def _words(name: str, before: Any, after: Any) -> str:
    """`temperature was 0.2 and is 0.7`, or only that it changed."""
    plain = name.replace("_", " ") if name not in ("blake2b",) else "content"
    told = [_told(before), _told(after)]
    if name == "blake2b" or any(len(text) > _SMALL or r"\n" in text for text in told):
        return f"{'it' if plain == 'it' else f'its {plain}'} changed"
    return f"{plain} was {told[0]} and is {told[1]}"


def _told(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False)
