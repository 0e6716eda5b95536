"""Rows that lost their server are tried in the order they came, one alone first."""

import anyio
import pytest

from chainette.engine.ward import Ward


@pytest.mark.anyio
async def test_a_row_that_killed_a_server_comes_again_only_after_those_that_wait():
    ward = Ward()
    tried: list[str] = []

    async def row(name: str, deaths: int) -> None:
        for died in [True] * deaths + [False]:
            await ward.enter()
            tried.append(name)
            ward.leave(died=died)

    await ward.enter()
    async with anyio.create_task_group() as tasks:
        for name, deaths in (("poison", 2), ("good 1", 0), ("good 2", 0)):
            tasks.start_soon(row, name, deaths)
        await anyio.wait_all_tasks_blocked()
        ward.leave(died=True)
    assert tried == ["poison", "good 1", "good 2", "poison", "poison"]
    assert ward.empty


@pytest.mark.anyio
async def test_a_row_that_is_cancelled_while_it_waits_leaves_the_queue():
    ward = Ward()
    entered: list[str] = []

    async def row(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await ward.enter()
            entered.append(name)
            ward.leave(died=True)

    await ward.enter()
    scopes = {name: anyio.CancelScope() for name in "abc"}
    async with anyio.create_task_group() as tasks:
        for name, scope in scopes.items():
            tasks.start_soon(row, name, scope)
        await anyio.wait_all_tasks_blocked()
        scopes["b"].cancel()
        await anyio.wait_all_tasks_blocked()
        ward.leave(died=True)
    assert entered == ["a", "c"]
    assert ward.empty
