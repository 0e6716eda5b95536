"""The shipped stand-in for a model: answers any JSON schema from the prompt's text, by a script. Knows no model.

In process (`backend: scripted`), or the same script as an HTTP server:

    python -m chainette.engine.scripted --port 0 --slots 64 --service-mean 0.05 --service-sigma 0.6
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from chainette.engine import endpoint_only, openai
from chainette.engine.backends import ALL_SAMPLING, ENDPOINT_WINDOW, Launch, Running, queued
from chainette.engine.endpoint import EndpointEngine
from chainette.engine.protocol import Engine
from chainette.engine.replies import Unanswered
from chainette.engine.script import Fault, Performance, Script, Stats
from chainette.engine.scripted_server import ScriptedServer, run, scripted_server
from chainette.errors import ChainError, EngineDiedError
from chainette.specs import Capabilities, EngineSpec, SamplingParams

__all__ = ["Fault", "Script", "ScriptedEngine", "ScriptedServer", "Stats", "scripted_server"]


IN_PROCESS = "http://in-process.invalid/v1"


def capabilities(spec: EngineSpec) -> Capabilities:
    ready = ""
    try:
        Script.parse(spec.script, "script")
    except ChainError as error:
        ready = str(error)
    where = f" at {openai.shown(spec.endpoint)}" if spec.endpoint else ""
    description = f"scripted answers{where}, no model"
    return Capabilities(ALL_SAMPLING, images=True, ready=ready, description=description, on_devices=_hosted(spec))


def _hosted(spec: EngineSpec) -> bool:
    return bool(spec.script.get("hosted")) and spec.endpoint is None


settled = endpoint_only.settled
left_out = endpoint_only.left_out
unfit_sampling = endpoint_only.unfit_sampling


def with_sleep(spec: EngineSpec) -> EngineSpec | None:
    return spec if spec.script.get("sleeps") else None


def window(spec: EngineSpec) -> int:
    return spec.max_concurrency or queued(int(spec.script.get("slots") or 0)) or ENDPOINT_WINDOW


def base_url(spec: EngineSpec) -> str | None:
    if _hosted(spec):
        return None
    return spec.endpoint or IN_PROCESS


def body(spec: EngineSpec, schema: dict[str, Any] | None, sampling: SamplingParams) -> dict[str, Any]:
    return openai.body(spec, schema, sampling)


def launch(spec: EngineSpec, devices: int = 0) -> Launch:
    if not _hosted(spec):
        return endpoint_only.launch(spec)
    key = secrets.token_urlsafe(24)
    settings = {"script": {**spec.script, "api_key": key}}
    return Launch((sys.executable, "-P", "-m", "chainette.engine.scripted_process"), settings, key)


def connect(spec: EngineSpec, running: Running | None, warn: Callable[[str], None] | None) -> Engine:
    if running is not None:
        return EndpointEngine(spec, base_url=running.url, api_key=running.api_key, died=running.died, warn=warn)
    return EndpointEngine(spec, warn=warn) if spec.endpoint else ScriptedEngine(spec)


class ScriptedEngine(EndpointEngine):
    """An engine without a server: requests are read and answered here, with everything else as it is over HTTP."""

    def __init__(self, spec: EngineSpec | None = None, script: Script | None = None) -> None:
        """Without a spec one called `scripted`; `script` takes the place of `spec.script`.

        Raises:
            ChainError: the spec's script has keys or values that do not fit.
        """
        spec = spec or EngineSpec.parse({"name": "scripted", "backend": "scripted", "model": "scripted"})
        script = script or Script.parse(spec.script, f'engine "{spec.name}": script')
        super().__init__(
            spec, base_url=IN_PROCESS, window=spec.max_concurrency or queued(script.slots or 0) or ENDPOINT_WINDOW
        )
        self._performance = Performance(script)
        self._dead = False

    @property
    def stats(self) -> Stats:
        """What it saw so far, as a copy."""
        return self._performance.seen()

    async def post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        loop = asyncio.get_running_loop()
        if self._dead:
            raise EngineDiedError(f'engine "{self.spec.name}" died, as its script says')
        turn = self._performance.turn(body, loop.time(), self._key)
        try:
            if turn.ending == "hang":
                await loop.create_future()
            # Always once around the loop, as with a socket: a caller may rely on others having their turn.
            await asyncio.sleep(turn.wait_s)
        except BaseException:
            self._performance.abandoned(turn, loop.time())
            raise
        self._performance.left(turn, loop.time())
        if turn.ending == "die":
            self._dead = True
            raise EngineDiedError(f'engine "{self.spec.name}" died, as its script says')
        if turn.ending == "cut":
            raise Unanswered("the endpoint broke off the connection", absence="cut")
        return turn.status, turn.headers, turn.body

    async def alive(self, within_s: float = 0.0) -> bool:
        return not self._dead


def main(arguments: Sequence[str] | None = None) -> int:
    """The server in the foreground, until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m chainette.engine.scripted",
        description="A stand-in for an OpenAI-compatible server, on loopback. GET /stats says what it saw.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--slots", type=int, help="answers made at the same time; without it no limit")
    parser.add_argument("--service-mean", type=float, help="seconds an answer takes on average")
    parser.add_argument("--service-sigma", type=float, help="of the lognormal service time; 0: constant")
    parser.add_argument("--most-in-flight", type=int, help="requests at once above which it answers 429")
    parser.add_argument("--metrics", action="store_const", const=True, help="replies tell their times as vLLM's do")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--model", help="the only model name it knows")
    parser.add_argument("--reasoning", help="reasoning text sent beside every answer")
    parser.add_argument("--die-after", type=int, help="end the process after so many requests")
    parser.add_argument(
        "--remember", action="store_const", const=True, help="GET /stats tells of prompts answered twice"
    )
    parser.add_argument("--capture", type=int, help="how many of the last requests GET /stats shows")
    parser.add_argument("--script", metavar="FILE", help="the whole script as JSON; flags win over it")
    parser.add_argument(
        "--fault",
        action="append",
        metavar="JSON",
        help='e.g. \'{"kind": "refuse", "share": 0.1, "attempts": 1, "retry_after_s": 1}\'; may be given again',
    )
    given = parser.parse_args(arguments)
    try:
        run(_script(given), given.port)
    except (ChainError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _script(given: argparse.Namespace) -> Script:
    fields: dict[str, Any] = {}
    if given.script:
        with open(given.script, "rb") as file:
            fields = orjson.loads(file.read())
    names = {"service_mean": "service_mean_s", "service_sigma": "service_sigma"}
    for name in (
        "slots",
        "service_mean",
        "service_sigma",
        "most_in_flight",
        "metrics",
        "seed",
        "model",
        "reasoning",
        "die_after",
        "remember",
        "capture",
    ):
        value = getattr(given, name)
        if value is not None:
            fields[names.get(name, name)] = value
    if given.fault:
        fields["faults"] = [*fields.get("faults", ()), *(orjson.loads(fault) for fault in given.fault)]
    return Script.parse(fields, "script")


if __name__ == "__main__":
    sys.exit(main())
