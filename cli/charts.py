"""A graph as text that Graphviz draws. Knows arrows and boxes, not where they are from."""

from __future__ import annotations

from collections.abc import Iterator

from chainette.cli.wording import one_line
from chainette.reports.arrows import Arrow, Box
from chainette.reports.mermaid import Nodes, outside_too

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


def dot(title: str, nodes: Nodes, ways: list[Arrow], framed: tuple[str | Box, ...] = ()) -> str:
    """A Graphviz digraph of `nodes`. Those that `framed` does not name stand on their own."""

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
    for item in outside_too(nodes, framed):
        text += drawn(item, "    ")
    for way in ways:
        start = '":input"' if way.start is None else quoted(way.start)
        said = [f"label={quoted(way.label)}"] if way.label else []
        said += ["style=dashed", "constraint=false"] if way.back else []
        label = f" [{', '.join(said)}]" if said else ""
        text.append(f"    {start} -> {quoted(way.end)}{label};")
    return "\n".join([*text, "}"]) + "\n"
