"""Who may ask the page server for what: token, host, origin, and the headers on every answer. Knows no page.

What a run contains is foreign text. It is escaped by the templates; the policy here is the second wall: a script that
came through would not run, and nothing on a page can reach another machine.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Nothing goes to other sites. With "no-referrer" a browser would not say the origin of a form either.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "chainette",
}
TOKEN = "token"
_READS = ("GET", "HEAD")
_FOUND = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>chainette</title>
<meta http-equiv="refresh" content="0;url={}"></head><body><a href="{}">to the page</a></body></html>"""


class Refused(Exception):
    """This request is not answered; says why."""


class Guard:
    """Lets requests through that have the token, name a host that we are, and come from our own pages."""

    def __init__(self, token: str, host: str, *, may_write: Callable[[str], bool]) -> None:
        """`host` is the address listened on; `may_write` tells the paths that take a POST."""
        self._token = token
        self._tickets: set[str] = set()
        self._cookie = "chainette"
        self._host = host
        self._may_write = may_write

    def listens_on(self, port: int) -> None:
        """Cookies do not know ports: without its number in the name, two pages would take each other's."""
        self._cookie = f"chainette-{port}"

    def ticket(self) -> str:
        """A token that is good for one visit. The browser's command line, which others may see, holds only that."""
        made = secrets.token_urlsafe(24)
        self._tickets.add(made)
        return made

    async def before(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Raises `Refused`, or answers with what `handler` says."""
        self._check_host(request)
        self._check_origin(request)
        if TOKEN in request.query and request.method in _READS:
            return self._take_token(request)
        if not _same(request.cookies.get(self._cookie, ""), self._token):
            raise Refused("this page needs the address with the token that `chainette view` has printed")
        return await handler(request)

    def _take_token(self, request: web.Request) -> web.Response:
        """Turns the token of an address into a cookie, and sends on to the address without it."""
        told = request.query[TOKEN]
        ticket = next((one for one in self._tickets if _same(told, one)), None)
        if ticket is not None:
            self._tickets.discard(ticket)
        elif not _same(told, self._token):
            raise Refused(
                "the token in this address is another run of `chainette view`'s; it prints a new one each time"
            )
        others = urlencode([(name, value) for name, value in request.query.items() if name != TOKEN])
        clean = "/" + request.rel_url.raw_path.lstrip("/") + (f"?{others}" if others else "")
        if request.headers.get("Sec-Fetch-Site", "none") == "cross-site":
            # A strict cookie is not sent along a redirect that began elsewhere (a link in a web terminal).
            shown = clean.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
            response = web.Response(text=_FOUND.format(shown, shown), content_type="text/html")
        else:
            response = web.Response(status=303, headers={"Location": clean})
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
        return response

    def _check_host(self, request: web.Request) -> None:
        """A foreign name that was made to point at this machine (DNS rebinding) is no host of ours."""
        if not is_ours(_host_of(request.headers.get("Host", "")), self._host):
            raise Refused("this is not the host that the page is served at")

    def _check_origin(self, request: web.Request) -> None:
        if request.method not in _READS and not (request.method == "POST" and self._may_write(request.path)):
            raise Refused(f"{request.method} is not taken here")
        origin = request.headers.get("Origin")
        ours = f"http://{request.headers.get('Host', '')}"
        if origin is not None and origin != ours:
            raise Refused("this request comes from a page of another origin")
        if request.method == "POST" and origin is None:
            raise Refused("a request that writes has to say its origin")
        site, mode = request.headers.get("Sec-Fetch-Site", "none"), request.headers.get("Sec-Fetch-Mode", "navigate")
        if site in ("cross-site", "same-site") and mode != "navigate":
            raise Refused("this request comes from a page of another origin")


def is_ours(name: str, host: str) -> bool:
    """Whether a `Host` header may name us. Only names can be made to point here, so on other addresses any IP may."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        names = (
            {"localhost"}
            if is_loopback(host)
            else {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        )
        return name in names | {host.lower()}
    return address.is_loopback or not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether what listens there can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_of(header: str) -> str:
    """The name in a `Host` header, without the port, which differs behind `ssh -L`."""
    name, bracket, rest = header[1:].partition("]") if header.startswith("[") else header.partition(":")
    if bracket == ":":
        rest = f":{rest}"
    # What else stands there (`127.0.0.1:80@elsewhere`) is for others to read otherwise than we do.
    return name.lower() if not rest or (rest[0] == ":" and rest[1:].isdecimal()) else ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
