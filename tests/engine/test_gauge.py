"""The window that follows a vLLM server's own figures: by table, and over a real socket."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest

from chainette.engine.gauge import MISSES, Gauge, Reading, attend, read
from chainette.engine.pace import Pace
from chainette.engine.scripted import Script, scripted_server
from chainette.specs import SamplingParams
from tests.engine.conftest import ask

PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 12.0
vllm:num_requests_running{engine="1",model_name="a } b"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 4.0
"""


def test_running_and_waiting_are_added_up_over_the_servers_engines():
    assert read(PAGE) == Reading(15, 4)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>not found</html>",
        b"vllm:num_requests_running 3\n",
        b"vllm:num_requests_running NaNs\nvllm:num_requests_waiting 1\n",
        b"vllm:num_requests_running{} +Inf\nvllm:num_requests_waiting{} 1\n",
        b"vllm:num_requests_running\nvllm:num_requests_waiting\n",
    ],
)
def test_a_page_that_does_not_tell_is_no_reading(page):
    assert read(page) is None


@pytest.mark.parametrize(
    ("window", "running", "waiting", "full", "then"),
    [
        (64, 64, 0, True, 80),  # all of them run: there may be room for more
        (64, 20, 0, False, 64),  # rows are scarce
        (1, 1, 0, True, 2),
        (70, 56, 14, True, 70),  # a queue as it should be
        (70, 68, 2, True, 70),
        (200, 56, 144, True, 200),  # too long, but seen for the first time
        (4096, 4096, 0, True, 4096),
    ],
)
def test_one_look(window, running, waiting, full, then):
    assert Gauge(window).look(Reading(running, waiting), full) == then


def test_a_queue_that_stays_too_long_is_made_shorter_step_by_step():
    gauge = Gauge(400)
    windows = [gauge.look(Reading(64, gauge.window - 64), True) for _ in range(60)]
    assert windows[:3] == [400, 400, 400]
    assert windows == sorted(windows, reverse=True)
    assert all(before - after <= 80 for before, after in pairwise(windows))
    assert 64 + 2 < windows[-1] <= 64 + 2 * 16


def test_while_the_server_fills_the_queue_is_left_alone():
    gauge = Gauge(400)
    assert {gauge.look(Reading(running, 400 - running), True) for running in range(10, 200, 10)} == {400}


@pytest.mark.parametrize("capacity", [1, 8, 100, 1_000])
def test_wherever_it_begins_it_ends_with_a_short_queue(capacity):
    for window in (1, 128, 2_000):
        gauge = Gauge(window)
        for _ in range(120):
            gauge.look(Reading(min(capacity, gauge.window), max(0, gauge.window - capacity)), True)
        waiting = gauge.window - capacity
        assert 0 < waiting <= 2 * max(2, capacity // 4)


@pytest.mark.anyio
async def test_the_window_follows_a_servers_slots(connect, until):
    with scripted_server(Script(slots=24, service_mean_s=0.005)) as server:
        engine = connect(server.url, backend="vllm", vllm_args={"max_num_seqs": 4})
        prepared = engine.prepare(None, SamplingParams())
        seen: list[int] = []
        engine.follow(lambda: seen.append(engine.window))
        assert engine.window == 6

        async def caller(number: int) -> None:
            for turn in range(10**6):
                await engine.call(prepared, ask(f"{number} {turn}"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.attend)
            for number in range(64):
                tasks.start_soon(caller, number)
            await until(lambda: engine.window > 24)
            tasks.cancel_scope.cancel()
    assert seen == sorted(seen)
    assert 24 < seen[-1] <= 32


@pytest.mark.anyio
async def test_nobody_looks_where_the_window_was_said(connect):
    engine = connect("http://nobody.invalid/v1", backend="vllm", max_concurrency=3)
    await engine.attend()
    assert engine.window == 3


@pytest.mark.anyio
async def test_a_server_that_does_not_tell_is_asked_a_few_times_only():
    asked = 0

    async def nothing() -> bytes | None:
        nonlocal asked
        asked += 1
        return None

    pace = Pace(16)
    await attend(nothing, pace, look_s=0, first_looks_s=0)
    assert (asked, pace.window) == (MISSES, 16)
