"""A row's page: its way, its family, its note; with texts that are no ordinary ones."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from chainette import Chain, apply
from chainette.files.json_text import encode
from tests.folders import lines
from tests.view.conftest import NOT_HERE
from tests.view.samples import HOSTILE, copied, make_hostile

pytestmark = pytest.mark.browser


def made(function, *args):
    """Calls what needs an event loop of its own: playwright has one in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def test_it_shows_what_was_asked_thought_and_answered_at_each_step(runs, served, window):
    page = window().open(served(runs), "/run/fine/row/facts/0")
    told = page.inner_text("main")
    for part in (
        "good pen number 0",
        "You read reviews of the pen.",
        "Review: good pen number 0",
        '"product": "good pen"',
    ):
        assert part in told
    assert not page.is_visible("text=thinking of the pen")
    page.click("text=Reasoning >> nth=0")
    assert page.is_visible("text=thinking of the pen >> nth=0")
    facts = page.locator(".facts-row").first.inner_text()
    for name in ("attempt", "total", "tokens in", "tokens out", "finish", "replica"):
        assert name in facts
    assert page.locator("svg.waterfall rect").count() >= 3


def test_a_row_in_a_loop_is_shown_turn_by_turn(runs, served, window):
    page = window().open(served(runs), "/run/fine/row/draft/0")
    assert page.inner_text("h2.turn >> nth=0") == "drafts, turn 1"


def test_a_row_that_failed_says_where_and_why(runs, served, window):
    page = window().open(served(runs), "/run/fine/row/keep/2")
    assert "failed, apply" in page.inner_text(".failure")
    assert "no pen here: 'bad pen'" in page.inner_text(".failure")
    assert page.locator(".nodes .failed .id").inner_text() == "keep"


def test_children_and_parents_lead_to_one_another(tmp_path, served, window):
    def split(row: dict) -> list[dict]:
        return [{"part": part} for part in row["text"].split()]

    made(Chain(name="Split", steps=[apply(split)]).run, [{"text": "a b c"}, {"text": "d"}], tmp_path / "split")
    page = window().open(served(tmp_path), "/run/split/row/chain_input/0")
    assert page.locator(".children a").all_inner_texts() == ["0.0", "0.1", "0.2"]
    page.click(".children a >> nth=1")
    page.wait_for_url("**/row/split/0.1")
    assert "b" in page.inner_text(".part.here")
    page.keyboard.press("n")
    page.wait_for_url("**/row/split/0.2")
    page.keyboard.press("n")
    page.wait_for_url("**/row/split/1.0")
    page.click("text=made from 1")
    page.wait_for_url("**/row/chain_input/1")


def test_a_label_takes_one_key_and_stays_in_the_run_folder(runs, served, window):
    site = served(runs)
    page = window().open(site, "/run/fine/row/facts/3")
    page.keyboard.press("2")
    page.wait_for_selector("[data-said]:text-is('kept')")
    page.keyboard.press("e")
    page.keyboard.type("no such product\nat all")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-said]:text-is('kept')")
    page.reload()
    assert page.get_attribute("button.mark.bad", "aria-pressed") == "true"
    assert page.input_value("textarea") == "no such product\nat all"
    told = lines(runs / "fine" / "notes" / "facts.jsonl")
    assert {key: told[-1][key] for key in ("_id", "label", "text")} == {
        "_id": "3",
        "label": "bad",
        "text": "no such product\nat all",
    }
    page.goto(site.base + "/run/fine/rows/facts")
    assert page.inner_text("tr:has-text('odd pen') .badge >> nth=0") == "bad"
    page.goto(site.base + "/run/fine/row/facts/3")
    page.keyboard.press("0")
    page.wait_for_selector("[data-said]:text-is('kept')")
    page.fill("textarea", "")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-said]:text-is('no note')")
    assert lines(runs / "fine" / "notes" / "facts.jsonl")[-1]["deleted"] is True


def test_the_address_of_the_row_is_copied_with_a_click(runs, served, window):
    tab = window(permissions=["clipboard-read", "clipboard-write"])
    page = tab.open(served(runs), "/run/fine/row/facts/3?list=facts&at=3")
    page.click("text=copy link")
    page.wait_for_selector("button:text-is('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_a_note_is_kept_without_scripts_too(runs, served, window):
    page = window(java_script_enabled=False).open(served(runs), "/run/fine/row/facts/1")
    page.fill("textarea", "written by hand")
    page.click("button.mark.good")
    page.wait_for_url("**/row/facts/1")
    assert page.input_value("textarea") == "written by hand"
    assert lines(runs / "fine" / "notes" / "facts.jsonl")[-1]["label"] == "good"
    page.click("text=keep")
    assert lines(runs / "fine" / "notes" / "facts.jsonl")[-1]["label"] == "good"


def test_notes_are_listed_filtered_and_taken_along(runs, served, window):
    site = served(runs)
    page = window().open(site, "/run/fine/row/facts/0")
    for row, key in (("0", "1"), ("1", "2"), ("2", "2")):
        page.goto(f"{site.base}/run/fine/row/facts/{row}")
        page.keyboard.press(key)
        page.wait_for_selector("[data-said]:text-is('kept')")
    page.goto(site.base + "/run/fine/notes")
    assert page.locator("tbody tr").count() == 3
    page.select_option("[name=label]", "bad")
    page.click("button:text-is('show')")
    page.wait_for_url("**label=bad**")
    assert page.locator("tbody tr td:nth-child(2)").all_inner_texts() == ["2", "1"]
    with page.expect_download() as download:
        page.click("text=as JSONL")
    told = [json.loads(line) for line in download.value.path().read_text(encoding="utf-8").splitlines()]
    assert [(one["label"], one["_id"], one["input"]["text"]) for one in told] == [
        ("bad", "2", "bad pen number 2"),
        ("bad", "1", "good pen number 1"),
    ]


@pytest.mark.parametrize("width", [1280, 400])
def test_texts_that_are_attacks_huge_deep_or_strange_are_only_shown(tmp_path, runs, served, window, width):
    run = copied(runs / "fine", "strange")
    deep: dict = {}
    inner = deep
    for _ in range(100):
        inner["k"] = inner = {}
    texts = {
        HOSTILE: "attack",
        "huge": "lorem ipsum " * 420_000,
        "deep": deep,
        "signs": "nul \0 bell \a esc \x1b[31m rtl \u202egnitirw שלום",
        "digits": 12345678901234567890123,
    }
    (run / "inputs" / "000.jsonl").write_text(encode({"_id": "0", **texts}).decode() + "\n", encoding="utf-8")
    tab = window(viewport={"width": width, "height": 900})
    site = served(runs)
    page = tab.open(site, "/run/strange/row/chain_input/0")
    told = page.inner_text("#input")
    assert HOSTILE in told
    assert "the first 20,000 of 5,040,000 characters" in told
    assert "nul ␀ bell ␇ esc ␛[31m" in told
    assert "12345678901234567890123" in told
    assert told.count('"k"') == 100
    assert tab.wider_than_window() == 0
    whole = page.get_attribute("text=all of it as text >> nth=0", "href")
    assert page.request.get(site.base + whole).text() == texts["huge"]
    page.goto(site.base + "/run/strange/rows/chain_input")
    assert page.locator("td.id a").all_inner_texts() == ["0"]
    assert tab.wider_than_window() == 0


def test_a_run_that_is_an_attack_is_shown_row_by_row(tmp_path, served, window):
    made(make_hostile, tmp_path / "bad")
    page = window().open(served(tmp_path), "/run/bad/rows")
    for number in range(page.locator(".tables a").count()):
        page.click(f".tables a >> nth={number}")
        page.wait_for_selector(f".tables a[aria-current]:nth-child({number + 1})")
        page.locator("td.id a").last.click()
        page.wait_for_selector(".row-head")
        page.go_back()


def test_there_is_no_way_out_of_the_row(runs, served, window):
    tab = window()
    tab.expected.append(NOT_HERE)
    page = tab.open(served(runs), "/run/fine/row/facts/99")
    assert 'no row "99" in fine' in page.inner_text("main")
    page.goto(page.url.replace("/row/facts/99", "/row/fakts/0"))
    assert 'did you mean "facts"?' in page.inner_text("main")
    page.goto(page.url.replace("/row/fakts/0", "/text/facts/0?at=/nodes/0/../../etc"))
    assert "has nothing at" in page.inner_text("main")
