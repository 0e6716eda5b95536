"""The list of runs. Knows which are asked for, not what is in them."""

from __future__ import annotations

from aiohttp import web

from chainette.view.run_list import Wish, listed
from chainette.view.site import render, site_of, work
from chainette.view.urls import run_url


def routes() -> list[web.RouteDef]:
    return [web.get("/", runs)]


async def runs(request: web.Request) -> web.Response:
    site = site_of(request)
    if site.only is not None:
        raise web.HTTPFound(run_url(site.only.name))
    wish = Wish.of(request.query)
    shown = await work(request, lambda: listed(site.summaries(), wish))
    return await work(request, lambda: render(request, "runs.html", shown=shown, wish=wish))
