"""The queue in front of one engine. Knows steps by their position only, and nothing of calls."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio


class Lane:
    """Rows that wait for an engine, two queues per step. Higher priority first, then the step that lies deeper; of a
    step's rows those first that are put ahead."""

    def __init__(self, name: str, steps: list[tuple[int, int, int]]) -> None:
        """`steps` holds (node index, priority, depth) of every step the engine serves."""
        self.name = name
        self.window = 1
        self.running = 0
        self.waiting = 0
        self.closed = False
        self._by_node: dict[int, tuple[deque[Any], deque[Any]]] = {node: (deque(), deque()) for node, _, _ in steps}
        ranked = sorted(steps, key=lambda step: (-step[1], -step[2], step[0]))
        self._ranked = [queue for node, _, _ in ranked for queue in self._by_node[node]]
        self._idle: list[anyio.Event] = []

    def put(self, node: int, job: Any, *, ahead: bool = False) -> None:
        self._by_node[node][0 if ahead else 1].append(job)
        self.waiting += 1
        if self._idle:
            self._idle.pop().set()

    def take(self) -> Any | None:
        """The next job, or None when none waits."""
        if self.closed:
            return None
        for queue in self._ranked:
            if queue:
                self.waiting -= 1
                return queue.popleft()
        return None

    async def more(self) -> None:
        """Waits until a job was put, the lane closed, or `wake` was called."""
        if self.waiting or self.closed:
            return
        event = anyio.Event()
        self._idle.append(event)
        await event.wait()

    def close(self) -> None:
        """No job is taken any more; those that wait stay where they are."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """All who wait look again."""
        while self._idle:
            self._idle.pop().set()
