"""Engines of ours on devices: room, replicas, deaths, sleep. The servers are stand-ins, the processes are real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import psutil
import pytest

from chainette.engine.live import live_servers, state_folder
from chainette.engine.protocol import CallError
from chainette.errors import EngineDiedError, EngineStartError
from chainette.specs import SamplingParams
from tests.engine.conftest import ask
from tests.engine.hosted import broker_of, hosted, processes, words


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_engines_without_room_for_both_take_turns_and_no_more():
    said = []
    with broker_of(hosted("a"), hosted("b"), said=said) as broker:
        for name in ("a", "a", "b", "a"):
            with broker.acquire(name) as engine:
                assert engine.generate(["hello"])
    assert words(said) == ["started a", "stopped a", "started b", "stopped b", "started a", "stopped a"]


def test_engines_with_room_for_both_stay():
    said = []
    with broker_of(hosted("a", share=0.5), hosted("b", share=0.5), said=said) as broker:
        for name in ("a", "b", "a", "b"):
            with broker.acquire(name):
                pass
    assert words(said)[:2] == ["started a", "started b"]
    assert sorted(words(said)[2:]) == ["stopped a", "stopped b"]


def test_an_engine_that_is_needed_later_sleeps_meanwhile():
    said = []
    with broker_of(
        hosted("a", share=0.001, devices=[0], script={"sleeps": True}), hosted("b", share=1), said=said
    ) as broker:
        broker.next_stage(["b"], ["a"])
        for name in ("a", "b", "a"):
            with broker.acquire(name) as engine:
                assert engine.generate(["hello"])
    assert words(said)[:5] == ["started a", "asleep a", "started b", "stopped b", "awake a"]


def test_a_leased_engine_is_never_evicted_and_who_needs_its_place_waits():
    taken, done = threading.Event(), threading.Event()
    with broker_of(hosted("a"), hosted("b")) as broker:

        def other():
            taken.wait(10)
            with broker.acquire("b"):
                done.set()

        thread = threading.Thread(target=other)
        thread.start()
        with broker.acquire("a") as engine:
            pid = broker.statistics()[0].pid
            taken.set()
            assert engine.generate(["hello"] * 100)
            assert not done.is_set()
            assert psutil.pid_exists(pid)
        thread.join(20)
    assert done.is_set()


def test_what_can_never_fit_is_refused_with_the_arithmetic():
    with (
        broker_of(hosted("big", vllm_args={"tensor_parallel_size": 4}), count=2) as broker,
        pytest.raises(EngineStartError, match=r'engine "big" does not fit: .*4.*2'),
        broker.acquire("big"),
    ):
        pass


def test_replicas_see_their_own_devices_only():
    with broker_of(hosted("a", devices=[0, 1, 2, 3], replicas=2), count=4) as broker, broker.acquire("a"):
        seen = [process.environ()["CUDA_VISIBLE_DEVICES"] for process in processes()]
        assert broker.statistics()[0].devices == ((0, 1), (2, 3))
    assert seen == ["0,1", "2,3"]


@pytest.mark.anyio
async def test_replicas_share_the_rows():
    spec = hosted("a", devices=[0, 1], replicas=2, script={"slots": 4, "service_mean_s": 0.001})
    with broker_of(spec, count=2) as broker:
        async with broker.acquire("a") as engine:
            replicas = list((await _ask_all(engine, [f"row {n}" for n in range(200)])).values())
    assert min(replicas.count(0), replicas.count(1)) > 60


@pytest.mark.anyio
async def test_rows_with_the_same_long_head_go_to_the_same_replica():
    spec = hosted("a", devices=[0, 1, 2, 3], replicas=4)
    documents = [f"document {n} " * 400 for n in range(8)]
    with broker_of(spec, count=4) as broker:
        async with broker.acquire("a") as engine:
            first = await _ask_all(engine, [f"{document} question" for document in documents])
            assert len(set(first.values())) > 1
            # With nobody else asking, only the head speaks for any replica but the first.
            prepared = engine.prepare(None, SamplingParams())
            for document in reversed(documents):
                answer = await engine.call(prepared, ask(f"{document} another question"))
                assert answer.replica == first[f"{document} question"]


@pytest.mark.anyio
async def test_a_killed_replica_is_restarted_and_every_row_answered_once(until):
    spec = hosted("a", devices=[0, 1], replicas=2, script={"slots": 4, "service_mean_s": 0.01, "echo": True})
    said = []
    with broker_of(spec, count=2, said=said) as broker:
        async with broker.acquire("a") as engine:
            prepared = engine.prepare(None, SamplingParams())
            answers: list[str] = []

            async def one(text: str) -> None:
                answer = await engine.call(prepared, ask(text))
                answers.append(answer.choices[0].text)
                if len(answers) == 50:
                    processes()[0].kill()

            rows = [f"row {n}" for n in range(400)]
            async with anyio.create_task_group() as tasks:
                for row in rows:
                    tasks.start_soon(one, row)
            assert sorted(answers) == sorted(rows)
            await until(lambda: words(said).count("started a") == 2)  # it comes back also when nobody waits for it
            assert len(live_servers()) == 2
    assert words(said)[:3] == ["started a", "died a", "started a"]


@pytest.mark.anyio
async def test_three_deaths_in_a_row_end_it_with_the_end_of_the_log():
    said = []
    with broker_of(hosted("a", script={"die_after": 0}), said=said) as broker:
        async with broker.acquire("a") as engine:
            prepared = engine.prepare(None, SamplingParams())
            for text in ("one", "two"):
                with pytest.raises((CallError, EngineDiedError)):
                    await engine.call(prepared, ask(text))
            with pytest.raises(EngineDiedError, match=r"died 3 times in a row; the last time (.|\n)*its log"):
                await engine.call(prepared, ask("three"))
    assert words(said).count("started a") == 3


@pytest.mark.anyio
async def test_an_engine_that_dies_of_every_few_rows_is_given_up_some_time():
    said = []
    with broker_of(hosted("a", script={"die_after": 2}), said=said) as broker:
        async with broker.acquire("a") as engine:
            with pytest.raises(ExceptionGroup) as caught:
                await _ask_all(engine, [f"row {n}" for n in range(60)])
    assert caught.group_contains(EngineDiedError, match="died 10 times, with few answers in between")
    assert words(said).count("died a") == 9


@pytest.mark.anyio
async def test_a_row_that_kills_its_server_fails_alone():
    spec = hosted("a", script={"echo": True, "faults": [{"kind": "die", "containing": "poison"}]})
    outcomes: dict[str, str] = {}
    with broker_of(spec) as broker:
        async with broker.acquire("a") as engine:
            prepared = engine.prepare(None, SamplingParams())

            async def one(text: str) -> None:
                try:
                    outcomes[text] = (await engine.call(prepared, ask(text))).choices[0].text
                except CallError as error:
                    outcomes[text] = str(error)

            await one("first")
            async with anyio.create_task_group() as tasks:
                for text in ("good 1", "poison", "good 2", "good 3"):
                    tasks.start_soon(one, text)
            await one("last")
    assert re.match(r"the engine died \d times while it had this row: ", outcomes.pop("poison"))
    assert all(text == answer for text, answer in outcomes.items())


@pytest.mark.anyio
async def test_a_server_that_answers_nobody_any_more_is_replaced():
    said = []
    with broker_of(hosted("a", script={"echo": True}, unresponsive_timeout_s=0.5), said=said) as broker:
        async with broker.acquire("a") as engine:
            prepared = engine.prepare(None, SamplingParams())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(engine.attend)
                processes()[0].suspend()
                answer = await engine.call(prepared, ask("hello"))
                tasks.cancel_scope.cancel()
    assert answer.choices[0].text == "hello"
    assert words(said)[:3] == ["started a", "died a", "started a"]
    assert "has not answered for" in next(event.why for event in said if type(event).__name__ == "EngineDied")


def test_an_idle_engine_is_stopped_when_its_time_is_over():
    now = [0.0]
    with broker_of(hosted("a", idle_timeout_s=60), clock=lambda: now[0]) as broker:
        with broker.acquire("a"):
            now[0] = 1000
            assert broker.sweep() == []
        [process] = processes()
        now[0] = 1059
        assert broker.sweep() == []
        now[0] = 1060
        assert broker.sweep() == ["a"]
        assert not process.is_running()
        assert live_servers() == []


def test_an_engine_stops_by_itself_when_idle():
    with broker_of(hosted("a", idle_timeout_s=0.05)) as broker:
        with broker.acquire("a"):
            [process] = processes()
        process.wait(10)


def test_many_threads_make_one_server():
    said = []
    with broker_of(hosted("a"), said=said) as broker:

        def use():
            with broker.acquire("a") as engine:
                assert engine.generate(["hello"])

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert words(said) == ["started a", "stopped a"]


HOLDER = """
import sys
from tests.engine.hosted import broker_of, hosted
broker = broker_of(hosted("a", devices=[0, 1], replicas=2), count=2)
broker.acquire("a").__enter__()
print("up", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_no_server_and_no_file():
    root = str(Path(__file__).parent.parent.parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    with parent:
        assert parent.stdout.readline() == b"up\n"
        servers = processes()
        assert len(servers) == 2
        parent.kill()
    _, alive = psutil.wait_procs(servers, timeout=10)
    assert alive == []
    assert live_servers() == []
    assert list((state_folder() / "engines").glob("*.json")) == []


def test_a_flush_by_force_ends_what_is_leased():
    with broker_of(hosted("a")) as broker, broker.acquire("a"):
        [process] = processes()
        broker.flush(force=True)
        assert not process.is_running()


async def _ask_all(engine, texts):
    """All at once: which replica answered each."""
    prepared = engine.prepare(None, SamplingParams())
    replicas = {}

    async def one(text):
        replicas[text] = (await engine.call(prepared, ask(text))).replica

    async with anyio.create_task_group() as tasks:
        for text in texts:
            tasks.start_soon(one, text)
    return replicas
