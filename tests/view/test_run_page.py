"""The page of one run."""

from __future__ import annotations

import json
import shutil

import pytest
from filelock import FileLock
from playwright.sync_api import expect

from tests.view.conftest import NOT_HERE
from tests.view.samples import copied, make_run, set_status

pytestmark = pytest.mark.browser


def opened(tab, site, name="fine"):
    """The page with the parts that come later."""
    page = tab.open(site, f"/run/{name}")
    page.wait_for_selector("#course section")
    page.wait_for_selector("#figures section")
    return page


def test_it_says_how_far_the_run_is_and_what_to_do_next(runs, served, window):
    page = opened(window(), served(runs))
    top = page.inner_text("#top")
    for told in ("Reviews of pen", "done", "nightly", f"chainette retry {runs / 'fine'}"):
        assert told in top
    assert page.inner_text("[data-live-field=rows_done]") == "12"
    assert page.inner_text("[data-live-field=rows_failed]") == "3"


def test_the_graph_is_drawn_with_its_counts_and_open_loops(runs, served, window):
    page = opened(window(), served(runs))
    graph = page.locator("#drawing svg")
    for node in ("facts", "keep", "verdict", "drafts", "draft"):
        assert graph.locator(f".g-node[data-node={node}]").count() == 1
    assert graph.locator("[data-node=keep][data-field=failed]").first.text_content() == "3 failed"
    page.click("#drawing .g-node[data-node=facts]")
    assert page.is_visible("details#step-0 >> text=You read reviews of the pen.")


def test_each_step_has_its_counts_prompts_schema_and_engine(runs, served, window):
    page = opened(window(), served(runs))
    steps = page.locator("#steps tr", has_text="facts").inner_text().split()
    assert "12" in steps
    for prompt in page.locator("details.step").all():
        prompt.evaluate("one => one.open = true")
    made_of = page.inner_text("main")
    for told in (
        "You read reviews of the pen.",
        "Review: {{ text }}",
        '"rating"',
        '"backend": "scripted"',
        "raise ValueError",
    ):
        assert told in made_of


def test_failures_are_grouped_and_lead_to_their_rows(runs, served, window):
    page = opened(window(), served(runs))
    group = page.locator("#course .failures tbody tr")
    assert group.count() == 1
    assert group.inner_text().split()[0] == "3"
    assert "no pen here" in group.inner_text()
    assert group.locator(".why a").first.get_attribute("href") == "/run/fine/row/keep/2"
    page.goto(page.url + "/failures?step=keep")
    assert "no pen here" in page.inner_text("main")


def test_a_run_under_way_goes_on_on_its_page_until_it_is_over(runs, served, window):
    run = runs / "fine"
    events = (run / "events.jsonl").read_text().splitlines()
    with FileLock(run / ".lock"):
        said = json.loads((run / "status.json").read_text())
        nodes = {**said["nodes"], "facts": {**said["nodes"]["facts"], "done": 2}}
        set_status(run, state="running", rows_done=2, nodes=nodes)
        (run / "events.jsonl").write_text("\n".join(events[:-1]) + "\n")
        page = opened(window(), served(runs))
        page.evaluate("window.stillThere = true")
        assert page.inner_text("#top .badge.live") == "running"
        nodes["facts"]["done"] = 12_345
        set_status(run, rows_done=9, nodes=nodes)
        expect(page.locator("[data-live-field=rows_done]")).to_have_text("9")
        assert page.inner_text("#steps [data-node=facts][data-field=done]") == "12,345"
        assert page.text_content("#drawing [data-node=facts][data-field=done]") == "12.3k done"
        assert page.get_attribute("[data-live-bar]", "value") == "9"
        assert page.evaluate("window.stillThere")
        set_status(run, **said)
        expect(page.locator("#top .badge").first).to_have_text("done")
    assert page.evaluate("window.stillThere === undefined")


def test_a_run_that_died_says_how_to_go_on(runs, served, window):
    set_status(runs / "fine", state="running", rows_done=5)
    page = opened(window(), served(runs))
    assert page.inner_text("#top .badge.bad") == "died"
    assert f"chainette resume {runs / 'fine'}" in page.inner_text("#top")


def test_a_run_of_an_older_version_without_events_is_shown_with_what_it_has(runs, served, window):
    (runs / "fine" / "events.jsonl").unlink()
    graph = json.loads((runs / "fine" / "graph.json").read_text())
    (runs / "fine" / "graph.json").write_text(json.dumps({"execution_order": graph["execution_order"]}))
    said = json.loads((runs / "fine" / "status.json").read_text())
    kept = {name: said[name] for name in ("state", "chain", "rows_in", "rows_done")}
    (runs / "fine" / "status.json").write_text(json.dumps(kept))
    page = opened(window(), served(runs))
    assert "facts" in page.inner_text("#steps")
    assert "of a version that did not note how quick it was" in page.inner_text("#course")


def test_a_run_that_ended_before_it_began_has_a_page(runs, served, window):
    empty = runs / "empty"
    empty.mkdir()
    (empty / "graph.json").write_text("{}")
    page = window().open(served(runs), "/run/empty")
    assert "there is no status.json" in page.inner_text("main")


def test_charts_show_pace_tokens_and_load_and_tell_values_under_the_pointer(tmp_path, served, window):
    make_run(tmp_path / "slow", 80, service_mean_s=0.15, slots=4)
    page = opened(window(), served(tmp_path), "slow")
    titles = page.locator(".charts .x-title").all_text_contents()
    assert titles[:2] == ["Rows finishedper second", "Tokensper second"]
    assert any("stand_in" in title for title in titles)
    page.locator(".charts svg").first.hover()
    assert page.inner_text(".read-off").count(":") >= 1
    assert "stages" in page.text_content(".spans")
    assert "ready" in page.text_content(".spans")


def test_figures_of_the_calls_come_with_the_page(runs, served, window):
    page = opened(window(), served(runs))
    told = page.inner_text("#figures")
    for words in ("Times of calls", "facts", "p95", "Engines", "stand_in"):
        assert words in told


def test_files_are_given_away_as_downloads(runs, served, window):
    page = opened(window(), served(runs))
    with page.expect_download() as waiting:
        page.click("text=graph.json")
    assert waiting.value.suggested_filename == "graph.json"
    assert json.loads(waiting.value.path().read_text())["chain"] == "Reviews of pen"


def test_one_run_alone_shows_no_other(runs, served, window):
    copied(runs / "fine", "other")
    tab = window()
    page = tab.open(served(runs, only=runs / "fine"))
    page.wait_for_url("**/run/fine")
    assert page.locator(".tabs >> text=Compare").count() == 0
    tab.expected = [NOT_HERE]
    page.goto(page.url.replace("fine", "other"))
    assert "this page shows fine and no other run" in page.inner_text("main")


@pytest.mark.parametrize("name", ["{brace}", "{{ 7 * 7 }}", "a%2Fb %41 ?#&", "<b>'\"", "..."])
def test_a_run_folder_may_have_any_name(name, runs, served, window):
    (runs / "fine").rename(runs / name)
    page = window().open(served(runs))
    page.click("#runs tbody .who a")
    page.wait_for_selector("#figures section")
    assert page.inner_text(".crumbs .name") == name


def test_a_step_without_rows_says_so_and_not_that_it_is_unknown(runs, served, window):
    shutil.rmtree(runs / "fine" / "steps" / "verdict")
    page = opened(window(), served(runs))
    page.click("#steps a:text-is('verdict')")
    page.wait_for_selector("main >> text=none came here yet")


def test_an_unknown_run_is_told_with_the_nearest_name(runs, served, window):
    tab = window()
    tab.expected = [NOT_HERE]
    page = tab.open(served(runs), "/run/fime")
    assert 'did you mean "fine"?' in page.inner_text("main")


def test_two_runs_are_compared_by_settings_and_figures(runs, served, window):
    other = copied(runs / "fine", "other", cost=2.0, completion_tokens=999)
    graph = json.loads((other / "graph.json").read_text())
    graph["nodes"][0]["system_prompt"] = "You read the reviews of the pen, all of them."
    (other / "graph.json").write_text(json.dumps(graph))
    page = window().open(served(runs), "/compare?a=fine&b=other")
    assert 'step "facts": its prompt changed' in page.inner_text(".changes")
    assert page.locator(".changes ins").count() >= 1
    written = page.locator("tr", has_text="tokens written").inner_text().split()
    assert "999" in written
    page.click("text=Swap")
    page.wait_for_url("**/compare?a=other&b=fine")
    assert page.locator("a", has_text="Rows, field by field").get_attribute("href") == "/diff?a=other&b=fine"


def test_a_page_whose_server_has_gone_says_so(runs, served, window):
    with FileLock(runs / "fine" / ".lock"):
        set_status(runs / "fine", state="running", rows_done=2)
        tab, site = window(), served(runs)
        page = opened(tab, site)
        assert page.is_hidden(".lost")
        tab.expected = ["console: Failed to load resource: net::ERR_"]
        site.close()
        page.wait_for_selector(".lost")
