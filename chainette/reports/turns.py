"""A row's stops in the order in which it made them: in a loop turn by turn. Knows only what the stops say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from chainette.reports.sight import Turns, turns_of

Stop = dict[str, Any]
_RECORDS = ("rows", "failures", "calls")


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a turn begins."""

    loop: str
    number: int
    """0 for what does not say its turn."""

    @property
    def words(self) -> str:
        return f"{self.loop}, turn {self.number}" if self.number else f"{self.loop}, in a turn that is not known"


def in_turns(stops: list[Stop]) -> Iterator[Stop | Turn]:
    """The stops with those in a loop taken apart: for each of its turns what a stop has of that turn.

    A row that took no turn in a loop leaves it out. Of a stop's calls, rows and failures each comes once.
    """
    yield from _sequence(stops, ())


def _sequence(stops: list[Stop], turn: Turns) -> Iterator[Stop | Turn]:
    depth = len(turn)
    for loop, group in groupby(stops, key=lambda stop: (*(stop.get("loops") or []), None)[depth : depth + 1][0]):
        inside = list(group)
        if loop is None:
            yield from (_of_turn(stop, turn) for stop in inside) if turn else inside
            continue
        for number in _numbers(inside, turn):
            here = (*turn, number)
            yield Turn(loop, number)
            yield from (
                stop for stop in _sequence(inside, here) if isinstance(stop, Turn) or any(stop[k] for k in _RECORDS)
            )


def _numbers(stops: list[Stop], turn: Turns) -> list[int]:
    depth = len(turn)
    found = {_padded(record)[: depth + 1] for stop in stops for kind in _RECORDS for record in stop[kind]}
    return sorted(number for *before, number in found if tuple(before) == turn)


def _of_turn(stop: Stop, turn: Turns) -> Stop:
    depth = len(turn)
    part = {kind: [record for record in stop[kind] if _padded(record)[:depth] == turn] for kind in _RECORDS}
    prompts = [prompt for prompt in stop.get("prompts", []) if tuple(prompt.get("turn", ())) == turn]
    kept = {name: value for name, value in stop.items() if name != "prompt"}
    return {**kept, **part, **({"prompt": prompts[0]} if prompts else {})}


def _padded(record: dict[str, Any]) -> Turns:
    return (*turns_of(record), *(0,) * 32)
