"""A server process of ours, from its start to the end of its whole tree. Knows no backend and no request."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import orjson

from chainette.engine.backends import Launch
from chainette.errors import EngineStartError

ANNOUNCEMENT = "listening on "
LOG_LINES = 20
"""Shown of a log when the process it belongs to has failed."""
LOGS_KEPT_S = 30 * 24 * 3600.0
POLL_S = 0.05
STOP_GRACE_S = 3.0
HEALTH_TIMEOUT_S = 5.0


class ServerProcess:
    """A running server, in a session of its own. Ends with this process, however that ends, by its standard input."""

    def __init__(self, engine: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.engine = engine
        self.url = ""
        """Base URL, up to and with `/v1`."""
        self.log = log
        self._process = process
        self._owner = os.getpid()

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    def start(
        cls, engine: str, launch: Launch, timeout_s: float, given_up: Callable[[], bool] = lambda: False
    ) -> ServerProcess:
        """Starts and waits until the server is healthy; blocks. `given_up` is asked all the while.

        Raises:
            EngineStartError: it ended, did not come up in time, or was given up; nothing of it is left.
        """
        log = log_file(engine)
        with log.open("ab") as output:
            process = subprocess.Popen(
                launch.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **launch.environment},
                start_new_session=True,
            )
        server = cls(engine, process, log)
        try:
            server._hand_over(launch)
            server._await_health(launch, time.monotonic() + timeout_s, timeout_s, given_up)
        except BaseException:
            server.stop()
            raise
        return server

    def _hand_over(self, launch: Launch) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(orjson.dumps(launch.settings) + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already, which the wait for its announcement will find

    def _await_health(self, launch: Launch, deadline: float, timeout_s: float, given_up: Callable[[], bool]) -> None:
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        stdout = self._process.stdout
        assert stdout is not None
        threading.Thread(target=_first_announcement, args=(stdout, said), daemon=True).start()
        while not self.url or not _healthy(self.url, launch.api_key):
            try:
                self.url = said.get(timeout=POLL_S)
            except queue.Empty:
                pass
            else:
                if not self.url:
                    raise EngineStartError(self._ended())
            if self._process.poll() is not None:
                raise EngineStartError(self._ended())
            if given_up():
                raise EngineStartError(f'engine "{self.engine}" was given up while it started')
            if time.monotonic() > deadline:
                raise EngineStartError(
                    f'engine "{self.engine}" did not come up within {timeout_s:g} s (`start_timeout_s`){self._last()}'
                )

    def died(self) -> str | None:
        """Why the process is gone, with the last lines of its log; None while it lives."""
        return None if self._process.poll() is None else self._ended()

    def _ended(self) -> str:
        try:
            code = self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            how = "closed its standard output without a word"
        else:
            how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        return f'the process of engine "{self.engine}" {how}{self._last()}'

    def _last(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        said = "".join(f"\n  {line}" for line in lines if line.strip())
        return f"; the end of {self.log}:{said}" if said else f"; its log {self.log} is empty"

    def stop(self) -> None:
        """Ends the process and all it has started. Blocks until they are gone; does nothing a second time, nor in a
        process that was forked from the one that started it."""
        import psutil

        if os.getpid() != self._owner:
            return
        tree: list[psutil.Process] = []
        if self._process.poll() is None:  # otherwise the number may be another process's by now
            with contextlib.suppress(psutil.Error):
                tree = psutil.Process(self.pid).children(recursive=True)
        if self._process.stdin is not None:
            _close(self._process.stdin)
        self._process.terminate()
        for process in tree:
            _quietly(process.terminate)
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in psutil.wait_procs(tree, timeout=STOP_GRACE_S)[1]:
            _quietly(process.kill)
        if self._process.stdout is not None:
            # Last: while the process lived, a reading thread may have held the stream's lock.
            _close(self._process.stdout)


def log_file(engine: str) -> Path:
    """Where an engine's process writes: the state folder, or a temporary one where that cannot be written."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '_', engine)[:80]}-{os.getpid()}.log"
    for folder in (Path(home, "chainette", "logs"), Path(tempfile.gettempdir(), f"chainette-{_user()}", "logs")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / name).touch(mode=0o600)
        except OSError:
            continue
        _forget_old(folder)
        return folder / name
    raise EngineStartError(f'engine "{engine}": neither the state folder nor the temporary folder can be written')


def python_file(path: Path) -> tuple[str, ...]:
    """The command that runs a Python file of ours, with nothing of the working directory before our imports."""
    return (sys.executable, "-P", str(path))


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _forget_old(folder: Path) -> None:
    for log in folder.glob("*.log"):
        try:
            if time.time() - log.stat().st_mtime > LOGS_KEPT_S:
                log.unlink()
        except OSError:
            continue


def _first_announcement(stdout: IO[bytes], said: queue.SimpleQueue[str]) -> None:
    """Waits in a thread, since a pipe cannot be waited for with a timeout on every system."""
    try:
        for line in stdout:
            text = line.decode("utf-8", "replace").strip()
            if text.startswith(ANNOUNCEMENT):
                return said.put(text.removeprefix(ANNOUNCEMENT))
    except (OSError, ValueError):
        pass
    return said.put("")


def _healthy(url: str, api_key: str) -> bool:
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    connection = HTTPConnection(urlsplit(url).netloc, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health", headers={"Authorization": f"Bearer {api_key}"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _signal_name(number: int) -> str:
    import signal

    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        stream.close()


def _quietly(act: Callable[[], None]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        act()
