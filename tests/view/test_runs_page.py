"""The list of runs."""

from __future__ import annotations

import shutil

import pytest
from filelock import FileLock
from playwright.sync_api import expect

from tests.view.conftest import NOT_HERE
from tests.view.samples import copied, set_status

pytestmark = pytest.mark.browser


def names(page):
    return page.eval_on_selector_all("#runs tbody tr:not([hidden]) .who a", "all => all.map(one => one.textContent)")


def test_a_folder_without_runs_says_how_to_make_one(tmp_path, served, window):
    page = window().open(served(tmp_path))
    assert "chainette run module:chain -i INPUT" in page.inner_text("#runs")


def test_a_run_is_listed_with_what_became_of_it(runs, served, window):
    copied(runs / "fine", "costly", cost=12.5, message="", started="2026-01-02T03:04:05.000Z", seconds=4000.0)
    page = window().open(served(runs))
    assert names(page) == ["fine", "costly"]
    row = page.locator("#runs tbody tr", has_text="costly").inner_text()
    for told in ("done", "12", "3", "12.50", "1:06:40", "2026-01-02", "nightly", "Reviews of pen"):
        assert told in row
    page.click("text=costly")
    page.wait_for_url("**/run/costly")


def test_a_broken_run_is_listed_and_says_why(runs, served, window):
    (runs / "fine" / "status.json").write_text("{ not json")
    page = window().open(served(runs))
    told = page.inner_text("#runs tbody")
    assert "broken" in told
    assert "status.json cannot be read" in told


def test_runs_are_found_by_text_state_and_tag_as_one_types(runs, served, window):
    copied(runs / "fine", "died-one", state="running")
    copied(runs / "fine", "other", tags=["weekly"], chain="Something else")
    page = window().open(served(runs))
    page.fill("[data-search]", "something")
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    assert names(page) == ["other"]
    assert page.url.endswith("/?q=something")
    page.fill("[data-search]", "")
    page.select_option("[name=state]", "died")
    expect(page.locator("#runs tbody")).to_contain_text("died-one")
    assert names(page) == ["died-one"]
    page.select_option("[name=state]", "")
    page.select_option("[name=tag]", "weekly")
    expect(page.locator("#runs tbody")).to_contain_text("other")
    assert names(page) == ["other"]
    page.reload()
    assert names(page) == ["other"]


def test_a_click_on_a_column_orders_by_it(runs, served, window):
    copied(runs / "fine", "bad", rows_failed=9)
    copied(runs / "fine", "good", rows_failed=0)
    page = window().open(served(runs))
    page.click("th >> text=Failed")
    expect(page.locator("th", has_text="Failed")).to_have_attribute("aria-sort", "descending")
    assert names(page) == ["bad", "fine", "good"]
    page.click("th >> text=Failed")
    expect(page.locator("th", has_text="Failed")).to_have_attribute("aria-sort", "ascending")
    assert names(page) == ["good", "fine", "bad"]


def test_two_ticked_runs_are_compared_the_older_first(runs, served, window):
    copied(runs / "fine", "older", started="2020-01-01T00:00:00.000Z")
    page = window().open(served(runs))
    assert page.is_disabled("[data-compare]")
    page.check("[value=fine]")
    page.check("[value=older]")
    page.click("[data-compare]")
    page.wait_for_url("**/compare?a=older&b=fine")


def test_a_list_with_a_running_run_goes_on_by_itself(runs, served, window):
    with FileLock(runs / "fine" / ".lock"):
        set_status(runs / "fine", state="running", rows_done=3, rows_in=12)
        page = window().open(served(runs))
        assert page.get_attribute("#runs progress", "value") == "3"
        page.focus("#runs tbody a")
        set_status(runs / "fine", rows_done=7)
        shutil.copytree(runs / "fine", runs / "new")
        page.wait_for_selector("#runs progress[value='7']")
        page.wait_for_selector("#runs >> text=new")
        assert page.evaluate("document.activeElement.textContent") == "fine"


def test_the_list_is_walked_and_searched_by_keys(runs, served, window):
    copied(runs / "fine", "older", started="2020-01-01T00:00:00.000Z")
    page = window().open(served(runs))
    page.keyboard.press("/")
    page.keyboard.type("older")
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    page.fill("[data-search]", "")
    page.keyboard.press("Escape")
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") == "older"
    page.keyboard.press("Enter")
    page.wait_for_url("**/run/older")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_title("Runs · chainette")


def test_a_question_mark_shows_the_keys_and_escape_closes_them(runs, served, window):
    page = window().open(served(runs))
    page.keyboard.press("?")
    assert page.is_visible("dialog.help")
    page.keyboard.press("Escape")
    assert page.is_hidden("dialog.help")


def test_dark_or_light_is_the_systems_choice_until_somebody_chooses(runs, served, window):
    paper = "getComputedStyle(document.querySelector('.bar')).backgroundColor"
    tab = window(color_scheme="dark")
    page = tab.open(served(runs))
    dark = page.evaluate(paper)
    page.click("[data-theme-toggle]")
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    assert page.evaluate(paper) == light


def test_without_scripts_the_list_can_be_filtered_and_compared(runs, served, window):
    copied(runs / "fine", "other", started="2020-01-01T00:00:00.000Z")
    page = window(java_script_enabled=False).open(served(runs))
    page.fill("[data-search]", "oth")
    page.click("button:has-text('Filter')")
    page.wait_for_url("**oth**")
    assert "other" in page.inner_text("#runs")
    page.click("text=clear")
    page.check("[value=fine]")
    page.check("[value=other]")
    page.click("[data-compare]")
    page.wait_for_url("**/compare?a=other&b=fine")


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_its_window(width, runs, served, window):
    copied(runs / "fine", "a-run-with-a-name-that-is-very-long-indeed-20261121-150356-8058-and-then-some-more")
    tab, site = window(viewport={"width": width, "height": 800}), served(runs)
    for path in ("/", "/run/fine", "/run/fine/failures", "/compare?a=fine&b=fine", "/run/none"):
        page = tab.open(site, path)
        page.wait_for_load_state("networkidle")
        assert tab.wider_than_window() == 0, path
        tab.expected = [NOT_HERE]
