"""The launcher that guards a vLLM server, with a made-up vLLM: its tree is gone whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import psutil
import pytest

from chainette.engine import vllm
from chainette.engine.process import ServerProcess
from chainette.errors import EngineStartError
from chainette.specs import EngineSpec
from tests.engine import fake_vllm
from tests.engine.conftest import environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="vLLM does not run there")


@pytest.fixture
def spec(tmp_path):
    def parse(**fields):
        python = fake_vllm.make(tmp_path / "made-up")
        return EngineSpec.parse({"name": "e", "backend": "vllm", "model": "org/model", "python": python, **fields})

    return parse


@pytest.fixture
def started(spec):
    """A server, what it says of itself, and its processes: guard, server and worker."""
    launch = vllm.launch(spec())
    server = ServerProcess.start("e", launch, 30)
    with urllib.request.urlopen(server.url.removesuffix("/v1")) as reply:
        told = json.load(reply)
    tree = [psutil.Process(pid) for pid in (server.pid, told["server"], told["worker"])]
    yield server, launch, told, tree
    server.stop()


def gone(tree):
    return not psutil.wait_procs(tree, timeout=10)[1]


def test_it_listens_on_the_port_it_was_given_on_this_machine_only(started):
    server, _, told, _ = started
    assert "--host=127.0.0.1" in told["argv"]
    assert f"--port={server.url.rpartition(':')[2].removesuffix('/v1')}" in told["argv"]


def test_the_key_goes_by_the_environment_and_never_by_a_command_line(started):
    _, launch, told, tree = started
    assert told["environment"]["VLLM_API_KEY"] == launch.api_key
    assert not any(launch.api_key in word for process in tree for word in process.cmdline())


def test_it_tells_nobody_about_itself_unless_the_user_says_so(started):
    assert started[2]["environment"]["VLLM_NO_USAGE_STATS"] == "1"


def test_its_output_goes_to_the_log(started):
    assert "a line of the made-up vLLM" in started[0].log.read_text()


def test_a_stop_leaves_nothing(started):
    server, *_, tree = started
    server.stop()
    assert gone(tree)


@pytest.mark.parametrize("victim", [0, 1])
def test_when_the_guard_or_the_server_is_killed_the_rest_ends_too(started, victim):
    server, *_, tree = started
    os.kill(tree[victim].pid, signal.SIGKILL)
    server._process.wait(10)  # by nobody else, or its exit code would be lost
    assert gone(tree[1:])
    assert "was ended by SIGKILL" in (server.died() or "")


def test_a_server_that_dies_by_itself_says_why(spec):
    with pytest.raises(EngineStartError, match=r"exit code 1(.|\n)*does not like this model"):
        ServerProcess.start("e", vllm.launch(spec(model="dies")), 30)


def start_by_hand(launch):
    """As the process of ours would, but with its ends of the pipes in our hand."""
    process = subprocess.Popen(
        launch.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), start_new_session=True
    )
    process.stdin.write(json.dumps(launch.settings).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"listening on http://127.0.0.1:")
    return process


def test_it_ends_when_standard_input_is_closed_however_early(spec):
    with start_by_hand(vllm.launch(spec())) as process:
        process.stdin.close()
        process.wait(10)
        assert not session(process.pid)


def test_a_server_that_is_let_go_outlives_both_ends_of_its_pipes(spec):
    with start_by_hand(vllm.launch(spec())) as process:
        process.stdin.write(b"stay\n")
        process.stdin.close()
        process.stdout.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.terminate()
        process.wait(10)
        assert not session(process.pid)


def test_it_ends_with_a_parent_that_is_killed(spec, tmp_path):
    launch = vllm.launch(spec())
    (tmp_path / "launch.json").write_text(json.dumps([launch.command, launch.settings]))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "launch.json")], stdout=subprocess.PIPE)
    with parent:
        pid = int(parent.stdout.readline())
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        parent.kill()
        assert gone(tree)
        assert not session(pid)


PARENT = """
import json, signal, subprocess, sys
command, settings = json.load(open(sys.argv[1]))
pipe = subprocess.PIPE
child = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
child.stdin.write(json.dumps(settings).encode() + b"\\n")
child.stdin.flush()
child.stdout.readline()
print(child.pid, flush=True)
signal.pause()
"""


def session(leader):
    """What is left of a session."""
    left = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process.pid)
        except (OSError, psutil.Error):
            continue
    return left
