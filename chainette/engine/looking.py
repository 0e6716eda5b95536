"""What a live server is doing and how much memory it takes, asked from outside. Changes nothing."""

from __future__ import annotations

import contextlib

from chainette.engine.asking import fetch
from chainette.engine.gauge import Reading, read
from chainette.engine.live import LiveServer


def load_of(live: LiveServer) -> Reading | None:
    """Requests that run and wait; None when the server does not tell."""
    page = fetch(live.url, live.api_key, "/metrics")
    return None if page is None else read(page)


def memory_of(live: LiveServer) -> tuple[int, int | None]:
    """Bytes of the host's memory that the server's processes take, and of its devices where the driver tells."""
    import psutil

    pids, host = set(), 0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(live.pid)
        for process in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                host += process.memory_info().rss
                pids.add(process.pid)
    return host, _device_bytes(pids) if live.devices else None


def _device_bytes(pids: set[int]) -> int | None:
    from chainette.devices import device_memory_of

    return device_memory_of(pids)
