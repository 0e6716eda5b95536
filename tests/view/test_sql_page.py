"""The SQL page."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_a_query_is_run_by_key_and_stands_in_the_address(runs, served, window):
    tab = window(viewport={"width": 400, "height": 800})
    page = tab.open(served(runs), "/run/fine/sql")
    page.fill("textarea", "select _id, product from facts where product like 'bad%' order by _id")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?q=select**")
    assert page.locator("thead th").all_inner_texts() == ["_id", "product"]
    assert page.locator("tbody tr").count() == 3
    assert "3 rows in" in page.inner_text("[role=status]")
    assert tab.wider_than_window() == 0
    page.click("tbody a >> nth=0")
    page.wait_for_url("**/row/chain_input/10")


def test_a_wrong_query_says_the_nearest_name(runs, served, window):
    page = window().open(served(runs), "/run/fine/sql?q=select+produkt+from+facts")
    assert 'did you mean "product"?' in page.inner_text("[role=alert]")
    assert page.input_value("textarea") == "select produkt from facts"


@pytest.mark.parametrize(
    "query",
    ["create table x as select 1", "select * from read_text('/etc/passwd')", "copy facts to '/tmp/x'", "attach 'x'"],
)
def test_a_query_only_reads_the_run(runs, served, window, query):
    page = window().open(served(runs), "/run/fine/sql")
    page.fill("textarea", query)
    page.click("button.primary")
    page.wait_for_url("**/sql?q=**")
    assert page.is_visible("[role=alert]")
    assert "root:" not in page.inner_text("main")


def test_tables_are_listed_and_put_into_the_query_by_a_click(runs, served, window):
    page = window().open(served(runs), "/run/fine/sql")
    page.fill("textarea", "select count(*) n from ")
    page.click(".schema button:has-text('facts')")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?q=**")
    assert page.inner_text("tbody td") == "12"
