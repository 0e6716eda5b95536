"""What one page server shows: its runs, its token, its templates. Knows no page and no socket.

A page is given a run by the name of its folder and never by a path, so what a browser asks for cannot lead out of the
runs folder.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chainette.errors import ChainetteError, RunFolderError, nearest
from chainette.files.names import INPUT_NODE
from chainette.files.reading import RunReader, RunSummary, list_runs
from chainette.files.remote_names import is_remote
from chainette.files.runs import is_run_folder, run_folders, summarise
from chainette.view import shown, urls
from chainette.view.kept import Kept
from chainette.view.open_tables import OpenComparisons, OpenTables

P = ParamSpec("P")
T = TypeVar("T")

WORKERS = 4
"""Requests that may read files at the same time."""
LONG_WORKERS = 2
"""Of those that go through many files, beside the others, so that no page has to wait for them."""
PATIENCE_S = 30.0
LONG_PATIENCE_S = 180.0


class NotHere(RunFolderError):
    """There is nothing at this address; answered with 404."""


class TooSlow(ChainetteError):
    """A page was not ready in time; answered with 503."""


class Site:
    """The runs of one folder, or a single run."""

    def __init__(self, runs_dir: str | os.PathLike[str] = "runs", *, only: Path | None = None) -> None:
        """`runs_dir` may be a URL. `only` is a run folder: then no other is shown."""
        self.runs_dir = runs_dir
        self.only = only
        self.token = secrets.token_urlsafe(24)
        self.pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="chainette-view")
        self.long_pool = ThreadPoolExecutor(LONG_WORKERS, thread_name_prefix="chainette-view-long")
        self.kept = Kept()
        self.busy = 0
        """Calls that are in threads now, those that nobody waits for any more included."""

    def close(self) -> None:
        """Begins nothing more; what is under way in threads ends by itself."""
        for pool in (self.pool, self.long_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def summaries(self) -> list[RunSummary]:
        """The runs that may be seen, the newest first."""
        return [summarise(self.only)] if self.only is not None else list_runs(self.runs_dir)

    def reader(self, name: str) -> RunReader:
        """A run by its folder's name, as it is now.

        Raises:
            NotHere: there is no run of that name; the message has the nearest.
        """
        return RunReader(self.folder(name))

    def folder(self, name: str) -> Path | str:
        """Where a run is; a URL where it is remote.

        Raises:
            NotHere: there is no run of that name.
        """
        if self.only is not None:
            if name == self.only.name:
                return self.only
            raise NotHere(f'this page shows {self.only.name} and no other run, so not "{name}"')
        if is_remote(self.runs_dir):
            found = {run.name: run.path for run in self.summaries()}
        else:
            # No name of a file is put together from what was asked for: it is looked up among those that are there.
            found = {path.name: path for path in run_folders(Path(self.runs_dir))}
        if name not in found:
            hint = nearest(name, found) or "there are none"
            raise NotHere(f'there is no run "{name}" in {self.runs_dir} ({hint})')
        path = found[name]
        if isinstance(path, Path):
            self._check(path)
        return path

    def _check(self, path: Path) -> None:
        if path.is_symlink() and path.resolve().parent != Path(self.runs_dir).resolve():
            error = NotHere(f"{path.name} is a link to a folder outside of {self.runs_dir}")
            error.add_note(f"next: chainette view {path.resolve()}")
            raise error
        if not is_run_folder(path):
            raise NotHere(f"{path.name} has neither graph.json nor status.json: it ended before it began")

    @cached_property
    def open_tables(self) -> OpenTables:
        """The tables of runs, kept from page to page."""
        return OpenTables(self.reader)

    @cached_property
    def open_comparisons(self) -> OpenComparisons:
        """Rows of two runs side by side, compared in the background."""
        return OpenComparisons(self.reader)

    @cached_property
    def environment(self) -> Environment:
        """Escapes everything; what is missing is an error."""
        environment = Environment(
            loader=PackageLoader("chainette.view"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals.update(
            run_url=urls.run_url,
            rows_url=urls.rows_url,
            row_url=urls.row_url,
            failures_url=urls.failures_url,
            failed_rows_url=urls.failed_rows_url,
            sql_url=urls.sql_url,
            compare_url=urls.compare_url,
            diff_url=urls.diff_url,
            with_query=urls.with_query,
            INPUT=INPUT_NODE,
        )
        environment.filters.update(shown.FILTERS)
        return environment

    @property
    def place(self) -> str:
        """What is shown, in words."""
        return str(self.only) if self.only is not None else str(self.runs_dir)


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def site_of(request: web.Request) -> Site:
    return request.app[SITE]


def asked(request: web.Request, part: str) -> str:
    """A part of the path, as it was before it stood in one: `asked(request, "step")`."""
    return urls.text_of(request.match_info[part])


def our_svg(drawing: str) -> Markup:
    """A drawing by our own code, which has escaped every text in it. The only door past the templates' escaping."""
    return Markup(drawing)


def render(
    request: web.Request, template: str, *, run: str = "", tab: str = "", status: int = 200, **context: Any
) -> web.Response:
    """A page. `run` is the name that its header shows with the tabs of a run, of which `tab` is the one we are in."""
    site = site_of(request)
    text = site.environment.get_template(template).render(
        run=run, tab=tab, place=site.place, single=site.only is not None, path=request.rel_url.raw_path, **context
    )
    # Half a surrogate pair in somebody's data has no UTF-8.
    return web.Response(body=text.encode("utf-8", "replace"), status=status, content_type="text/html", charset="utf-8")


def answer(value: dict[str, Any], status: int = 200) -> web.Response:
    """JSON for the page's own scripts."""
    from chainette.observe.record import record_line

    return web.Response(body=record_line(value), status=status, content_type="application/json")


async def work(request: web.Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls what reads files in a thread, so that other requests go on.

    Raises:
        TooSlow: it took longer than `PATIENCE_S`. The thread ends by itself.
    """
    site = site_of(request)
    return await _in_thread(site, site.pool, PATIENCE_S, lambda: function(*args, **kwargs))


async def work_long(request: web.Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `work`, of what may go through all the files of a large run: few of these at once, with more patience."""
    site = site_of(request)
    return await _in_thread(site, site.long_pool, LONG_PATIENCE_S, lambda: function(*args, **kwargs))


async def _in_thread(site: Site, pool: ThreadPoolExecutor, patience_s: float, function: Callable[[], T]) -> T:
    def counted() -> T:
        site.busy += 1
        try:
            return function()
        finally:
            site.busy -= 1

    future = asyncio.get_running_loop().run_in_executor(pool, counted)
    try:
        return await asyncio.wait_for(future, patience_s)
    except TimeoutError:
        error = TooSlow(f"this was not ready after {patience_s:.0f} s and was given up")
        error.add_note("next: ask for less, or use chainette show, stats and sql in a terminal")
        raise error from None
