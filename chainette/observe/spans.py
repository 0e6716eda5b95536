"""Stretches of time as sorted arrays: put together, cut with one another, added up. Knows not what they are of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches that neither touch nor overlap, in order."""

    starts: Floats
    ends: Floats

    @classmethod
    def of(cls, starts: Any, ends: Any) -> Spans:
        """Of stretches in any order that may overlap; those that do not last are left out."""
        import numpy as np

        return _covered(np.asarray(starts, np.float64), np.asarray(ends, np.float64), 1)

    @classmethod
    def pairs(cls, pairs: Iterable[tuple[float, float]]) -> Spans:
        listed = list(pairs)
        return cls.of([start for start, _ in listed], [end for _, end in listed])

    @property
    def seconds(self) -> float:
        return float((self.ends - self.starts).sum())

    def __len__(self) -> int:
        return len(self.starts)

    def __or__(self, other: Spans) -> Spans:
        return _covered(*_both(self, other), 1)

    def __and__(self, other: Spans) -> Spans:
        return _covered(*_both(self, other), 2)

    def __sub__(self, other: Spans) -> Spans:
        import numpy as np

        outside = Spans(np.append(-np.inf, other.ends), np.append(other.starts, np.inf))
        return self & outside


def _both(a: Spans, b: Spans) -> tuple[Floats, Floats]:
    import numpy as np

    return np.concatenate((a.starts, b.starts)), np.concatenate((a.ends, b.ends))


def _covered(starts: Floats, ends: Floats, times: int) -> Spans:
    """Where at least so many of the stretches are."""
    import numpy as np

    lasting = ends > starts
    starts, ends = np.sort(starts[lasting]), np.sort(ends[lasting])
    if times == 1 and len(starts):
        # Sorted apart, the n-th end is before the next start exactly where nothing is covered between them.
        gaps = np.flatnonzero(starts[1:] > ends[:-1])
        return Spans(starts[np.append(0, gaps + 1)], ends[np.append(gaps, len(ends) - 1)])
    points = np.concatenate((starts, ends))
    steps = np.concatenate((np.ones(len(starts), np.int64), np.full(len(ends), -1, np.int64)))
    # At one moment what begins comes first, so that stretches that touch are one.
    order = np.lexsort((-steps, points))
    points, level = points[order], np.cumsum(steps[order])
    covered = level >= times
    before = np.append(False, covered[:-1])
    found_starts, found_ends = points[covered & ~before], points[before & ~covered]
    lasts = found_ends > found_starts
    return Spans(found_starts[lasts], found_ends[lasts])
