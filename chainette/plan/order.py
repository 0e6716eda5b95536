"""In which turns steps can run so that engines are loaded as few times as possible: a shortest path. Knows neither
devices nor graphs, only which sets of engines fit together.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chainette.plan.work import Line, Work, bits

_EDGES = 1_500
"""Ways to go on that each of the two searches may look at."""
_GREEDY_WAYS = 60


@dataclass(frozen=True, slots=True)
class Turn:
    """One stage to be: engines that are resident in it, and all steps that are done at its end, as bits."""

    resident: int
    done: int


def orders(
    work: Work, fits: Callable[[int], bool], most: int, edges: int = _EDGES
) -> Iterator[tuple[list[Turn], bool]]:
    """Ways to do it, the best first: turns, and whether it is proved that none has fewer loads. At least one.

    `fits` says whether a set of engines (bits) has room together, and what any one step needs has; `most` is a bound on
    how many can be together. An engine that stays resident costs nothing; one that comes, or comes back, costs a load.
    """
    everything = work.needed(0)
    if fits(everything):
        yield [Turn(everything, work.all_done)], True
        return
    most = max(1, most)
    search = _Search(work, fits, most, Line(work, most))
    for few_turns in (True, False):
        turns = search.shortest(edges, few_turns)
        if turns is not None:
            yield turns, True
    yield search.greedy(), False


def loads_of(turns: Sequence[Turn]) -> int:
    """How many engines come in all."""
    residents = [0, *(turn.resident for turn in turns)]
    return sum((now & ~former).bit_count() for former, now in itertools.pairwise(residents))


_Way = tuple[tuple[int, int, int], tuple[tuple[int, ...], ...], int, tuple[int, int], tuple[int, int], tuple[Turn, ...]]
"""What decides which way is followed first (the least it costs in all, then the order of declaration, then of finding),
and then the way itself: what is done and resident, loads and turns so far, the turns."""


@dataclass
class _Search:
    work: Work
    fits: Callable[[int], bool]
    most: int
    line: Line
    needed: dict[int, int] = field(default_factory=dict)

    def shortest(self, edges: int, few_turns: bool) -> list[Turn] | None:
        """A*, with what is still to be loaded at the least as its guide. Without `few_turns` the first way with the
        fewest loads will do. None when more than `edges` steps of a way had to be looked at."""
        work, tie = self.work, itertools.count()
        best: dict[tuple[int, int], tuple[int, int]] = {(0, 0): (0, 0)}
        queue: list[_Way] = [((0, 0, 0), (), next(tie), (0, 0), (0, 0), ())]
        while queue:
            _, names, _, state, cost, trail = heapq.heappop(queue)
            done, resident = state
            if done == work.all_done:
                return list(trail)
            if best[state] < cost:
                continue
            for loaded, kept in self._ways(done, resident):
                edges -= 1
                if edges < 0:
                    return None
                turn = Turn(loaded | kept, work.after(done, loaded | kept))
                after = (turn.done, turn.resident & self._needed(turn.done))
                paid = (cost[0] + loaded.bit_count(), cost[1] + 1)
                if paid < best.get(after, (paid[0] + 1, 0)):
                    best[after] = paid
                    loads, turns = self._bound(*after, *paid)
                    rank = (loads, turns, -paid[1]) if few_turns else (loads, -turn.done.bit_count(), turns)
                    heapq.heappush(queue, (rank, (*names, tuple(bits(loaded))), next(tie), after, paid, (*trail, turn)))
        raise AssertionError("what any step needs fits, so there is a way")

    def greedy(self) -> list[Turn]:
        """Always on by the way that promises the least, without ever going back."""
        done = resident = 0
        turns: list[Turn] = []
        while done != self.work.all_done:
            resident &= self._needed(done)
            ways = itertools.islice(self._ways(done, resident), _GREEDY_WAYS)
            turns.append(min((self._turn(done, loaded | kept, loaded) for loaded, kept in ways), key=_first)[1])
            done, resident = turns[-1].done, turns[-1].resident
        return turns

    def _turn(self, done: int, resident: int, loaded: int) -> tuple[tuple[int, int], Turn]:
        """What it promises, and the turn."""
        turn = Turn(resident, self.work.after(done, resident))
        loads, _ = self._bound(turn.done, resident & self._needed(turn.done), loaded.bit_count(), 0)
        return (loads, -turn.done.bit_count()), turn

    def _bound(self, done: int, resident: int, loads: int, turns: int) -> tuple[int, int]:
        """The least that a way through this state costs in all: what the longest line costs, and one load for each
        other engine that has steps left and is not there."""
        missing = self._needed(done) & ~resident
        more = self.line.loads(done, resident) + (missing & ~self.line.engines(done)).bit_count()
        left = max(-(-missing.bit_count() // self.most), int(done != self.work.all_done))
        return loads + more, turns + left

    def _needed(self, done: int) -> int:
        if done not in self.needed:
            self.needed[done] = self.work.needed(done)
        return self.needed[done]

    def _ways(self, done: int, resident: int) -> Iterator[tuple[int, int]]:
        """(engines to load, engines to keep) for the next turn, in which something is done.

        Only engines are loaded that have something to do in it: others can as well be loaded with the turn after.
        """
        keep = resident & self._needed(done)
        seen, sets = {0}, [0]
        for loaded in sets:
            for engine in bits(self.work.ready(self.work.after(done, keep | loaded)) & ~(keep | loaded)):
                more = loaded | 1 << engine
                if more not in seen and self.fits(more):
                    seen.add(more)
                    sets.append(more)
                    for kept in self._kept(keep, more):
                        if self.work.after(done, more | kept) != done:  # of several that a step needs, all are there
                            yield more, kept

    def _kept(self, keep: int, loaded: int) -> Iterator[int]:
        """The largest sets of `keep` that have room beside `loaded`."""
        found: list[int] = []
        layer = {keep}
        while layer:
            below: set[int] = set()
            for kept in sorted(layer, reverse=True):
                if any(kept & other == kept for other in found):
                    continue
                if self.fits(loaded | kept):
                    found.append(kept)
                    yield kept
                else:
                    below.update(kept & ~(1 << engine) for engine in bits(kept))
            layer = below


def _first(ranked: tuple[tuple[int, int], Turn]) -> tuple[int, int]:
    return ranked[0]
