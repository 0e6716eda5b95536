"""Turns cut where rows wait for the whole run: what comes after such a border is in a later stage than all before it.

Knows steps and engines as bits, neither devices nor graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainette.plan.order import Turn
from chainette.plan.work import Work, bits


@dataclass(frozen=True, slots=True)
class Part:
    """One stage to be: what of a turn lies in one segment."""

    segment: int
    resident: int
    steps: int
    """What is done in it, as bits."""


def parts_of(turns: Sequence[Turn], work: Work, segments: Sequence[int], count: int) -> list[Part]:
    """The turns in order, each cut at the borders that it spans; a segment without steps has a part of its own.

    `segments` are the steps' own, of `count` there are. No engine gives up its place at a border within a turn, and
    none is loaded before the part that needs it, so there are as many loads as before.
    """
    parts: list[Part] = []
    done = 0
    for turn in turns:
        steps = turn.done & ~done
        here = sorted({segments[step] for step in bits(steps)})
        for segment in here:
            parts += _without_steps(parts, segment, done, work)
            own = sum(1 << step for step in bits(steps) if segments[step] == segment)
            done |= own
            resident = turn.resident if len(here) == 1 else turn.resident & (_kept(parts) | _needed(work, own))
            parts.append(Part(segment, resident, own))
    return [*parts, *_without_steps(parts, count, done, work)]


def _without_steps(parts: Sequence[Part], until: int, done: int, work: Work) -> list[Part]:
    """A part for each segment between the last and `until`; who is needed again stays where it is."""
    first = parts[-1].segment + 1 if parts else 0
    return [Part(segment, _kept(parts) & work.needed(done), 0) for segment in range(first, until)]


def _kept(parts: Sequence[Part]) -> int:
    return parts[-1].resident if parts else 0


def _needed(work: Work, steps: int) -> int:
    found = 0
    for step in bits(steps):
        found |= work.engines[step]
    return found
