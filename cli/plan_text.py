"""A plan as text: stages, who is on which devices, what is loaded and what rests. Knows only the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.cli.wording import Glyphs

_NAMES = 6
"""Nodes of a stage that are named; the others are counted."""
_WIDE = 32


def plan_lines(plan: dict[str, Any], nodes: list[dict[str, Any]], signs: Glyphs) -> list[Text]:
    """Nothing for a plan of one stage that has no devices: there is nothing to know."""
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import counted

    stages = plan["stages"]
    if len(stages) < 2 and not any(stage["placements"] for stage in stages):
        return []
    counts = f"  {counted(len(stages), 'stage')}, {counted(plan['total_loads'], 'load')}"
    lines = [line(("plan", NAME), counts)]
    kinds = {node["id"]: node["kind"] for node in nodes}
    named = [_named([id for id in stage["nodes"] if kinds.get(id) in ("step", "apply")], signs) for stage in stages]
    wide = min(_WIDE, max(map(len, named)))
    for number, (stage, names) in enumerate(zip(stages, named, strict=True), 1):
        title = (f"  stage {number}  ", QUIET)
        lines.append(line(title, (f"{names:<{wide}}", NAME), f"  {_said(stage, plan['shares'])}"))
    return lines


def _named(ids: list[str], signs: Glyphs) -> str:
    from chainette.cli.wording import one_line

    shown = [one_line(id) for id in ids[:_NAMES]]
    if len(ids) > _NAMES:
        shown.append(f"{signs.more} {len(ids) - _NAMES} more")
    return ", ".join(shown)


def _said(stage: dict[str, Any], shares: dict[str, float]) -> str:
    """`llama3 stays on gpu 0 (0.4); load big on gpu 1 (0.9); small rests: …`"""
    from chainette.cli.wording import one_line

    stay = [at for name, at in _places(stage, shares) if name not in stage["loads"]]
    load = [at for name, at in _places(stage, shares) if name in stage["loads"]]
    parts = []
    if load:
        parts.append(f"load {', '.join(load)}")
    if stay:
        parts.append(f"{', '.join(stay)} {'stays' if len(stay) == 1 else 'stay'}")
    if stage.get("barrier"):
        parts.insert(0, f"{one_line(stage['barrier'])} waits for all rows before it")
    why = one_line(stage["why"])
    if stage["rests"]:
        rests = stage["rests"]
        parts.append(f"{', '.join(map(one_line, rests))} {'rests' if len(rests) == 1 else 'rest'}: {why}")
    elif why:
        parts.append(why)
    return "; ".join(parts)


def _places(stage: dict[str, Any], shares: dict[str, float]) -> list[tuple[str, str]]:
    """(engine, where it is): `big x2 on gpu 0+1, 2+3 (0.9)` is two replicas of two devices each."""
    from chainette.cli.wording import one_line

    found = []
    for name, replicas in stage["placements"].items():
        times = f" x{len(replicas)}" if len(replicas) > 1 else ""
        gpus = ", ".join("+".join(map(str, devices)) for devices in replicas)
        found.append((name, f"{one_line(name)}{times} on gpu {gpus} ({shares[name]:g})"))
    return found
