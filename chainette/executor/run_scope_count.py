"""What becomes of input rows whose descendants end in several chunks: each is counted once.

Knows positions of input rows, not what the rows are. 5 bytes of memory for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from chainette.events import RunCount
from chainette.executor.flow import Flow
from chainette.rows import Row

if TYPE_CHECKING:
    import numpy.typing as npt

_FAILED, _REACHED = 1, 2


class Tally:
    """The input rows of a run with barriers. Chunks are counted one after the other, when all rows have been dealt."""

    def __init__(self, rows: int) -> None:
        import numpy as np

        self._left = np.ones(rows, np.uint32)
        """Places at which something of the row may still end: its own chunk, and where rows of it were dealt to."""
        self._seen = bytearray(rows)

    def deal(self, origins: npt.NDArray[Any]) -> None:
        """Rows that come from these input rows were dealt; -1 stands for a new row."""
        import numpy as np

        np.add.at(self._left, origins[origins >= 0], 1)

    def count(self, flow: Flow, final: Iterable[Row], count: RunCount) -> None:
        """Puts right what the chunk adds to the numbers of input rows."""
        origins = flow.origins
        first, own = flow.inputs.first, range(len(flow.inputs.ids))
        failed = {order[0] for found in flow.failures for order, _ in found}
        count.rows_failed = sum(self._mark(origins.get(order, order), _FAILED) for order in failed)
        for row in final:
            self._mark(origins.get(row.order[0], row.order[0]), _REACHED)
        ended = [*(first + position for position in own), *origins.values()]
        count.rows_dropped = sum(self._leave(position) for position in ended)

    def _mark(self, position: int, what: int) -> bool:
        """Whether that is news. A new row stands for itself."""
        if not 0 <= position < len(self._seen):
            return True
        known = self._seen[position]
        self._seen[position] = known | what
        return not known & what

    def _leave(self, position: int) -> bool:
        """Whether the row is over now, and nothing came of it."""
        if position < 0:
            return False
        self._left[position] -= 1
        return not self._left[position] and not self._seen[position]
