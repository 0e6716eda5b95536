from __future__ import annotations

import anyio

from chainette.executor.lane import Lane


def lane():
    """Nodes 1, 2 and 3; 3 lies deepest, 1 has priority 5."""
    return Lane("engine", [(1, 5, 1), (2, 0, 2), (3, 0, 3)])


def test_higher_priority_goes_first_then_the_deeper_step_then_the_older_row():
    waiting = lane()
    for node, job in ((2, "a"), (3, "b"), (2, "c"), (1, "d"), (3, "e")):
        waiting.put(node, job)
    assert [waiting.take() for _ in range(6)] == ["d", "b", "e", "a", "c", None]
    assert waiting.waiting == 0


def test_a_worker_that_waits_is_woken_by_a_row_and_by_the_end():
    async def main():
        waiting, seen = lane(), []

        async def work():
            while not waiting.closed:
                await waiting.more()
                seen.append(waiting.take())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            waiting.put(1, "row")
            await anyio.wait_all_tasks_blocked()
            waiting.close()
        return seen

    assert anyio.run(main) == ["row", None]


def test_a_closed_lane_gives_nothing_more():
    waiting = lane()
    waiting.put(1, "row")
    waiting.close()
    assert waiting.take() is None
