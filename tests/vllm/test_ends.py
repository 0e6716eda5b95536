"""Real vLLM servers that do not come up, and what is left of them when somebody is killed: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from chainette.engine.broker import Broker
from chainette.errors import EngineStartError
from tests.engine.conftest import environment
from tests.vllm.conftest import session

PROGRAM = """
import json, sys
from chainette.engine.broker import Broker
from chainette.specs import EngineSpec

broker = Broker()
with broker.acquire(EngineSpec.parse(json.loads(sys.argv[1]))):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_a_model_that_cannot_be_loaded_is_said_with_the_end_of_the_log_and_nothing_is_left(vllm_engine, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "no such thing"}')
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(EngineStartError) as caught, Broker().acquire(vllm_engine(model=str(broken))):
        pass
    said = str(caught.value)
    assert "no such thing" in said
    assert 2 <= len(said.splitlines()) <= 21
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def program(vllm_engine):
    """A process of its own that starts an engine."""
    spec = json.dumps(vllm_engine().model_dump(mode="json", exclude_defaults=True))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, spec], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    with process:
        yield process
        process.kill()


def until(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        pause.wait(0.05)
    return found


def guard_of(program):
    """The process that was started for the server; one that only asks what is installed may come before it."""

    def found():
        children = psutil.Process(program.pid).children()
        return next((child for child in children if is_guard(child)), None)

    return until(found)


def is_guard(process):
    try:
        return any(word.endswith("vllm_server.py") for word in process.cmdline())
    except psutil.Error:
        return False


def loads_torch(process):
    try:
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return False


def test_a_kill_of_ours_while_torch_is_loaded_leaves_no_process(program):
    guard = guard_of(program)
    until(lambda: any(loads_torch(process) for process in session(guard.pid)))
    tree = session(guard.pid)
    program.kill()
    assert not psutil.wait_procs(tree, timeout=20)[1]
    assert not session(guard.pid)


def test_a_kill_of_ours_leaves_no_process(program):
    assert program.stdout.readline() == b"up\n"
    guard = guard_of(program)
    tree = session(guard.pid)
    assert any("EngineCore" in word for process in tree for word in process.cmdline())
    program.kill()
    assert not psutil.wait_procs(tree, timeout=20)[1]
    assert not session(guard.pid)


def test_a_kill_of_the_server_ends_its_workers_too(program):
    assert program.stdout.readline() == b"up\n"
    guard = guard_of(program)
    tree = session(guard.pid)
    (server,) = guard.children()
    os.kill(server.pid, signal.SIGKILL)
    workers = [process for process in tree if process.pid != guard.pid]
    assert not psutil.wait_procs(workers, timeout=20)[1]
