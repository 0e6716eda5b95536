"""The table of rows: conditions, search, order, columns, pages, keys."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from chainette.files.json_text import encode
from tests.view.samples import copied

pytestmark = pytest.mark.browser


def shown(page):
    """The ids in the table."""
    return page.locator("td.id a").all_inner_texts()


def asked(page):
    return parse_qs(urlsplit(page.url).query)


def widened(run, count, columns=0):
    """A copy of a run whose first step has so many rows and columns."""
    run = copied(run, "wide")
    more = {f"column_{n:03d}": f"value {n}" for n in range(columns)}
    rows = ({"_id": str(n), "product": f"pen {n}", "rating": n % 7, **more} for n in range(count))
    (run / "steps" / "facts" / "000.jsonl").write_text("".join(encode(row).decode() + "\n" for row in rows))
    return run


def test_rows_opens_the_result_of_the_run_and_lists_all_tables(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows")
    assert page.locator(".tables a[aria-current]").count() == 1
    tables = page.locator(".tables a").all_inner_texts()
    assert {"chain_input", "facts", "draft", "failed", "calls/facts"} <= set(tables)


def test_what_is_asked_for_stands_in_the_address_and_comes_back_with_it(runs, served, window):
    site, tab = served(runs), window()
    page = tab.open(site, "/run/fine/rows/facts")
    assert len(shown(page)) == 12
    page.fill("[name=q]", "GOOD")
    page.select_option("[name=field]", "rating")
    page.select_option("[name=op]", ">=")
    page.fill("[name=value]", "4")
    page.press("[name=value]", "Enter")
    page.wait_for_url("**?q=GOOD*")
    assert shown(page) == ["0", "1", "4", "5", "8", "9"]
    assert asked(page) == {"q": ["GOOD"], "field": ["rating"], "op": [">="], "value": ["4"]}
    again = window().open(site, urlsplit(page.url).path + "?" + urlsplit(page.url).query)
    assert shown(again) == ["0", "1", "4", "5", "8", "9"]
    assert again.input_value("[name=value]") == "4"


def test_rows_are_found_by_a_field_of_another_step(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows/chain_input")
    page.select_option("[name=field]", "facts › product")
    page.select_option("[name=op]", "contains")
    page.fill("[name=value]", "odd")
    page.click("text=show >> nth=0")
    page.wait_for_url("**?field=*")
    assert shown(page) == ["3", "7", "11"]


def test_a_condition_is_added_with_a_key_and_taken_away_with_a_click(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows/facts?field=product&op=contains&value=bad")
    assert shown(page) == ["2", "6", "10"]
    page.keyboard.press("+")
    assert page.locator("[data-filter]").count() == 2
    page.locator("[data-filter]").first.locator("[data-remove]").click()
    page.wait_for_url("**/rows/facts")
    assert len(shown(page)) == 12


def test_a_head_sorts_up_then_down_then_as_in_the_files(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows/facts")
    for order in ("ascending", "descending", None):
        page.click("th a:text-is('product')")
        page.wait_for_load_state()
        assert page.locator("th", has_text="product").get_attribute("aria-sort") == order
    assert shown(page)[0] == "0"


def test_a_field_that_is_not_there_is_told_with_the_nearest(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows/facts?field=produkt&op=%3D&value=x")
    assert 'did you mean "product"?' in page.inner_text("[role=alert]")
    assert page.input_value("[name=field]") == "produkt"


def test_pages_are_turned_by_key_and_a_row_is_gone_to_by_number(runs, served, window):
    widened(runs / "fine", 1_000)
    page = window().open(served(runs), "/run/wide/rows/facts")
    page.keyboard.press("n")
    page.wait_for_url("**at=50")
    assert shown(page)[0] == "50"
    page.keyboard.press("p")
    page.wait_for_url("**/rows/facts?")
    page.fill("[data-jump] [name=at]", "701")
    page.press("[data-jump] [name=at]", "Enter")
    page.wait_for_url("**at=700")
    assert shown(page)[0] == "700"
    assert "701–750 of 1,000" in page.inner_text("[role=status]")


def test_an_opened_row_goes_on_along_the_list_it_came_from(runs, served, window):
    page = window().open(served(runs), "/run/fine/rows/facts?field=product&op=contains&value=bad")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/row/facts/6?**")
    assert "2 of 3 in facts, filtered" in page.inner_text(".tools-row")
    page.keyboard.press("n")
    page.wait_for_url("**/row/facts/10?**")
    assert page.locator("[rel=next]").count() == 0
    page.keyboard.press("p")
    page.wait_for_url("**/row/facts/6?**")
    page.click("text=list")
    page.wait_for_url("**/rows/facts?field=product**")
    assert shown(page) == ["2", "6", "10"]


def test_of_three_hundred_columns_one_shows_those_one_wants(runs, served, window):
    widened(runs / "fine", 30, columns=300)
    tab = window(viewport={"width": 400, "height": 800})
    page = tab.open(served(runs), "/run/wide/rows/facts")
    assert tab.wider_than_window() == 0
    page.click(".columns summary")
    page.click("[data-none]")
    page.check("[name=col][value=column_299]")
    page.click("text=show these")
    page.wait_for_url("**col=column_299")
    assert page.locator("thead th").all_inner_texts() == ["_id", "column_299"]
    assert tab.wider_than_window() == 0


def test_a_rare_row_comes_while_the_page_is_open(runs, served, window):
    widened(runs / "fine", 200_000)
    page = window().open(served(runs), "/run/wide/rows/facts?field=product&op=%3D&value=pen+199999")
    page.wait_for_selector("td.id a:text-is('199999')")
    page.wait_for_selector("[data-result]:not([data-looking])")
    assert "1–1 of 1 that fit, of 200,000" in page.inner_text("[role=status]")


def test_a_long_value_is_opened_in_its_place(runs, served, window):
    run = copied(runs / "fine", "long")
    row = {"_id": "0", "product": "pen " * 500 + "the end", "rating": 1}
    (run / "steps" / "facts" / "000.jsonl").write_text(encode(row).decode() + "\n")
    page = window().open(served(runs), "/run/long/rows/facts")
    assert not page.is_visible("td .long")
    page.click("td summary")
    assert "the end" in page.inner_text("td .long")
