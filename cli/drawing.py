"""A graph's outline as lines of a tree. Knows the outline's shape, not the graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chainette.cli.wording import Glyphs, one_line


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of a drawn graph: a node when `node` is set, else the head of a branch or a remark."""

    prefix: str
    node: str | None
    text: str
    before: str | None = None
    """The node whose rows enter this one; None at the start of the chain."""


def tree_lines(outline: object, glyphs: Glyphs, max_branches: int | None = None) -> list[TreeLine]:
    """The outline from top to bottom, at most `max_branches` branches of each group."""
    return list(_sequence(outline, glyphs, max_branches, "", None))


def flat(items: object) -> Iterator[str | dict[str, Any]]:
    """A sequence's node ids and groups, those of the chains inside it in their place."""
    for item in items if isinstance(items, list | tuple) else []:
        if isinstance(item, dict) and "branches" not in item:
            yield from flat(item.get("items"))
        elif isinstance(item, str | dict):
            yield item


def _sequence(items: object, glyphs: Glyphs, most: int | None, prefix: str, before: str | None) -> Iterator[TreeLine]:
    for item in flat(items):
        if isinstance(item, str):
            yield TreeLine(prefix, item, one_line(item), before)
            before = item
        else:
            yield from _group(item, glyphs, most, prefix, before)
            before = item.get("join") or before


def _group(
    group: dict[str, Any], glyphs: Glyphs, most: int | None, prefix: str, before: str | None
) -> Iterator[TreeLine]:
    branches = list(group.get("branches") or [])
    join = group.get("join")
    shown = branches if most is None else branches[: max(most, 0)]
    hidden = len(branches) - len(shown)
    for position, branch in enumerate(shown):
        last = join is None and not hidden and position == len(shown) - 1
        name, alias = str(branch.get("name", "")), branch.get("alias")
        title = name if not alias or alias == name else f"{name} (as {alias})"
        yield TreeLine(f"{prefix}{glyphs.last if last else glyphs.branch} ", None, one_line(title), before)
        inside = prefix + (" " * (len(glyphs.pipe) + 1) if last else f"{glyphs.pipe} ")
        yield from _sequence(branch.get("items"), glyphs, most, inside, before)
    if hidden:
        corner = glyphs.last if join is None else glyphs.branch
        yield TreeLine(f"{prefix}{corner} ", None, f"{glyphs.more} and {hidden} more", before)
    if join is not None:
        yield TreeLine(f"{prefix}{glyphs.joined} ", join, one_line(join), before)


@dataclass(frozen=True, slots=True)
class Arrow:
    """Rows go from one node to another; `start` is None where they come from the input."""

    start: str | None
    end: str
    label: str = ""


def arrows(outline: object, before: str | None = None, label: str = "") -> list[Arrow]:
    """Every way that rows take, labelled with the branch they enter or the alias they bring to a join."""
    found: list[Arrow] = []
    for item in flat(outline):
        if isinstance(item, str):
            found.append(Arrow(before, item, label))
            before, label = item, ""
        else:
            found += _group_arrows(item, before, label)
            before, label = item.get("join") or before, ""
    return found


def _group_arrows(group: dict[str, Any], before: str | None, label: str) -> list[Arrow]:
    found: list[Arrow] = []
    join = group.get("join")
    ends: list[tuple[str | None, str]] = []
    for branch in group.get("branches") or []:
        name = str(branch.get("name", ""))
        inside = arrows(branch.get("items"), before, name)
        found += inside
        if branch.get("alias"):
            ends.append((last_node(branch.get("items"), before), str(branch["alias"])))
    if join is not None:
        found.append(Arrow(before, join, label))
        found += [Arrow(end, join, alias) for end, alias in ends]
    return found


def last_node(items: object, before: str | None = None) -> str | None:
    """The node that a sequence ends with; a group without a join ends where it began."""
    for item in flat(items):
        before = item if isinstance(item, str) else item.get("join") or before
    return before


def mermaid(title: str, nodes: dict[str, tuple[str, str]], ways: list[Arrow]) -> str:
    """A Mermaid flowchart of `nodes`, id -> (kind, label)."""
    keys = {node_id: f"n{position}" for position, node_id in enumerate(nodes)}
    shapes = {"apply": ('("', '")'), "join": ('{{"', '"}}')}

    def quoted(text: str) -> str:
        return one_line(text).replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")

    text = ["---", f"title: {json.dumps(one_line(title), ensure_ascii=False)}", "---", "flowchart TD"]
    text.append('    input(["input"])')
    for node_id, (kind, label) in nodes.items():
        left, right = shapes.get(kind, ('["', '"]'))
        text.append(f"    {keys[node_id]}{left}{quoted(label)}{right}")
    for way in ways:
        start = "input" if way.start is None else keys[way.start]
        middle = f'-->|"{quoted(way.label)}"|' if way.label else "-->"
        text.append(f"    {start} {middle} {keys[way.end]}")
    return "\n".join(text) + "\n"


def dot(title: str, nodes: dict[str, tuple[str, str]], ways: list[Arrow]) -> str:
    """A Graphviz digraph of `nodes`, id -> (kind, label)."""
    shapes = {"apply": "box, style=rounded", "join": "hexagon"}

    def quoted(text: str) -> str:
        return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = [f"digraph {quoted(title)} {{", "    rankdir=TB;", "    node [fontname=sans];", "    edge [fontname=sans];"]
    text.append('    ":input" [label="input", shape=oval];')
    text += [
        f"    {quoted(node_id)} [label={quoted(label)}, shape={shapes.get(kind, 'box')}];"
        for node_id, (kind, label) in nodes.items()
    ]
    for way in ways:
        start = '":input"' if way.start is None else quoted(way.start)
        label = f" [label={quoted(way.label)}]" if way.label else ""
        text.append(f"    {start} -> {quoted(way.end)}{label};")
    return "\n".join([*text, "}"]) + "\n"
