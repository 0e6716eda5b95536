"""Steps and engines as small integers and sets of them as bits, and the fewest loads that a line of steps can cost.
Knows neither devices nor graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """The steps of a graph in an order in which every one comes after those before it."""

    engines: Sequence[int]
    """Per step the engines that it needs together, as bits; none for one that needs no room. Their numbers are in the
    order of declaration."""
    before: Sequence[int]
    """Per step the set of all steps that must be done or run along with it, as bits."""

    @property
    def all_done(self) -> int:
        return (1 << len(self.engines)) - 1

    def after(self, done: int, resident: int) -> int:
        """What is done once everything has run that can with these engines."""
        for step, engines in enumerate(self.engines):
            if not done >> step & 1 and not engines & ~resident and not self.before[step] & ~done:
                done |= 1 << step
        return done

    def needed(self, done: int) -> int:
        """The engines of steps that are not done."""
        return self._engines(step for step in range(len(self.engines)) if not done >> step & 1)

    def ready(self, done: int) -> int:
        """The engines of steps that could run now."""
        steps = range(len(self.engines))
        return self._engines(s for s in steps if not done >> s & 1 and not self.before[s] & ~done)

    def _engines(self, steps: Iterator[int]) -> int:
        found = 0
        for step in steps:
            found |= self.engines[step]
        return found

    def one_of(self, step: int) -> int:
        """The number of one engine that the step needs, -1 for none."""
        return self.engines[step].bit_length() - 1

    def longest_line(self) -> list[int]:
        """Steps one after the other that change their engine as often as any line of this work does."""
        best: list[tuple[int, int]] = []
        for step in range(len(self.engines)):
            changes, former = 0, -1
            for other in bits(self.before[step]):
                more = best[other][0] + (self.one_of(other) != self.one_of(step))
                if more >= changes:
                    changes, former = more, other
            best.append((changes, former))
        step = max(range(len(best)), key=lambda s: best[s][0], default=-1)
        line: list[int] = []
        while step >= 0:
            line.append(step)
            step = best[step][1]
        return [step for step in reversed(line) if self.engines[step]]


class Line:
    """What the longest line alone costs when at most `most` engines can be resident: less, no order can do. Of a step
    that needs several engines one is counted, so that this holds for it too.

    What is needed again last gives way, which is the best there is for a line.
    Source: https://doi.org/10.1147/sj.52.0078 (Belady's algorithm)
    """

    def __init__(self, work: Work, most: int) -> None:
        steps = work.longest_line()
        self._mask = sum(1 << step for step in steps)
        self._engines = [work.one_of(step) for step in steps]
        self._most = most
        self._known: dict[tuple[int, int], int] = {}
        self._next: list[dict[int, int]] = [{} for _ in range(len(steps) + 1)]
        for position in range(len(steps) - 1, -1, -1):
            self._next[position] = {**self._next[position + 1], self._engines[position]: position}

    def engines(self, done: int) -> int:
        """Those of its steps that are not done."""
        return sum(1 << engine for engine in self._next[(done & self._mask).bit_count()])

    def loads(self, done: int, resident: int) -> int:
        position = (done & self._mask).bit_count()
        trail: list[tuple[tuple[int, int], bool]] = []
        while position < len(self._engines) and (position, resident) not in self._known:
            engine = self._engines[position]
            missing = not resident >> engine & 1
            trail.append(((position, resident), missing))
            if missing and resident.bit_count() >= self._most:
                soon = self._next[position]
                resident &= ~(1 << max(bits(resident), key=lambda e: soon.get(e, len(self._engines))))
            resident |= 1 << engine
            position += 1
        loads = self._known.get((position, resident), 0)
        for state, missing in reversed(trail):
            loads += missing
            self._known[state] = loads
        return loads


def bits(number: int) -> list[int]:
    """The positions of the bits that are set, the lowest first."""
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
