"""The outline in `graph.json` walked: what follows what, and what lies inside what. Knows its shape, no nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LOOPS = ("while_loop", "scan")
"""Control flow into whose body rows go turn by turn."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands."""

    before: str | None
    """The node whose rows enter this one; None at the start of the chain."""
    inside: tuple[str, ...]
    """The control flow in whose ways it lies, the outermost first."""


def flat(items: object) -> Iterator[str | dict[str, Any]]:
    """A sequence's node ids, groups and control flow, those of the chains inside it in their place."""
    for item in items if isinstance(items, list | tuple) else []:
        if isinstance(item, dict) and "branches" not in item and "compound" not in item:
            yield from flat(item.get("items"))
        elif isinstance(item, str | dict):
            yield item


def ways_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The branches of a group, or the ways of control flow."""
    return list(item.get("ways" if "compound" in item else "branches") or [])


def end_of(item: str | dict[str, Any], before: str | None) -> str | None:
    """The node whose rows go on after an item; a group without a join ends where it began."""
    if isinstance(item, str):
        return item
    return item.get("compound") or item.get("join") or before


def last_node(items: object, before: str | None = None) -> str | None:
    """The node that a sequence ends with."""
    for item in flat(items):
        before = end_of(item, before)
    return before


def places(outline: object) -> dict[str, Place]:
    """Every node's place, in the order of the outline."""
    return dict(_placed(outline, None, ()))


def _placed(items: object, before: str | None, inside: tuple[str, ...]) -> Iterator[tuple[str, Place]]:
    for item in flat(items):
        if isinstance(item, str):
            yield item, Place(before, inside)
        else:
            id = item.get("compound")
            head, around = (before, inside) if id is None else (str(id), (*inside, str(id)))
            if id is not None:
                yield str(id), Place(before, inside)
            for way in ways_of(item):
                yield from _placed(way.get("items"), head, around)
            if id is None and item.get("join") is not None:
                yield str(item["join"]), Place(before, inside)
        before = end_of(item, before)
