"""The scripted server as a process of its own, to be asked what it saw and to be killed."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("script.json")


def changed_script(place: Path, **changes: Any) -> Path:
    """The same answers by a script of which something else is changed."""
    path = place / "script.json"
    path.write_text(json.dumps(json.loads(SCRIPT.read_bytes()) | changes))
    return path


class Server:
    """Answers by a script: the same prompt gets the same answer, in every run."""

    def __init__(self, script: Path = SCRIPT) -> None:
        self.port = 0
        self._script = str(script)
        self._process: subprocess.Popen[str] | None = None
        self._line: http.client.HTTPConnection | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """On a free port the first time, on the same one after that."""
        words = ["-m", "chainette.engine.scripted", "--port", str(self.port), "--script", self._script]
        self._process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("listening on"), f"the scripted server said {said!r}"
        self.port = int(said.strip().removesuffix("/v1").rsplit(":", 1)[1])

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def calls(self) -> int:
        """Requests that came in, since it was started."""
        if self._line is None:
            self._line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self._line.request("GET", "/stats")
        return int(json.loads(self._line.getresponse().read())["calls"])
