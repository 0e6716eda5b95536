"""A page server on a real socket and a real Chromium before it.

The browser lives as long as this folder's tests and no longer: playwright keeps an event loop in the main thread, in
which other tests start their own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainette.view.guard import Guard
from chainette.view.server import listening_socket, may_write, serve
from chainette.view.site import Site
from tests.view.samples import make_run

CHROMIUM = os.environ.get("CHAINETTE_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

NOT_HERE = "console: Failed to load resource: the server responded with a status of 404"
"""What Chromium logs of a page that is not there."""


class Served:
    """A page server in a thread of this process."""

    def __init__(self, runs_dir: Path, only: Path | None = None, host: str = "127.0.0.1") -> None:
        self.site = Site(runs_dir, only=only)
        self.guard = Guard(self.site.token, host, may_write=may_write)
        self.errors: list[Exception] = []
        """What nobody expected while a page was made."""
        opened = listening_socket(host, 0)
        self.port: int = opened.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._task = self._loop.create_task(serve(self.site, self.guard, opened, self.errors.append, ready.set))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert ready.wait(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    @property
    def url(self) -> str:
        """With the token."""
        return f"{self.base}/?token={self.site.token}"

    @property
    def cookie(self) -> dict[str, str]:
        return {f"chainette-{self.port}": self.site.token}

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(30)


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """`served(runs_dir)`: a page server over a folder of runs."""
    open_ones: list[Served] = []

    def start(runs_dir: Path, **options: Any) -> Served:
        open_ones.append(Served(runs_dir, **options))
        return open_ones[-1]

    yield start
    for one in open_ones:
        one.close()
        assert not one.errors


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done, to be copied."""
    return make_run(tmp_path_factory.mktemp("finished") / "fine")


@pytest.fixture
def runs(tmp_path: Path, finished: Path) -> Path:
    """A folder of runs with one in it, `fine`."""
    shutil.copytree(finished, tmp_path / "runs" / "fine")
    return tmp_path / "runs"


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}; CHAINETTE_CHROMIUM says where it is")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


class Window:
    """A tab of its own. Every error it logs, every dialog and every request to elsewhere is held against it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.trouble: list[str] = []
        self.expected: list[str] = []
        """Beginnings of what may be logged."""
        self.page.on("console", lambda said: said.type == "error" and self.trouble.append(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")):
            self.trouble.append(f"request: {request.url}")

    def open(self, served: Served, path: str = "/") -> Any:
        """A page of a server whose token this window has shown."""
        if not self.context.cookies(served.base):
            self.page.goto(served.url)
        if path != "/" or not self.page.url.startswith(served.base):
            self.page.goto(served.base + path)
        return self.page

    def wider_than_window(self) -> int:
        """Pixels that the page, not one of its boxes, would have to be scrolled sideways."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def close(self) -> None:
        self.context.close()
        assert [said for said in self.trouble if not said.startswith(tuple(self.expected) or "\0")] == []


@pytest.fixture
def window(browser: Any) -> Iterator[Callable[..., Window]]:
    """`window(**options)`: a tab of Chromium, 1280 wide; options are those of `new_context`."""
    opened: list[Window] = []

    def new(**options: Any) -> Window:
        opened.append(Window(browser, **options))
        return opened[-1]

    yield new
    for one in opened:
        one.close()
