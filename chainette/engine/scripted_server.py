"""The stand-in as an HTTP server on loopback: the same script, real sockets. For tests and benchmarks, nothing else.

Its parser reads what well-behaved clients send (`Content-Length`, keep-alive) and is written for speed: benchmarks
measure the client, so the server must not be what they wait for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from chainette.engine.script import Performance, Script, Stats
from chainette.engine.script_replies import Turn, metrics_page, refused

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
LOOPBACK = "127.0.0.1"


class ScriptedProtocol(asyncio.Protocol):
    """One connection. Requests are answered one after the other, as HTTP/1.1 asks."""

    def __init__(
        self, performance: Performance, loop: asyncio.AbstractEventLoop, connections: set[asyncio.Transport]
    ) -> None:
        self._performance = performance
        self._connections = connections
        self._loop = loop
        self._buffer = b""
        self._turn: Turn | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()
        if self._turn is not None:
            self._performance.abandoned(self._turn, self._loop.time())

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._turn is None:
            self._next()

    def _next(self) -> None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end]
        headers = head.lower()
        length = 0
        at = headers.find(b"\r\ncontent-length:")
        if at >= 0:
            stop = headers.find(b"\r\n", at + 2)
            length = int(headers[at + 17 : stop if stop >= 0 else end])
        elif b"\r\ntransfer-encoding:" in headers:
            self._transport.abort()
            return
        done = end + 4 + length
        if len(buffer) < done:
            if b"\r\nexpect: 100-continue" in headers and len(buffer) == end + 4:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._buffer = buffer[done:]
        self._request(head, buffer[end + 4 : done])

    def _request(self, head: bytes, body: bytes) -> None:
        line = head[: head.find(b"\r\n")] if b"\r\n" in head else head
        if b"/chat/completions" not in line:
            self._write(_other(line, self._performance))
            return self._next()
        now_s = self._loop.time()
        key = _key(head) if self._performance.script.api_key is not None else None
        turn = self._turn = self._performance.turn(body, now_s, key)
        if turn.ending == "die":
            os._exit(1)
        if turn.ending == "hang":
            return None
        if turn.wait_s > 0:
            self._timer = self._loop.call_later(turn.wait_s, self._reply)
            return None
        return self._reply()

    def _reply(self) -> None:
        turn = self._turn
        if turn is None:
            return
        self._turn = self._timer = None
        self._performance.left(turn, self._loop.time())
        self._write(turn)
        if turn.ending:
            self._transport.close()
        elif self._buffer:
            self._next()

    def _write(self, turn: Turn) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in turn.headers.items())
        head = (
            f"HTTP/1.1 {turn.status} {REASONS.get(turn.status, 'Error')}\r\n"
            f"content-type: application/json\r\n{extra}content-length: {len(turn.body)}\r\n\r\n"
        ).encode()
        body = turn.body if turn.ending != "cut" else turn.body[: len(turn.body) // 2]
        self._transport.write(head + body)


def _key(head: bytes) -> str | None:
    at = head.lower().find(b"\r\nauthorization: bearer ")
    return head[at + 24 :].partition(b"\r\n")[0].decode("latin-1") if at >= 0 else None


def _other(line: bytes, performance: Performance) -> Turn:
    """The replies to everything that is no call."""
    method, _, rest = line.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].rstrip(b"/")
    if path.endswith(b"/health"):
        return Turn(200, b"{}")
    if path.endswith(b"/models"):
        model = {"id": performance.script.model or "scripted", "object": "model"}
        return Turn(200, orjson.dumps({"object": "list", "data": [model]}))
    if path == b"/metrics":
        return Turn(200, metrics_page(*performance.load()))
    if path.endswith(b"/stats"):
        return Turn(200, performance.seen().as_json())
    if performance.script.sleeps and method == b"POST" and path in (b"/sleep", b"/wake_up"):
        return Turn(200, b"{}")
    if path.endswith(b"/reset") and method == b"POST":
        performance.reset()
        return Turn(200, b"{}")
    return refused(404, f"nothing is at {path.decode('latin-1')}")


async def serve(script: Script, port: int = 0, ready: Callable[[str, Performance], None] | None = None) -> None:
    """Serves until cancelled. `ready` gets the base URL, up to and with `/v1`."""
    loop = asyncio.get_running_loop()
    performance = Performance(script)
    connections: set[asyncio.Transport] = set()
    server = await loop.create_server(
        lambda: ScriptedProtocol(performance, loop, connections), LOOPBACK, port, backlog=4096, reuse_address=True
    )
    try:
        if ready is not None:
            ready(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/v1", performance)
        await loop.create_future()
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()
        await server.wait_closed()
        await asyncio.sleep(0)  # the aborted connections are closed in the loop's next round


def run(script: Script, port: int = 0) -> None:
    """Serves in the foreground until SIGTERM or SIGINT; says where in one line."""

    async def main() -> None:
        task = asyncio.ensure_future(serve(script, port, lambda url, _: print(f"listening on {url}", flush=True)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        await asyncio.gather(task, return_exceptions=True)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class ScriptedServer:
    """A running stand-in, as a test sees it."""

    def __init__(self, url: str, performance: Performance) -> None:
        self.url = url
        """Base URL, up to and with `/v1`."""
        self._performance = performance

    @property
    def stats(self) -> Stats:
        return self._performance.seen()

    def wait_until(self, is_so: Callable[[Stats], bool], timeout_s: float = 20.0) -> bool:
        """Whether it came to be so in that time; it is looked at when a request is over."""
        return self._performance.wait_until(is_so, timeout_s)

    def reset(self) -> None:
        self._performance.reset()


@contextmanager
def scripted_server(script: Script | None = None, port: int = 0) -> Iterator[ScriptedServer]:
    """A stand-in on a free port, in a thread of this process, until the block is left."""
    started = threading.Event()
    found: list[Any] = []

    async def main() -> None:
        found.extend((asyncio.get_running_loop(), asyncio.current_task()))

        def ready(url: str, performance: Performance) -> None:
            found.append(ScriptedServer(url, performance))
            started.set()

        await serve(script or Script(), port, ready)

    def thread() -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(main())
        except asyncio.CancelledError:
            pass
        except OSError as error:
            found[:] = [error]
        finally:
            started.set()

    worker = threading.Thread(target=thread, name="scripted-server", daemon=True)
    worker.start()
    started.wait()
    if isinstance(found[0], OSError):
        raise found[0]
    loop, task, server = found
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(task.cancel)
        worker.join()
