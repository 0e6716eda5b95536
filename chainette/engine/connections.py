"""The connections to one endpoint, of one event loop, and what their errors mean. Knows no calls and no retries."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from typing import TYPE_CHECKING

from chainette.engine.replies import GATEWAY_STATUS, Absence, Unanswered, Unserved

if TYPE_CHECKING:
    from aiohttp import ClientSession

KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which uvicorn, and so vLLM, closes an idle connection under our hands."""
CONNECT_TIMEOUT_S = 30.0
ALIVE_TIMEOUT_S = 5.0
_METRICS = re.compile(r"(/v1)?/chat/completions")
SHORT_HERE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""No connection, but for want of something on this machine."""


class Connections:
    """A pool without a limit: how many there are is the engine's window."""

    __slots__ = ("broken", "loop", "metrics_url", "models_url", "session", "url")

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, headers: dict[str, str]) -> None:
        import aiohttp
        from yarl import URL

        self.loop = loop
        self.url = URL(url)
        self.models_url = URL(url.replace("/chat/completions", "/models", 1))
        self.metrics_url = URL(_METRICS.sub("/metrics", url, count=1))
        self.broken = (aiohttp.ClientError, OSError, ValueError)
        self.session: ClientSession = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            proxy=_proxy(self.url.scheme, self.url.host or ""),
        )

    async def alive(self, within_s: float) -> bool:
        """Whether a server answers when it is asked for its models, with whatever it says."""
        try:
            async with asyncio.timeout(min(within_s, ALIVE_TIMEOUT_S)):
                response = await self.session.get(self.models_url, allow_redirects=False)
        except self.broken:  # a TimeoutError is an OSError
            return False
        response.close()
        return response.status not in GATEWAY_STATUS

    async def metrics(self) -> bytes | None:
        """What the server says of itself at /metrics, or None."""
        try:
            async with asyncio.timeout(ALIVE_TIMEOUT_S):
                response = await self.session.get(self.metrics_url, allow_redirects=False)
                return await response.read() if response.status == 200 else None
        except self.broken:  # a TimeoutError is an OSError
            return None

    def explain(self, error: Exception) -> Exception:
        """What went wrong, in the same words in every run: without addresses, and without what only timing decides."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return Unserved("http", f"the endpoint's TLS certificate is not accepted: {error.os_error}")
        if isinstance(error, aiohttp.InvalidURL):
            return Unserved("http", "the endpoint's URL is none")
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno or 0
            why = os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
            absence: Absence | None = None if number in SHORT_HERE else "no_connection"
            return Unanswered(f"nothing answers at the endpoint ({why})", absence=absence)
        if isinstance(error, aiohttp.ServerTimeoutError):
            message = f"the endpoint could not be reached within {CONNECT_TIMEOUT_S:g} s"
            return Unanswered(message, absence="no_connection")
        if isinstance(error, ValueError):
            return Unserved("http", f"no request can be sent with this URL, key and headers: {error}")
        return Unanswered("the endpoint broke off the connection", absence="cut")


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy the environment asks for, looked up once instead of once per request."""
    from urllib.request import getproxies, proxy_bypass

    if host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(host):
        return None
    return getproxies().get(scheme)
