"""What control flow says of itself: as `graph.json` holds it, and as `inspect` tells it. Reads the graph only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chainette.chain import Delay, Gather, Loop, Scan, Switch
from chainette.chain.asking import asked_words, is_asked
from chainette.files.json_text import encode
from chainette.graph import Graph, Node, type_name
from chainette.graph.nodes import Way
from chainette.graph.signature import bound_to, source_of

ONE_BY_ONE = "inside a loop a function on lists gets one row at a time"


def control_record(graph: Graph, node: Node) -> dict[str, Any]:
    """What decides where rows go, with the inner graph of each way; functions by their source."""
    decl = node.decl
    record: dict[str, Any] = {"metadata": dict(decl.metadata)} if decl is not None else {}
    match decl:
        case Switch():
            record |= _asked("key", decl.key)
        case Loop():
            record |= _asked("until", decl.until)
            record |= {"max_iterations": decl.max_iterations, "at_least_once": decl.at_least_once}
            record |= {"feed": decl.feed, "keep": decl.keep}
        case Scan():
            record |= {"over": decl.over, "init": _init(decl.init), "keep": decl.keep}
            if decl.function is not None:
                record |= _asked("source", decl.function)
        case Delay():
            record["seconds"] = decl.seconds
        case Gather():
            record |= {"alias": decl.alias, "missing": decl.missing}
            record |= {"gathers": graph.nodes[node.gather].id} if node.gather >= 0 else {}
    if node.ways:
        record["ways"] = [_way(graph, way) for way in node.ways]
    return record


def control_report(graph: Graph, node: Node) -> dict[str, Any]:
    """The same for a person: functions by their names, ways with what comes out of them."""
    decl = node.decl
    told: dict[str, Any] = {}
    match decl:
        case Switch():
            told["predicate" if decl.is_cond else "key"] = asked_words(decl.key)
            told["cases"] = {
                way.name: {"output": type_name(graph.nodes[way.last].output_type), "nodes": _inside(graph, way)}
                for way in node.ways
            }
        case Loop():
            told |= {"until": asked_words(decl.until), "max_iterations": decl.max_iterations, "feed": decl.feed}
            told |= {"at_least_once": decl.at_least_once, "keep": decl.keep}
        case Scan():
            init = asked_words(decl.init) if is_asked(decl.init) else repr(_init(decl.init))
            told |= {"over": decl.over or "the rows", "init": init, "keep": decl.keep}
        case Delay():
            told["seconds"] = decl.seconds
        case Gather():
            told |= {"alias": decl.alias, "missing": decl.missing}
            if node.gather >= 0:
                told["gathers"] = graph.nodes[node.gather].id
    if node.ways and not isinstance(decl, Switch):
        told["body"] = _inside(graph, node.ways[0])
    return told


def loops_of(graph: Graph, node: Node) -> list[str]:
    """The loops and scans in whose bodies the node lies, the outermost first."""
    return [graph.nodes[index].id for index in node.loops]


def shown_id(graph: Graph, index: int) -> str:
    """The id people know for a node: of an entry that of the node before it, of a way's end that of the whole."""
    node = graph.nodes[index]
    while node.kind in ("branch", "turn", "merge"):
        node = graph.nodes[node.head if node.kind != "branch" else node.parent]
    return node.id


def _asked(name: str, asked: Any) -> dict[str, Any]:
    if isinstance(asked, str):
        return {name: asked}
    return {name: source_of(asked), "bound": bound_to(asked)}


def _init(init: Any) -> Any:
    if is_asked(init):
        return {"source": source_of(init), "bound": bound_to(init)}
    return json.loads(encode(init))


def _way(graph: Graph, way: Way) -> dict[str, Any]:
    ids = _inside(graph, way)
    edges = [[start, end] for start, end in graph.arrows() if start in ids and end in ids]
    return {"name": way.name, "case": json.loads(encode(way.case)), "nodes": ids, "edges": edges}


def _inside(graph: Graph, way: Way) -> list[str]:
    return [node.id for node in graph.shown if way.entry in _above(graph, node)]


def _above(graph: Graph, node: Node) -> Iterator[int]:
    """The entries of all branches, ways and bodies in which it lies; and what stands before it on the way there."""
    while node.parent >= 0:
        node = graph.nodes[node.head if node.kind == "merge" else node.parent]
        yield node.index
