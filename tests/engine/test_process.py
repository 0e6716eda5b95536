"""Server processes of ours, with the scripted server as the one that is started."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time

import psutil
import pytest

from chainette.engine.backends import Launch
from chainette.engine.process import ServerProcess, log_file
from chainette.errors import EngineStartError
from tests.engine.conftest import environment


def launch(*command: str) -> Launch:
    return Launch((sys.executable, *command), {"secret": "sesame"}, "sesame", environment())


SERVER = launch("-m", "chainette.engine.scripted")


def test_a_started_server_is_healthy_and_its_stop_leaves_nothing():
    server = ServerProcess.start("e", SERVER, 30)
    try:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.died() is None
    finally:
        server.stop()
    assert not psutil.pid_exists(server.pid)
    server.stop()


def test_a_server_that_is_killed_says_how_it_ended():
    server = ServerProcess.start("e", SERVER, 30)
    try:
        os.kill(server.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(server.pid)], timeout=10)
        assert 'the process of engine "e" ' in (server.died() or "")
    finally:
        server.stop()


def test_a_start_that_fails_ends_with_the_last_20_lines_of_the_log():
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(50)]; sys.exit(3)"
    with pytest.raises(EngineStartError) as caught:
        ServerProcess.start("e", launch("-c", code), 30)
    message = str(caught.value)
    assert "ended with exit code 3" in message
    assert message.endswith("line 49")
    assert "line 29\n" not in message
    assert "line 30\n" in message


def test_a_start_that_takes_too_long_is_ended():
    hanging = launch("-c", "import sys; sys.stdin.readline(); sys.stdin.read()")
    with pytest.raises(EngineStartError, match=r"did not come up within 0\.1 s"):
        ServerProcess.start("e", hanging, 0.1)


def test_a_start_that_is_given_up_is_ended():
    hanging = launch("-c", "import sys; sys.stdin.readline(); sys.stdin.read()")
    with pytest.raises(EngineStartError, match="given up"):
        ServerProcess.start("e", hanging, 30, given_up=lambda: True)


def test_the_secret_is_neither_on_the_command_line_nor_in_a_repr():
    server = ServerProcess.start("e", SERVER, 30)
    try:
        assert not any("sesame" in part for part in psutil.Process(server.pid).cmdline())
        assert "sesame" not in repr(SERVER)
    finally:
        server.stop()


def test_the_log_is_for_its_owner_and_its_name_holds_no_path(tmp_path):
    log = log_file("../odd name")
    assert log == tmp_path / "state" / "chainette" / "logs" / f".._odd_name-{os.getpid()}.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_where_the_state_folder_cannot_be_written_a_temporary_one_is_taken(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert log_file("e").is_file()


def test_logs_older_than_a_month_are_forgotten(tmp_path):
    old = log_file("old")
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    log_file("new")
    assert not old.exists()


def test_a_fork_of_the_owner_does_not_end_the_server():
    server = ServerProcess.start("e", SERVER, 30)
    try:
        server._owner = os.getpid() + 1
        server.stop()
        assert server.died() is None
        server._owner = os.getpid()
    finally:
        server.stop()
    assert server.died() is not None


def test_nothing_is_left_when_the_command_does_not_exist():
    with pytest.raises((EngineStartError, OSError)):
        ServerProcess.start("e", Launch(("/no/such/program",), {}, ""), 30)
