"""The rows of two runs, field by field."""

from __future__ import annotations

import pytest

from chainette.files.json_text import encode
from tests.folders import lines
from tests.view.conftest import NOT_HERE
from tests.view.samples import HOSTILE, copied

pytestmark = pytest.mark.browser


def changed(run):
    """A copy in which rows 0 to 2 of the first step say something else."""
    run = copied(run, "other")
    path = run / "steps" / "facts" / "000.jsonl"
    rows = lines(path)
    rows[0]["product"] = f"good pen, but of another make {HOSTILE}"
    rows[1]["rating"] = 5
    del rows[2]
    path.write_text("".join(encode(row).decode() + "\n" for row in rows), encoding="utf-8")
    return run


def test_rows_that_differ_are_shown_with_the_words_that_do(runs, served, window):
    changed(runs / "fine")
    page = window().open(served(runs), "/diff?a=fine&b=other&step=facts")
    page.wait_for_selector("[data-result]:not([data-looking])")
    assert page.locator(".card").count() == 3
    assert page.inner_text("[role=status] b") == "9"
    first = page.locator(".card").first
    assert HOSTILE in first.inner_text()
    assert first.locator("dt").all_inner_texts() == ["product"]
    assert "1 more field the same" in first.inner_text()
    page.click(".chip:has-text('1 gone')")
    page.wait_for_url("**kind=gone**")
    page.wait_for_selector("[data-result]:not([data-looking])")
    assert page.locator(".card").count() == 1
    page.goto(page.url.replace("kind=gone", "field=rating"))
    assert page.locator(".card del").all_inner_texts() == ["4"]
    assert page.locator(".card ins").all_inner_texts() == ["5"]


def test_runs_that_are_the_same_say_so(runs, served, window):
    copied(runs / "fine", "twin")
    page = window(viewport={"width": 400, "height": 800}).open(served(runs), "/diff?a=fine&b=twin")
    page.wait_for_selector("text=no row differs")


def test_one_run_is_no_comparison(runs, served, window):
    tab = window()
    tab.expected.append(NOT_HERE)
    page = tab.open(served(runs), "/diff?a=fine")
    assert "needs two runs" in page.inner_text("main")
