"""Where rows go that lost their server: sent apart from others until it is known which of them, if any, kills servers.

First one alone, then, as long as all goes well, in groups that double; after a death one alone again. Knows no servers.
"""

from __future__ import annotations

from collections import deque

import anyio


class Ward:
    """The rows of one engine and event loop that saw a death."""

    def __init__(self) -> None:
        self.inside = 0
        self._size = 1
        self._queue: deque[anyio.Event] = deque()

    @property
    def empty(self) -> bool:
        return not self.inside and not self._queue

    async def enter(self) -> None:
        """First come, first served. A row that comes again waits behind all others: one that kills servers, tried over
        and over, would make it look as if the engine were broken.
        """
        if self.inside < self._size and not self._queue:
            self.inside += 1
            return
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.inside -= 1
                self._admit()
            else:
                self._queue.remove(turn)
            raise

    def leave(self, *, died: bool) -> None:
        self.inside -= 1
        self._size = 1 if died else self._size * 2
        self._admit()
        if self.empty:
            self._size = 1

    def _admit(self) -> None:
        while self._queue and self.inside < self._size:
            self._queue.popleft().set()
            self.inside += 1
