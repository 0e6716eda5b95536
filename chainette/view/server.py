"""Serves a site on a socket of this machine. Knows routes and errors, not what a page shows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from chainette.errors import ChainetteError
from chainette.view import (
    pages_compare,
    pages_diff,
    pages_notes,
    pages_row,
    pages_rows,
    pages_run,
    pages_runs,
    pages_sql,
)
from chainette.view.guard import HEADERS, Guard, Refused, is_loopback
from chainette.view.site import SITE, NotHere, Site, TooSlow, answer, render

PORT = 8377
"""The first that is tried; the same each time, so that a tunnel may stay."""
_TRIES = 20
_MAX_BODY_BYTES = 1 << 18
_STATIC = Path(__file__).parent / "static"
_PAGES = (pages_runs, pages_run, pages_rows, pages_row, pages_sql, pages_compare, pages_diff, pages_notes)

Complain = Callable[[Exception], None]
"""Told of an error that nobody expected."""


def make_app(site: Site, guard: Guard, complain: Complain) -> web.Application:
    """The site with all its pages."""

    @web.middleware
    async def guarded(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        try:
            return await guard.before(request, handler)  # type: ignore[arg-type]
        except Refused as error:
            return _refusal(request, error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _trouble(request, NotHere(_words(error, request)), error.status)
        except ChainetteError as error:
            return _trouble(request, error, _status(error))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            complain(error)
            unknown = ChainetteError(f"the page could not be made: {type(error).__name__}")
            unknown.add_note("this is a bug; the terminal in which chainette view runs says where its traceback is")
            return _trouble(request, unknown, 500)

    async def with_headers(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers[name] = value

    app = web.Application(middlewares=[guarded], client_max_size=_MAX_BODY_BYTES)
    app[SITE] = site
    app.on_response_prepare.append(with_headers)
    for pages in _PAGES:
        app.add_routes(pages.routes())
    app.router.add_static("/static", _STATIC)
    return app


def may_write(path: str) -> bool:
    """Notes are the one thing that a page writes."""
    return path.startswith("/api/run/") and path.endswith("/notes")


def _status(error: ChainetteError) -> int:
    return 404 if isinstance(error, NotHere) else 503 if isinstance(error, TooSlow) else 422


def _words(error: web.HTTPException, request: web.Request) -> str:
    if error.status == 404:
        return "there is no page at this address"
    return f"{request.method} is not taken here" if error.status == 405 else error.reason


def _refusal(request: web.Request, error: Refused) -> web.Response:
    """Says nothing of any run: whoever asks has not shown the token."""
    text = f"{error}\nnext: open the address that chainette view has printed\n"
    return web.Response(text=text, status=403)


def _trouble(request: web.Request, error: ChainetteError, status: int) -> web.Response:
    notes = list(getattr(error, "__notes__", []))
    if request.path.startswith("/api/"):
        return answer({"error": str(error), "notes": notes}, status)
    return render(request, "trouble.html", status=status, message=str(error), notes=notes, code=status)


def listening_socket(host: str, port: int | None) -> socket.socket:
    """On `port`, or without one on the first free of some that are always the same.

    Raises:
        ChainetteError: the port or the address cannot be had.
    """
    if port is not None:
        return _bound(host, port)
    for tried in range(PORT, PORT + _TRIES):
        with contextlib.suppress(ChainetteError):
            return _bound(host, tried)
    return _bound(host, 0)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, number)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(64)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        told = ChainetteError(f"cannot listen on {host} port {port}: {error.strerror or error}")
        way = "--port takes one that is free" if is_loopback(host) else "--host listens on this machine only"
        told.add_note(f"next: chainette view without {way}")
        raise told from error
    return opened


async def serve(site: Site, guard: Guard, opened: socket.socket, complain: Complain, ready: Callable[[], None]) -> None:
    """Answers until it is cancelled. `ready` is called when the first request may come."""
    guard.listens_on(opened.getsockname()[1])
    runner = web.AppRunner(make_app(site, guard, complain), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, opened).start()
        ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        site.close()
