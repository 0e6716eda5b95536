"""When calls are sent: one window, one allowance and one `Retry-After` for all of an engine's."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from chainette.engine import CallError
from chainette.engine.pace import Gate, Pace
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.specs import SamplingParams
from tests.engine.conftest import ask

pytestmark = pytest.mark.anyio


class Time:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def pace(self, window: int, **limits: float) -> Pace:
        return Pace(window, now_s=self, sleep=self.sleep, **limits)  # type: ignore[arg-type]

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock():
    return Time()


async def sent_by(pace: Pace, clock: Time, calls: int, tokens: float = 0) -> list[float]:
    """When each of so many calls was sent, seconds from now; each is answered at once."""
    began_s, sent = clock.now_s, []

    async def call(gate: Gate) -> None:
        if not gate.enters():
            await gate.turn(tokens)
        sent.append(clock.now_s - began_s)
        gate.leave()

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(call, pace.gate())
    return sent


async def test_no_minute_has_more_requests_than_the_endpoint_allows(clock):
    sent = await sent_by(clock.pace(64, requests_per_minute=30), clock, 100)
    assert len(sent) == 100
    assert max(sum(begin <= at <= begin + 60 for at in sent) for begin in sent) <= 30


async def test_no_minute_has_more_tokens_than_the_endpoint_allows(clock):
    sent = await sent_by(clock.pace(64, tokens_per_minute=1_000), clock, 50, tokens=90)
    assert max(sum(begin <= at <= begin + 60 for at in sent) for begin in sent) * 90 <= 1_000


async def test_tokens_that_were_not_needed_let_the_next_call_go_at_once():
    """Only `settle` may wake the second call: its own wait would never end."""
    clock = Time()
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.sleep_forever()

    pace = Pace(8, tokens_per_minute=6_000, now_s=clock, sleep=sleep)
    gate = pace.gate()
    first = await gate.turn(5_000)
    assert first is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.turn, 5_000)
        await anyio.wait_all_tasks_blocked()
        assert (gate.in_flight, waits) == (1, [pytest.approx(60.05)])
        with anyio.fail_after(5):
            pace.settle(first, 100, 50)
            while gate.in_flight < 2:
                await anyio.lowlevel.checkpoint()


async def test_no_minute_has_more_tokens_than_allowed_when_some_are_given_back(clock):
    async def sleep(seconds: float) -> None:
        end_s = clock.now_s + seconds
        while clock.now_s < end_s:
            clock.now_s = min(end_s, clock.now_s + 0.1)
            await anyio.lowlevel.checkpoint()

    pace, spent = Pace(64, tokens_per_minute=1_000, now_s=clock, sleep=sleep), []
    gate = pace.gate()

    async def call() -> None:
        taken = await gate.turn(400)
        spent.append(clock.now_s)
        await anyio.lowlevel.checkpoint()
        pace.settle(taken, 60)
        gate.leave()

    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(call)
    assert max(sum(begin <= at <= begin + 60 for at in spent) for begin in spent) * 60 <= 1_000
    assert spent[-1] - spent[0] < 60 * 60 / 1_000 * 60 * 1.5


async def test_the_window_lets_in_the_next_when_one_leaves():
    pace = Pace(2)
    gate = pace.gate()
    assert [gate.enters() for _ in range(3)] == [True, True, False]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.turn, 0)
        await anyio.wait_all_tasks_blocked()
        assert gate.in_flight == 2
        gate.leave()
    assert gate.in_flight == 2


async def test_who_came_first_is_sent_first_and_nobody_overtakes():
    pace, order = Pace(1), []
    gate = pace.gate()
    assert gate.enters()

    async def call(name: int) -> None:
        assert not gate.enters()
        await gate.turn(0)
        order.append(name)
        gate.leave()

    async with anyio.create_task_group() as tasks:
        for name in range(5):
            tasks.start_soon(call, name)
            await anyio.wait_all_tasks_blocked()
        gate.leave()
    assert order == [0, 1, 2, 3, 4]
    assert gate.in_flight == 0


async def test_a_call_that_gives_up_waiting_leaves_its_place():
    pace = Pace(1)
    gate = pace.gate()
    gate.enters()
    with anyio.move_on_after(0.01):
        await gate.turn(0)
    gate.leave()
    assert (gate.in_flight, gate.enters()) == (0, True)


async def test_a_larger_window_lets_in_those_who_wait():
    pace = Pace(1)
    gate = pace.gate()
    gate.enters()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.turn, 0)
        await anyio.wait_all_tasks_blocked()
        pace.become(2)
    assert gate.in_flight == 2


async def test_each_change_of_the_window_is_told_once():
    pace, told = Pace(10, judges=True), []
    changed = lambda: told.append(pace.window)  # noqa: E731
    pace.follow(changed)
    pace.follow(changed)
    for number in range(1, 11):
        pace.refused(number, 10, 10, None)
    assert told == sorted(set(told), reverse=True)
    assert told[-1] == pace.window < 10


async def test_what_knows_the_server_does_not_speak_against_its_refusals():
    pace = Pace(10)
    pace.become(20)
    for number in range(1, 9):
        pace.refused(number, 20, 20, None)
    pace.become(40)
    assert pace.window < 20


async def test_after_retry_after_nobody_is_sent_before_its_time(clock):
    pace = clock.pace(100)
    pace.refused(1, 1, 50, 7.0)
    assert min(await sent_by(pace, clock, 20)) == pytest.approx(7.0)
    assert pace.gate().enters()


async def test_the_longest_retry_after_counts(clock):
    pace = clock.pace(100)
    pace.refused(1, 2, 50, 7.0)
    pace.refused(2, 2, 50, 3.0)
    assert min(await sent_by(pace, clock, 3)) == pytest.approx(7.0)


async def all_answered(engine: Any, prompts: int) -> list[Any]:
    """Answers and errors of so many calls at once."""
    prepared = engine.prepare(None, SamplingParams())
    outcomes: list[Any] = []

    async def call(number: int) -> None:
        try:
            outcomes.append(await engine.call(prepared, ask(f"prompt {number}")))
        except CallError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(prompts):
            tasks.start_soon(call, number)
    return outcomes


async def test_a_storm_of_429_shrinks_the_window_and_costs_no_row(connect):
    with scripted_server(Script(most_in_flight=8, service_mean_s=0.002)) as server:
        engine = connect(server.url, max_concurrency=128, retry_wait_s=0.001)
        outcomes = await all_answered(engine, 600)
        assert not [outcome for outcome in outcomes if isinstance(outcome, CallError)]
        assert server.stats.answered == 600
        assert engine.window < 32


async def test_when_the_storm_is_over_the_window_recovers(connect):
    with scripted_server(Script(service_mean_s=0.001, faults=[Fault(kind="refuse", attempts=1)])) as server:
        engine = connect(server.url, max_concurrency=32)
        await all_answered(engine, 32)
        low = engine.window
        assert low < 20
        for _ in range(30):
            await all_answered(engine, 64)
        assert engine.window > low


async def test_one_window_holds_for_first_tries_and_retries(connect):
    with scripted_server(
        Script(service_mean_s=0.002, faults=[Fault(kind="refuse", status=500, share=0.5, attempts=1)])
    ) as server:
        engine = connect(server.url, max_concurrency=4)
        await all_answered(engine, 60)
        assert server.stats.in_flight_max <= 4


async def test_a_refusal_with_retry_after_holds_back_the_calls_of_others(connect):
    fault = Fault(kind="refuse", containing="unlucky", attempts=1, retry_after_s=60)
    with scripted_server(Script(faults=[fault])) as server:
        engine = connect(server.url)
        prepared = engine.prepare(None, SamplingParams())
        with pytest.raises(CallError, match="no time is left"):
            await engine.call(prepared, ask("unlucky"), 5)
        with pytest.raises(CallError, match="within the row's time") as late:
            await engine.call(prepared, ask("another"), 0.05)
        assert (late.value.kind, late.value.sent) == ("timeout", 0)
        assert server.stats.calls == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 418, 422, 451])
async def test_what_no_second_try_can_help_is_sent_once(connect, status):
    with scripted_server(Script(faults=[Fault(kind="refuse", status=status, retry_after_s=0)])) as server:
        engine = connect(server.url)
        with pytest.raises(Exception, match=f"answered {status}|declined"):
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
        assert server.stats.calls == 1
        assert engine.window == 128


async def test_requests_per_minute_hold_over_all_prepared_steps(connect):
    with scripted_server(Script()) as server:
        engine = connect(server.url, requests_per_minute=2)
        steps = [engine.prepare(None, SamplingParams()), engine.prepare(None, SamplingParams(max_tokens=5))]
        await engine.call(steps[0], ask("a"))
        with pytest.raises(CallError) as late:
            await engine.call(steps[1], ask("b"), 0.05)
        assert "it waited for the engine's requests_per_minute" in str(late.value)
        assert (late.value.kind, late.value.sent, server.stats.calls) == ("timeout", 0, 1)


async def test_a_second_try_takes_of_the_minute_too(connect):
    with scripted_server(Script(faults=[Fault(kind="refuse", status=500, attempts=1)])) as server:
        engine = connect(server.url, requests_per_minute=1)
        with pytest.raises(CallError) as late:
            await engine.call(engine.prepare(None, SamplingParams()), ask("a"), 0.05)
        assert (late.value.kind, late.value.sent, server.stats.calls) == ("timeout", 1, 1)


async def test_tokens_per_minute_hold_before_a_request_is_sent(connect):
    with scripted_server(Script(answers={"a": "one two three"})) as server:
        engine = connect(server.url, tokens_per_minute=1_000)
        prepared = engine.prepare(None, SamplingParams(max_tokens=600))
        await engine.call(prepared, ask("a"))
        await engine.call(prepared, ask("a"))  # the first took three tokens in the end, not 600
        with pytest.raises(CallError, match="waited for the engine's tokens_per_minute"):
            await engine.call(engine.prepare(None, SamplingParams(max_tokens=5_000)), ask("a"), 0.05)
        assert server.stats.calls == 2


async def test_where_no_tokens_are_told_the_guess_counts(connect):
    fault = Fault(kind="refuse", status=500, attempts=1)
    with scripted_server(Script(faults=[fault])) as server:
        engine = connect(server.url, tokens_per_minute=1_000)
        with pytest.raises(CallError) as late:
            await engine.call(engine.prepare(None, SamplingParams(max_tokens=900)), ask("a"), 0.05)
        assert (late.value.kind, server.stats.calls) == ("timeout", 1)


async def test_a_refused_request_takes_no_tokens(connect):
    with scripted_server(Script(faults=[Fault(kind="refuse", attempts=1)])) as server:
        engine = connect(server.url, tokens_per_minute=1_000)
        answer = await engine.call(engine.prepare(None, SamplingParams(max_tokens=900)), ask("a"), 20)
        assert (answer.sent, server.stats.calls) == (2, 2)


async def test_time_spent_waiting_for_ones_turn_is_not_the_requests_own(connect):
    with scripted_server(Script(service_mean_s=0.15)) as server:
        engine = connect(server.url, max_concurrency=1, request_timeout_s=0.4)
        outcomes = await all_answered(engine, 5)  # the last is sent after 0.6 s
        assert not [outcome for outcome in outcomes if isinstance(outcome, CallError)]
