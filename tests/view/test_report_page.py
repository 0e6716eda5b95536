"""`report.html` in a real browser, from a file, as a colleague opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainette.files.reading import RunReader
from chainette.reports.report import write_report
from chainette.specs import EngineSpec, default_registry
from tests.run.looping import every_construct, tasks
from tests.view.conftest import Window
from tests.view.samples import HOSTILE, make_hostile

pytestmark = pytest.mark.browser


@pytest.fixture
def written(tmp_path: Path) -> Path:
    default_registry.add(EngineSpec.parse({"name": "stand_in", "backend": "scripted"}))
    every_construct().run(tasks(30), tmp_path / "run", max_failed=100)
    return write_report(RunReader(tmp_path / "run"))


def open_file(tab: Window, path: Path) -> Any:
    """The page, which itself is the only thing that is ever asked for."""
    tab.page.goto(path.as_uri())
    assert tab.trouble.pop(0) == f"request: {path.as_uri()}"
    return tab.page


@pytest.fixture
def opened(window: Callable[..., Window], written: Path) -> Callable[..., Window]:
    def open_at(width: int, **options: Any) -> Window:
        tab = window(viewport={"width": width, "height": 900}, **options)
        open_file(tab, written)
        return tab

    return open_at


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_opens_without_requests_errors_or_sideways_scrolling(
    opened: Callable[..., Window], width: int
) -> None:
    tab = opened(width)
    assert tab.wider_than_window() <= 0
    assert tab.page.locator("h1").inner_text().startswith("every construct")
    assert tab.page.locator("svg.graph .g-node").count() == 23
    assert tab.page.locator("article.card").count() > 2


def test_what_a_hostile_run_says_is_shown_and_never_obeyed(window: Callable[..., Window], tmp_path: Path) -> None:
    tab = window(viewport={"width": 400, "height": 900})
    page = open_file(tab, write_report(RunReader(make_hostile(tmp_path / "run"))))
    assert page.get_by_text(HOSTILE[:29]).count() > 10
    assert page.locator("script, img, iframe, [onload], [onerror], [style]").count() == 0
    assert tab.wider_than_window() <= 0


def test_every_long_text_opens_and_every_node_leads_to_its_step(opened: Callable[..., Window]) -> None:
    tab = opened(1280)
    tab.page.locator("svg.graph a", has_text="revise").first.click()
    assert tab.page.url.endswith("#step-8")
    assert "revise" in tab.page.locator("#step-8 h3").inner_text()
    folded = tab.page.locator("details.card:not([open])").first
    folded.locator("summary").first.click()
    assert tab.page.locator("details.card:not([open])").count() < 20


@pytest.mark.parametrize(("scheme", "ground"), [("light", 200), ("dark", 60)])
def test_the_report_is_light_or_dark_as_the_reader_has_it(
    opened: Callable[..., Window], scheme: str, ground: int
) -> None:
    tab = opened(1280, color_scheme=scheme)
    colour = tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red = int(colour.partition("(")[2].partition(",")[0])
    ink = tab.page.evaluate("getComputedStyle(document.querySelector('svg.graph text')).fill")
    assert (red > ground) == (scheme == "light")
    assert ink != colour
