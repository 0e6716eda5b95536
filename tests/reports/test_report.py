"""`report.html`, as text: what stands in it, of any run, and what never does."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chainette import Chain, apply
from chainette.errors import RunFolderError
from chainette.files.reading import RunReader
from chainette.reports.report import report_html, write_report
from chainette.reports.report_parts import Budget, places
from tests.folders import as_killed
from tests.models import Answer, Number, Question, step

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(2)> & \u202e\x1b[2J"
VOID = ("meta", "link", "img", "br", "input")


class Seen(HTMLParser):
    """What a browser would find."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def halve(number: Number) -> Number:
    if number.value % 4 == 3:
        raise ValueError(f"{number.value} is one of those {HOSTILE}")
    return Number(value=number.value // 2)


@pytest.fixture
def halved(tmp_path: Path) -> Path:
    chain = Chain(name=f"Halves {HOSTILE}", steps=[apply(halve)])
    chain.run([{"value": n} for n in range(100)], tmp_path / "run", max_failed=100, tags=["first", "a <b>"])
    return tmp_path / "run"


def test_the_page_tells_state_graph_figures_failures_rows_and_how_it_was_run(halved: Path) -> None:
    page = report_html(RunReader(halved))
    assert "It is done." in page
    assert '<span class="tag">first</span>' in page
    assert '<svg class="graph"' in page
    assert 'Failures <span class="quiet">25</span>' in page
    assert "as row 3" in page
    assert "20 of 75 final rows" in page
    assert "row 98" in page, "the last row that came out is among the sample"
    assert "python 3." in page
    assert not Seen(page).open


def test_nothing_in_a_run_becomes_more_than_text(tmp_path: Path, engine: Callable[..., Any]) -> None:
    engine(answers={"alert": {"answer": HOSTILE}})
    chain = Chain(name="Hostile", steps=[step("qa", Question, Answer, "{{ text }} " + HOSTILE.replace("{", ""))])
    chain.run([{"text": HOSTILE}], tmp_path / "run", max_failed=5)
    seen = Seen(report_html(RunReader(tmp_path / "run")))
    assert not {"script", "img", "iframe", "link", "object", "form", "base"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("style", "src")]
    links = [value for name, value in seen.attributes if name == "href"]
    assert links
    assert all(re.fullmatch(r"#[a-z]+(-\d+)?", link) for link in links)


def test_the_policy_allows_its_own_style_sheet_and_nothing_else(halved: Path) -> None:
    page = report_html(RunReader(halved))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert "@import" not in style[1]
    assert "url(" not in style[1]


def test_the_same_folder_gives_the_same_bytes(halved: Path) -> None:
    first = write_report(RunReader(halved))
    before = first.read_bytes()
    assert first == halved / "report.html"
    assert write_report(RunReader(halved)).read_bytes() == before


def test_a_file_that_is_no_report_is_not_written_over(halved: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("my own")
    with pytest.raises(RunFolderError, match="is no report"):
        write_report(RunReader(halved), tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text() == "my own"
    assert write_report(RunReader(halved), tmp_path / "new" / "r.html").exists()


def test_a_run_that_died_has_a_report(halved: Path) -> None:
    page = report_html(RunReader(as_killed(halved)))
    assert "Its process died." in page
    assert "20 of 75" in page


@pytest.mark.parametrize("damaged", ["graph.json", "status.json", "events.jsonl", "flattened/000.jsonl"])
def test_a_damaged_part_is_told_and_the_others_are_there(halved: Path, damaged: str) -> None:
    (halved / damaged).write_text('{"half": \n')
    page = report_html(RunReader(halved))
    assert "cannot be told" in page
    assert page.count("<h2>") >= 4
    assert not Seen(page).open


def test_a_run_without_rows_graph_and_events_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "status.json").write_text('{"state": "stopped", "message": "no <room>", "chain": "Old"}')
    page = report_html(RunReader(tmp_path / "old"))
    assert "no &lt;room&gt;" in page
    assert "No row failed." in page


def test_long_texts_are_folded_and_very_long_ones_cut_and_said(tmp_path: Path) -> None:
    chain = Chain(name="Long", steps=[apply(as_it_is)])
    chain.run([{"text": "word " * 100_000} for _ in range(60)], tmp_path / "run")
    page = report_html(RunReader(tmp_path / "run"))
    assert "<details><summary>word word" in page
    assert "long texts were cut" in page
    assert len(page) < 1_000_000


def as_it_is(question: Question) -> Question:
    return question


def test_all_texts_together_have_a_bound() -> None:
    budget = Budget(left=10_000)
    blocks = [budget.block("x" * 5_000) for _ in range(100)]
    assert sum(len(block.whole or block.head) for block in blocks) < 40_000
    assert blocks[-1].left_out > 4_000


@pytest.mark.parametrize("total", [0, 1, 19, 20, 21, 1_000_003])
def test_sample_rows_lie_evenly_from_the_first_to_the_last(total: int) -> None:
    found = places(total)
    assert len(found) == min(total, 20)
    assert found == sorted(set(found))
    assert not total or (found[0], found[-1]) == (0, total - 1)
