"""The process that serves a GGUF file with llama.cpp's own server. Run as a file by `chainette.engine.embedded`.

Reads its settings as one line of JSON from standard input, says `listening on URL` on standard output, and ends when
standard input is closed: then its parent is gone, however that came about, unless it said `stay` before. Imports
nothing of Chainette, to start fast.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

MISSING_LIBRARY = """\
xllamacpp, which runs the model, cannot be loaded: {error}
Its Linux wheel needs the system library libgomp.so.1 (Debian, Ubuntu: apt-get install libgomp1; Fedora: dnf install \
libgomp; Alpine is not supported) and a processor with AVX2. If it is not installed: pip install xllamacpp"""


def main() -> None:
    parent = os.getppid()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    stays = threading.Event()
    threading.Thread(target=_end_with_parent, args=(stays,), daemon=True).start()
    threading.Thread(target=_end_when_orphaned, args=(parent, stays), daemon=True).start()
    # Standard output carries one line to the parent; what the library prints goes to the log.
    announce = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    settings = json.loads(line)
    try:
        import xllamacpp
    except ImportError as error:
        print(MISSING_LIBRARY.format(error=error), file=sys.stderr, flush=True)
        os._exit(3)
    params = xllamacpp.CommonParams()
    for name, value in settings.items():
        _set(params, name, value)
    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        print(f"llama.cpp cannot serve {settings.get('model.path')}: {error}", file=sys.stderr, flush=True)
        os._exit(4)
    print(f"listening on {server.listening_address}/v1", file=announce, flush=True)
    announce.close()
    threading.Event().wait()


def _set(params: Any, name: str, value: Any) -> None:
    """`cpuparams.n_threads` and the like: a path of attributes."""
    *path, last = name.split(".")
    for part in path:
        params = getattr(params, part)
    setattr(params, last, {value} if last == "model_alias" else value)


def _end_with_parent(stays: threading.Event) -> None:
    # The descriptor itself: a read through `sys.stdin` holds its lock, and the interpreter could not shut down.
    while said := os.read(0, 4096):
        if b"stay" in said:
            stays.set()
            return
    os._exit(0)


def _end_when_orphaned(parent: int, stays: threading.Event) -> None:
    """Another child that our parent forked may still hold the other end of standard input open."""
    while os.name == "posix" and os.getppid() == parent and not stays.wait(1):
        pass
    if os.name == "posix" and not stays.is_set():
        os._exit(0)


if __name__ == "__main__":
    main()
