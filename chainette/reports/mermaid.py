"""A graph as text that Mermaid draws. Knows arrows and boxes, not where they are from."""

from __future__ import annotations

import json
from collections.abc import Iterator

from chainette.reports.arrows import Arrow, Box
from chainette.reports.harmless import one_line

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
    for item in outside_too(nodes, framed):
        text += drawn(item, "    ")
    for way in ways:
        start = "input" if way.start is None else keys[way.start]
        line = "-.->" if way.back else "-->"
        middle = f'{line}|"{quoted(way.label)}"|' if way.label else line
        text.append(f"    {start} {middle} {keys[way.end]}")
    return "\n".join(text) + "\n"


def outside_too(nodes: Nodes, framed: tuple[str | Box, ...]) -> list[str | Box]:
    """What is framed, then the nodes that are not."""
    named = set(_names(framed))
    return [*framed, *(id for id in nodes if id not in named)]


def _names(items: tuple[str | Box, ...]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Box):
            yield from _names(item.items)
        else:
            yield item
