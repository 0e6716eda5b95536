"""Leases, one start for all who wait, eviction, and the end of every process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import anyio
import psutil
import pytest

from chainette.engine.broker import Broker
from chainette.engine.engine_broker import EngineBroker
from chainette.engine.scripted import Script, scripted_server
from chainette.errors import ChainError, EngineError, EngineStartError
from chainette.events import EngineStarted, EngineStarting, EngineStopped, Warned
from chainette.specs import EngineRegistry, EngineSpec, SamplingParams, register_engine
from tests.engine.conftest import SCHEMA, ask, environment

SCRIPTED = EngineSpec.parse({"name": "s", "backend": "scripted", "script": {"echo": True}, "idle_timeout_s": 60})
DEMO = EngineSpec.parse({"name": "demo", "backend": "embedded", "max_retries": 0})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    with Broker(EngineRegistry({"s": SCRIPTED, "demo": DEMO}), clock=clock) as broker:
        yield broker


def leases(broker: Broker) -> dict[str, int]:
    return {state.name: state.leases for state in broker.statistics()}


def test_leases_are_counted(broker):
    with broker.acquire("s") as first, broker.acquire("s") as second:
        assert first is second
        assert leases(broker) == {"s": 2}
    assert leases(broker) == {"s": 0}


def test_an_unknown_engine_is_refused_with_the_nearest_name(broker):
    with pytest.raises(ChainError, match="no such engine"):
        broker.acquire("zzz")


def test_flush_stops_what_has_no_lease_and_force_stops_the_rest(broker):
    with broker.acquire("s"):
        broker.flush()
        assert leases(broker) == {"s": 1}
        broker.flush(force=True)
        assert leases(broker) == {}


def test_an_engine_idle_for_its_timeout_is_evicted(broker, clock):
    with broker.acquire("s"):
        clock.now += 1000
        assert broker.sweep() == []
    clock.now += 59
    assert broker.sweep() == []
    clock.now += 1
    assert broker.sweep() == ["s"]
    assert leases(broker) == {}


def test_a_lease_restarts_the_idle_time(broker, clock):
    with broker.acquire("s") as first:
        pass
    clock.now += 59
    with broker.acquire("s") as second:
        pass
    clock.now += 59
    assert broker.sweep() == []
    assert first is second


def test_two_specs_of_one_name_are_two_engines(broker):
    other = SCRIPTED.model_copy(update={"max_concurrency": 3})
    with broker.acquire("s") as first, broker.acquire(other) as second:
        assert first is not second


def test_a_failed_start_leaves_no_lease(broker):
    with (
        pytest.raises(EngineStartError, match="there is no file /nowhere"),
        broker.acquire(EngineSpec(name="v", backend="embedded", model="/nowhere/model.gguf")),
    ):
        pass
    assert leases(broker) == {}


@pytest.mark.anyio
async def test_an_async_lease_closes_its_connections():
    with scripted_server(Script(echo=True)) as server:
        spec = EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": server.url})
        with Broker() as broker:
            async with broker.acquire(spec) as engine:
                answer = await engine.call(engine.prepare(None, SamplingParams()), ask("hello"))
    assert answer.choices[0].text == "hello"


def test_the_facade_takes_engines_from_code_file_and_environment(tmp_path, monkeypatch):
    register_engine("first", backend="scripted", script={"echo": True})
    (tmp_path / "engines.yml").write_text("engines: [{name: second, backend: scripted, model: m}]")
    monkeypatch.setenv("CHAINETTE_SECOND_MODEL", "from-environment")
    try:
        with EngineBroker.acquire("first") as engine:
            assert engine.generate(["hello"]) == ["hello"]
        with EngineBroker.acquire("second") as engine:
            assert engine.spec.model == "from-environment"
    finally:
        EngineBroker.flush(force=True)


@pytest.mark.embedded
def test_many_threads_wait_for_one_start():
    said = []
    engines = []
    with Broker(EngineRegistry({"demo": DEMO}), said.append) as broker:

        def use():
            with broker.acquire("demo") as engine:
                engines.append(engine)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, engines))) == 1
        [state] = broker.statistics()
        assert psutil.pid_exists(state.pid)
    assert [type(event) for event in said] == [EngineStarting, EngineStarted, EngineStopped]
    assert not psutil.pid_exists(state.pid)


@pytest.mark.embedded
@pytest.mark.anyio
async def test_a_cancelled_start_is_given_up(broker, until):
    async with anyio.create_task_group() as group:

        async def use():
            async with broker.acquire("demo"):
                await anyio.sleep_forever()

        group.start_soon(use)
        await until(lambda: leases(broker) == {"demo": 1})
        group.cancel_scope.cancel()
    await until(lambda: all(state.state != "starting" for state in broker.statistics()))
    broker.flush()
    assert leases(broker) == {}


@pytest.mark.embedded
@pytest.mark.anyio
async def test_a_killed_engine_is_started_again_and_its_call_answered(broker):
    async with broker.acquire("demo") as engine:
        [state] = broker.statistics()
        psutil.Process(state.pid).kill()
        psutil.wait_procs([psutil.Process(state.pid)], timeout=10)
        assert await engine.call(engine.prepare(None, SamplingParams(max_tokens=1)), ask("?"))
        assert broker.statistics()[0].pid != state.pid


HOLDER = """
import sys
from chainette.engine.broker import Broker
broker = Broker()
lease = broker.acquire("demo")
lease.__enter__()
print(broker.statistics()[0].pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.embedded
@pytest.mark.parametrize("end", ["kill", "terminate", "leave"])
def test_an_engine_ends_with_its_parent_however_that_ends(end):
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    with parent:
        engine = psutil.Process(int(parent.stdout.readline()))
        if end == "leave":
            parent.stdin.close()
        else:
            parent.send_signal(signal.SIGKILL if end == "kill" else signal.SIGTERM)
        parent.wait(10)
        _, alive = psutil.wait_procs([engine], timeout=10)
    assert alive == []


@pytest.mark.embedded
@pytest.mark.anyio
async def test_the_demo_model_answers_in_the_schema(broker):
    async with broker.acquire("demo") as engine:
        prepared = engine.prepare(SCHEMA, SamplingParams(temperature=0, max_tokens=64, n=2))
        answer = await engine.call(prepared, ask("I like this kettle."))
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        assert choice.text.startswith('{"product":"')
    assert answer.prompt_tokens > 0
    assert len(answer.choices) == 2


@pytest.mark.embedded
@pytest.mark.anyio
async def test_a_schema_the_grammar_does_not_hold_is_said_once():
    said = []
    schema = {"title": "Odd", "type": "object", "properties": {"a": {"type": "string", "pattern": r"(?=x)(x+)\1"}}}
    with Broker(EngineRegistry({"demo": DEMO}), said.append) as broker:
        async with broker.acquire("demo") as engine:
            for held in (schema, SCHEMA):
                prepared = engine.prepare(held, SamplingParams(max_tokens=2))
                for _ in range(2):
                    await engine.call(prepared, ask("?"))
    warnings = [event.message for event in said if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "cannot hold the model to the schema of Odd" in warnings[0]


@pytest.mark.embedded
@pytest.mark.anyio
async def test_a_prompt_beyond_the_context_fails_with_its_kind(broker):
    async with broker.acquire(DEMO.model_copy(update={"context_length": 64})) as engine:
        with pytest.raises(EngineError) as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("word " * 500))
    assert caught.value.kind == "context_length"


@pytest.mark.embedded
def test_a_file_that_is_no_model_is_refused_before_anything_is_started(broker, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"nothing")
    spec = EngineSpec.parse({"name": "x", "backend": "embedded", "model": str(tmp_path / "x.gguf")})
    with pytest.raises(EngineStartError, match="is no GGUF file"), broker.acquire(spec):
        pass


@pytest.mark.embedded
def test_a_model_that_cannot_be_loaded_says_so_with_its_log(broker, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    spec = EngineSpec.parse({"name": "x", "backend": "embedded", "model": str(tmp_path / "x.gguf")})
    with pytest.raises(EngineStartError, match="exit code"), broker.acquire(spec):
        pass
