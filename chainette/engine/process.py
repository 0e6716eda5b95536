"""A server process, from its start to the end of its whole tree. Knows no backend, no request and nobody who waits."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Protocol

import orjson

from chainette.engine.asking import answers
from chainette.engine.backends import Launch
from chainette.engine.live import LiveServer, live_servers, state_folder
from chainette.errors import EngineStartError, EngineStartGivenUp

ANNOUNCEMENT = "listening on "
LOG_LINES = 20
"""Shown of a log when the process it belongs to has failed."""
LOGS_KEPT_S = 30 * 24 * 3600.0
POLL_S = 0.05
STOP_GRACE_S = 3.0


class Server(Protocol):
    """A live server, whoever started it."""

    url: str
    """Base URL, up to and with `/v1`."""
    log: Path

    @property
    def pid(self) -> int: ...

    def died(self) -> str | None:
        """Why the process is gone, with the last lines of its log; None while it lives."""
        ...

    def stop(self) -> None:
        """Ends it if it is ours to end. Blocks until it is gone."""
        ...

    def end(self) -> None:
        """Ends it, whoever keeps it: it is dead, or answers nobody."""
        ...


class ServerProcess:
    """A running server of ours, in a session of its own. Ends with this process, however that ends, by its standard
    input, unless it is let go."""

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
        cls,
        engine: str,
        launch: Launch,
        timeout_s: float,
        given_up: Callable[[], bool] = lambda: False,
        *,
        replica: int = 0,
        environment: Mapping[str, str] | None = None,
        begun: Callable[[ServerProcess], None] = lambda server: None,
    ) -> ServerProcess:
        """Starts and waits until the server is healthy; blocks. `given_up` is asked all the while.

        `environment` is added to ours and to the launch's own.
        `begun` gets the server when its process is there, long before it is healthy.

        Raises:
            EngineStartError: it ended, did not come up in time, or was given up; nothing of it is left.
        """
        log = log_file(f"{engine}.{replica}" if replica else engine)
        with log.open("ab") as output:
            process = subprocess.Popen(
                launch.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **launch.environment, **(environment or {})},
                start_new_session=True,
            )
        server = cls(engine, process, log)
        try:
            begun(server)
            server._hand_over(launch.settings)
            server._await_health(launch, time.monotonic() + timeout_s, timeout_s, given_up)
        except BaseException:
            server.stop()
            raise
        return server

    def _hand_over(self, settings: Mapping[str, object]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(orjson.dumps(settings) + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already, which the wait for its announcement will find

    def _await_health(self, launch: Launch, deadline: float, timeout_s: float, given_up: Callable[[], bool]) -> None:
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        stdout = self._process.stdout
        assert stdout is not None
        threading.Thread(target=_first_announcement, args=(stdout, said), daemon=True).start()
        while not self.url or not answers(self.url, launch.api_key):
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
                raise EngineStartGivenUp(f'engine "{self.engine}" was given up while it started')
            if time.monotonic() > deadline:
                late = f"did not come up within {timeout_s:g} s (`start_timeout_s`)"
                raise EngineStartError(f'engine "{self.engine}" {late}{last_lines(self.log)}')

    def died(self) -> str | None:
        return None if self._process.poll() is None else self._ended()

    def _ended(self) -> str:
        try:
            code = self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            how = "closed its standard output without a word"
        else:
            how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        return f'the process of engine "{self.engine}" {how}{last_lines(self.log)}'

    def let_go(self) -> None:
        """From now on the server is on its own, and outlives us."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(b"stay\n")
                self._process.stdin.flush()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close(stream)
        self._process.returncode = 0  # ours to wait for no more: without this Python complains of a child left behind

    def stop(self) -> None:
        """Ends the process and all it has started. Blocks until they are gone; does nothing a second time, nor in a
        process that was forked from the one that started it."""
        if os.getpid() != self._owner:
            return
        if self._process.stdin is not None:
            _close(self._process.stdin)
        end_group(self.pid, self._process.poll, leader_lives=self._process.poll() is None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_GRACE_S)
        if self._process.stdout is not None:
            # Last: while the process lived, a reading thread may have held the stream's lock.
            _close(self._process.stdout)

    def end(self) -> None:
        self.stop()


class WarmServer:
    """A server that somebody else keeps warm. Never ended from here."""

    def __init__(self, live: LiveServer) -> None:
        self.url = live.url
        self.log = Path(live.log)
        self._live = live

    @property
    def pid(self) -> int:
        return self._live.pid

    def died(self) -> str | None:
        if self._live.alive:
            return None
        return f'the process of the warm engine "{self._live.name}" is gone{last_lines(self.log)}'

    def stop(self) -> None:
        """It stays."""

    def end(self) -> None:
        end_live(self._live)


def end_live(live: LiveServer) -> None:
    """Ends any live server with its whole tree, and its file. Blocks until it is gone."""
    if live.alive:
        end_group(live.pid, lambda: None if live.alive else 0, leader_lives=True)
    live.forget()


def end_orphans() -> None:
    """Ends what should have ended with its owner and is still at it: its devices are needed."""
    for live in live_servers():
        if live.orphaned:
            end_live(live)


def end_group(pid: int, ended: Callable[[], int | None], *, leader_lives: bool) -> None:
    """Ends a process that leads a group, and all it has started: asks first, then does not. `ended` is not None when
    the leader is gone. With a dead leader only the rest of its group is ended."""
    import psutil

    below: list[psutil.Process] = []
    if leader_lives:  # otherwise the number may be another process's by now
        with contextlib.suppress(psutil.Error):
            leader = psutil.Process(pid)
            below = leader.children(recursive=True)
            leader.terminate()
        _signal_group(pid, signal.SIGTERM)
        for process in below:
            _quietly(process.terminate)
        deadline = time.monotonic() + STOP_GRACE_S
        while ended() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if ended() is None:
            _quietly(leader.kill)
    _signal_group(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    for process in psutil.wait_procs(below, timeout=0)[1]:
        _quietly(process.kill)
    psutil.wait_procs(below, timeout=STOP_GRACE_S)


def _signal_group(pid: int, number: int) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


_CAUSE = re.compile(r"^(?!.*\bWARNING\b).*\b\w*(Error|Exception)\b: \S")
_EFFECT = re.compile(r"EngineDeadError|EngineCore.*failed|[Ss]ee (root|stack) (cause|trace)")
"""What vLLM says at the end of a long log of one that said more at its beginning."""


def last_lines(log: Path) -> str:
    """How a message goes on: with the end of the log, and before it the first error that stands further up."""
    try:
        whole = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        whole = []
    lines = whole[-LOG_LINES:]
    cause = next((line for line in whole if _CAUSE.search(line) and not _EFFECT.search(line)), None)
    if cause is not None and cause not in lines:
        lines = [cause, "…", *lines]
    said = "".join(f"\n  {line}" for line in lines if line.strip())
    return f"; the end of {log}:{said}" if said else f"; its log {log} is empty"


def log_file(engine: str) -> Path:
    """A new file in the state folder that an engine's process writes to."""
    folder = state_folder() / "logs"
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '_', engine)[:80]}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in (folder / f"{name}{again}.log" for again in ("", *(f"-{n}" for n in range(2, 10_000)))):
            with contextlib.suppress(FileExistsError):
                file.touch(mode=0o600, exist_ok=False)
                break
    except OSError as error:
        raise EngineStartError(f'engine "{engine}": {folder} cannot be written: {error.strerror}') from None
    _forget_old(folder)
    return file


def python_file(path: Path) -> tuple[str, ...]:
    """The command that runs a Python file of ours, with nothing of the working directory before our imports."""
    return (sys.executable, "-P", str(path))


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


def _signal_name(number: int) -> str:
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
