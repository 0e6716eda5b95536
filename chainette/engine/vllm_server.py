"""Starts vLLM's server and ends it with all its processes. Run as a file by the Python that has vLLM; imports nothing
of Chainette.

Reads its settings as one line of JSON from standard input, says `listening on URL` on standard output, and ends when
standard input is closed: then its parent is gone, however that came about, unless it said `stay` before. Two processes:
this one guards, a child of it, in a process group of its own, is the server. So vLLM's workers are ended even when the
server itself was killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

GRACE_S = 2.5
"""Between the wish and the force. Below what our parent waits for us."""
POLL_S = 0.02
LOOK_S = 1.0
"""How often the guard looks whether it still has a parent."""
ENTRIES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""The module that serves, the newer name first. The distribution for CPUs has no `vllm` command that works."""
NOTHING_INSTALLED = 3
STAY = b"stay"
"""On a line of standard input: from now on it may be closed."""


def main() -> None:
    parent = os.getppid()
    # Beside this file are others called as libraries are (`openai.py`); `-P` would do, but is new in Python 3.11.
    beside = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != beside]
    line = sys.stdin.buffer.readline()
    if not line:
        return
    settings = json.loads(line)
    port = _hold_port()
    os.write(1, f"listening on http://127.0.0.1:{port.getsockname()[1]}/v1\n".encode())
    # What vLLM prints goes to the log, and a warm server outlives the reader of our standard output.
    os.dup2(2, 1)
    alive, guarding = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(guarding)
        _serve(settings, port, alive)
    os.close(alive)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # also done by the child; whoever comes first
    _guard(child, parent)


def _hold_port() -> socket.socket:
    """A free port that nobody else is given until vLLM binds it, which it may: both sides say SO_REUSEADDR, and only
    one of them listens."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _serve(settings: dict[str, Any], port: socket.socket, alive: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_guard, args=(alive,), daemon=True).start()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for name, value in settings["environment"].items():
        os.environ.setdefault(name, value)
    # Not by the command line, which everyone on the machine may read.
    os.environ["VLLM_API_KEY"] = settings["key"]
    entry = _entry()
    sys.argv = [entry, *settings["arguments"], "--host=127.0.0.1", f"--port={port.getsockname()[1]}"]
    runpy.run_module(entry, run_name="__main__", alter_sys=True)
    sys.exit(0)


def _entry() -> str:
    for name in ENTRIES:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name) is not None:
                return name
    print(f"there is no vLLM in {sys.executable}: {sys.executable} -m pip install vllm", file=sys.stderr, flush=True)
    sys.exit(NOTHING_INSTALLED)


def _end_with_guard(alive: int) -> None:
    """The guard holds the other end of the pipe and never writes: it closes when the guard is gone, even killed."""
    while os.read(alive, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _guard(child: int, parent: int | None) -> None:
    """Waits for the end of the server, or for a reason to end it; then ends its whole group and goes as it did. The end
    of its parent is no reason once it was told to stay."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    wanted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        wanted.append(number)

    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    watched = [woken, 0]
    status = None
    while status is None and not wanted:
        ready = select.select(watched, [], [], LOOK_S)[0]
        _drain(woken)
        said = os.read(0, 4096) if 0 in ready else b"-"
        if STAY in said:
            watched, parent = [woken], None
        # Another child that our parent forked may still hold the other end of standard input open.
        elif not said or (parent is not None and os.getppid() != parent):
            wanted.append(signal.SIGTERM)
        status = _ended(child)
    _end_alike(_end(child, woken, status))


def _end(child: int, woken: int, status: int | None) -> int:
    """Asks all its processes to end, since only then they take down what they share, and forces those that do not."""
    deadline = time.monotonic() + GRACE_S
    _signal_group(child, signal.SIGTERM)
    while status is None and (left_s := deadline - time.monotonic()) > 0:
        select.select([woken], [], [], left_s)
        _drain(woken)
        status = _ended(child)
    while _signal_group(child, 0) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    _signal_group(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] if status is None else status


def _ended(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return status if pid else None


def _signal_group(group: int, number: int) -> bool:
    """Whether there is anybody left in it."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


def _drain(woken: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(woken, 4096):
            pass


def _end_alike(status: int) -> None:
    """With the server's exit code, or by the signal that ended it: our parent says which it was."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
