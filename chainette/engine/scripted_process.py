"""The stand-in as a server process of ours: starts, announces itself and ends as vLLM's launcher does.

    echo '{"script": {}}' | python -m chainette.engine.scripted_process

Reads its settings as one line of JSON, says `listening on URL`, and ends when standard input is closed, unless the line
`stay` came before.
"""

from __future__ import annotations

import os
import sys
import threading

import orjson

from chainette.engine.script import Script
from chainette.engine.scripted_server import run


def main() -> None:
    line = sys.stdin.buffer.readline()
    if not line:
        return
    settings = orjson.loads(line)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run(Script.parse(settings["script"]))


def _end_with_parent() -> None:
    while said := os.read(0, 4096):
        if b"stay" in said:
            return
    os._exit(0)


if __name__ == "__main__":
    main()
