"""A graph as text for other programs to draw: Mermaid and Graphviz. Knows arrows and boxes, not where they are from."""

from __future__ import annotations

import json
from collections.abc import Iterator

from chainette.cli.drawing import Arrow, Box
from chainette.cli.wording import one_line

Nodes = dict[str, tuple[str, str]]
"""id -> (kind, label)."""

_MERMAID = {
    "apply": ('("', '")'),
    "join": ('{{"', '"}}'),
    "gather": ('{{"', '"}}'),
    "cond": ('{"', '"}'),
    "switch": ('{"', '"}'),
    "while_loop": ('(["', '"])'),
    "scan": ('(["', '"])'),
    "delay": ('>"', '"]'),
}
_DOT = {
    "apply": "box, style=rounded",
    "join": "hexagon",
    "gather": "hexagon",
    "cond": "diamond",
    "switch": "diamond",
    "while_loop": "cds",
    "scan": "cds",
    "delay": "note",
}


def mermaid(title: str, nodes: Nodes, ways: list[Arrow], framed: tuple[str | Box, ...] = ()) -> str:
    """A Mermaid flowchart of `nodes`. Those that `framed` does not name stand on their own."""
    keys = {node_id: f"n{position}" for position, node_id in enumerate(nodes)}

    def quoted(text: str) -> str:
        return one_line(text).replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")

    def drawn(item: str | Box, indent: str) -> Iterator[str]:
        if isinstance(item, Box):
            yield f'{indent}subgraph {keys[item.id]}_["{quoted(item.label)}"]'
            for inner in item.items:
                yield from drawn(inner, indent + "    ")
            yield f"{indent}end"
        else:
            kind, label = nodes[item]
            left, right = _MERMAID.get(kind, ('["', '"]'))
            yield f"{indent}{keys[item]}{left}{quoted(label)}{right}"

    text = ["---", f"title: {json.dumps(one_line(title), ensure_ascii=False)}", "---", "flowchart TD"]
    text.append('    input(["input"])')
    for item in _all(nodes, framed):
        text += drawn(item, "    ")
    for way in ways:
        start = "input" if way.start is None else keys[way.start]
        line = "-.->" if way.back else "-->"
        middle = f'{line}|"{quoted(way.label)}"|' if way.label else line
        text.append(f"    {start} {middle} {keys[way.end]}")
    return "\n".join(text) + "\n"


def dot(title: str, nodes: Nodes, ways: list[Arrow], framed: tuple[str | Box, ...] = ()) -> str:
    """A Graphviz digraph of `nodes`, as `mermaid`."""

    def quoted(text: str) -> str:
        return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'

    def drawn(item: str | Box, indent: str) -> Iterator[str]:
        if isinstance(item, Box):
            # Graphviz frames a subgraph only when its name begins so.
            yield f"{indent}subgraph {quoted(f'cluster {item.id}')} {{"
            yield f"{indent}    label={quoted(item.label)}; fontname=sans; style=rounded;"
            for inner in item.items:
                yield from drawn(inner, indent + "    ")
            yield f"{indent}}}"
        else:
            kind, label = nodes[item]
            yield f"{indent}{quoted(item)} [label={quoted(label)}, shape={_DOT.get(kind, 'box')}];"

    text = [f"digraph {quoted(title)} {{", "    rankdir=TB;", "    node [fontname=sans];", "    edge [fontname=sans];"]
    text.append('    ":input" [label="input", shape=oval];')
    for item in _all(nodes, framed):
        text += drawn(item, "    ")
    for way in ways:
        start = '":input"' if way.start is None else quoted(way.start)
        said = [f"label={quoted(way.label)}"] if way.label else []
        said += ["style=dashed", "constraint=false"] if way.back else []
        label = f" [{', '.join(said)}]" if said else ""
        text.append(f"    {start} -> {quoted(way.end)}{label};")
    return "\n".join([*text, "}"]) + "\n"


def _all(nodes: Nodes, framed: tuple[str | Box, ...]) -> list[str | Box]:
    named = set(_names(framed))
    return [*framed, *(id for id in nodes if id not in named)]


def _names(items: tuple[str | Box, ...]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Box):
            yield from _names(item.items)
        else:
            yield item
