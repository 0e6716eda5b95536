"""The stand-in keeps to its script, in process and over HTTP alike."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import anyio
import orjson
import pytest

from chainette.engine import CallError
from chainette.engine.script import Performance
from chainette.engine.scripted import Fault, Script, ScriptedEngine, scripted_server
from chainette.errors import ChainError, EngineDiedError
from chainette.specs import EngineSpec, SamplingParams
from tests.engine.conftest import SCHEMA, ask, environment

pytestmark = pytest.mark.anyio


def body(text: str) -> bytes:
    return orjson.dumps({"model": "m", "messages": ask(text)})


async def texts_of(engine, prompts):
    prepared = engine.prepare(SCHEMA, SamplingParams())
    return [(await engine.call(prepared, ask(prompt))).choices[0].text for prompt in prompts]


async def test_the_answers_are_the_same_in_process_and_over_http(connect):
    prompts = [f"review {n}" for n in range(5)]
    with scripted_server() as server:
        over_http = await texts_of(connect(server.url), prompts)
    assert await texts_of(ScriptedEngine(), prompts) == over_http
    assert len(set(over_http)) == 5


async def test_n_choices_differ(connect):
    engine = ScriptedEngine()
    answer = await engine.call(engine.prepare(SCHEMA, SamplingParams(n=3)), ask("?"))
    assert len({choice.text for choice in answer.choices}) == 3


async def test_it_counts_what_it_saw():
    engine = ScriptedEngine(script=Script(capture=1, faults=(Fault(kind="refuse", every=3, retry_after_s=0),)))
    prepared = engine.prepare(SCHEMA, SamplingParams())
    for prompt in ("one two", "three", "three"):
        await engine.call(prepared, ask(prompt))
    stats = engine.stats
    assert (stats.calls, stats.answered, stats.prompts, stats.prompt_calls_max) == (4, 3, 2, 3)
    assert stats.statuses == {200: 3, 429: 1}
    assert stats.faults == {"refuse": 1}
    assert stats.prompt_tokens == 4
    assert stats.in_flight == 0
    assert stats.captured[0]["messages"] == ask("three")


def test_requests_beyond_the_slots_wait_for_a_free_one():
    performance = Performance(Script(service_mean_s=1, slots=2))
    waits = [performance.turn(body(str(n)), now_s=10).wait_s for n in range(5)]
    assert waits == [1, 1, 2, 2, 3]
    assert performance.seen().service_s == 5


def test_service_times_are_spread_around_their_mean_and_the_same_in_every_run():
    def times():
        performance = Performance(Script(service_mean_s=0.05, service_sigma=0.6))
        return [performance.turn(body(str(n)), now_s=0).wait_s for n in range(2000)]

    assert times() == times()
    assert 0.047 < sum(times()) / 2000 < 0.053
    assert len(set(times())) == 2000


def test_a_share_of_the_prompts_is_the_same_prompts_in_every_run():
    def refused():
        performance = Performance(Script(faults=(Fault(kind="refuse", share=0.2),)))
        return {n for n in range(1000) if performance.turn(body(str(n)), 0).status == 429}

    assert refused() == refused()
    assert 150 < len(refused()) < 250


async def test_a_fault_can_be_bound_to_a_part_of_the_prompt():
    engine = ScriptedEngine(script=Script(faults=(Fault(kind="blank", containing="kettle"),)))
    assert (await texts_of(engine, ["a kettle"])) == [""]
    assert (await texts_of(engine, ["a lamp"])) != [""]


@pytest.mark.parametrize("kind", ["nonsense", "mismatch", "truncate", "blank"])
async def test_spoilt_answers_do_not_fit_the_schema(kind):
    [text] = await texts_of(ScriptedEngine(script=Script(faults=(Fault(kind=kind),))), ["?"])
    assert not (text.startswith("{") and text.endswith("}"))


async def test_a_dead_engine_stays_dead():
    engine = ScriptedEngine(script=Script(die_after=1))
    prepared = engine.prepare(None, SamplingParams())
    await engine.call(prepared, ask("?"))
    for _ in range(2):
        with pytest.raises(EngineDiedError, match="as its script says"):
            await engine.call(prepared, ask("?"))


async def test_a_cut_in_process_is_retried_and_a_hang_times_out():
    spec = EngineSpec(name="scripted", backend="scripted", retry_wait_s=0)
    script = Script(faults=(Fault(kind="cut", attempts=1), Fault(kind="hang", attempts=2)))
    engine = ScriptedEngine(spec, script=script)
    with pytest.raises(CallError) as caught:
        await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=0.05)
    assert (caught.value.kind, caught.value.sent) == ("timeout", 2)


async def test_a_prompt_that_is_no_valid_utf_8_fails_as_prompt_in_process_too():
    engine = ScriptedEngine()
    with pytest.raises(CallError, match="the prompt is no valid UTF-8") as caught:
        await engine.call(engine.prepare(None, SamplingParams()), ask("\ud800"))
    assert caught.value.kind == "prompt"


async def test_calls_in_process_overlap():
    engine = ScriptedEngine(script=Script(service_mean_s=0.01))
    async with anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(engine.call, engine.prepare(None, SamplingParams()), ask(str(n)))
    assert engine.stats.in_flight_max == 5


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"slot": 3}, 'no such key "slot".*did you mean "slots"'),
        ({"faults": [{"kind": "cut", "shares": 1}]}, 'faults.0: no such key "shares".*"share"'),
        ({"faults": [{"kind": "explode"}]}, "explode"),
    ],
)
def test_a_key_that_is_not_known_is_refused_with_the_nearest(script, said):
    with pytest.raises(ChainError, match=said):
        ScriptedEngine(EngineSpec.parse({"name": "s", "backend": "scripted", "script": script}))


def fetch(url: str, method: str = "GET") -> dict:
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as reply:
        return orjson.loads(reply.read())


async def test_the_server_tells_and_forgets_what_it_saw(connect):
    with scripted_server() as server:
        await texts_of(connect(server.url), ["?"])
        root = server.url.removesuffix("/v1")
        assert fetch(f"{root}/stats")["calls"] == 1
        fetch(f"{root}/reset", "POST")
        assert fetch(f"{root}/stats")["calls"] == 0
        assert fetch(f"{server.url}/models")["data"][0]["id"] == "scripted"


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "chainette.engine.scripted", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_the_command_says_where_it_listens_and_ends_on_sigterm(connect):
    process, line = start("--slots", "2", "--fault", '{"kind": "refuse", "attempts": 1, "retry_after_s": 0}')
    with process:
        assert line.startswith("listening on http://127.0.0.1:")
        engine = connect(line.split()[-1])
        answer = await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert answer.sent == 2


async def test_a_killed_server_listens_on_its_port_again_at_once(connect):
    process, line = start()
    port = line.rpartition(":")[2].removesuffix("/v1")
    with process:
        engine = connect(line.split()[-1])
        await engine.call(engine.prepare(None, SamplingParams()), ask("?"))  # leaves a connection open
        process.kill()
    again, told = start("--port", port)
    with again:
        try:
            assert told == line
            assert await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
        finally:
            again.terminate()


async def test_asked_to_remember_it_tells_how_many_prompts_were_answered_twice():
    faults = (Fault(kind="refuse", containing="busy", attempts=1, retry_after_s=0), Fault(kind="cut", attempts=1))
    engine = ScriptedEngine(
        EngineSpec(name="s", backend="scripted", retry_wait_s=0), Script(remember=True, faults=faults)
    )
    prepared = engine.prepare(SCHEMA, SamplingParams())
    for prompt in ("once", "busy", "twice", "twice"):
        await engine.call(prepared, ask(prompt))
    stats = engine.stats
    assert (stats.calls, stats.answered, stats.prompts) == (7, 4, 3)
    assert (stats.repeated, stats.prompt_answers_max) == (1, 2)


async def test_a_request_that_nobody_waits_for_any_more_counts_as_abandoned_and_not_as_answered(connect, until):
    with scripted_server(Script(service_mean_s=3600)) as server:
        engine = connect(server.url)
        with pytest.raises(CallError):
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=0.01)
        await until(lambda: server.stats.abandoned == 1)
        assert (server.stats.answered, server.stats.in_flight) == (0, 0)


async def test_a_server_told_to_die_dies(connect):
    process, line = start("--die-after", "1")
    with process:
        engine = connect(line.split()[-1], max_retries=1)
        prepared = engine.prepare(None, SamplingParams())
        await engine.call(prepared, ask("?"))
        with pytest.raises(EngineDiedError, match="is gone"):
            await engine.call(prepared, ask("?"))
        assert process.wait(10) == 1
