"""The code that readers copy runs as it stands, and prints what the page says it prints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import blocks, play

ROOT = Path(__file__).parents[2]
ON_THE_DEMO_MODEL = ["README.md", "docs/guide.md"]
"""From the repository's own folder."""
ON_THEIR_OWN = [
    "docs/control-flow.md",
    "docs/export.md",
    "docs/python-steps.md",
    "docs/sql.md",
    "docs/reading-a-run.md",
    "docs/stats.md",
    "docs/traced.md",
    "docs/which-shape.md",
    "docs/yaml.md",
]
"""Run in an empty folder, with everything they need on the page."""


@pytest.mark.embedded
@pytest.mark.parametrize("page", ON_THE_DEMO_MODEL)
def test_the_python_code_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    shutil.copy(ROOT / "engines.yml", tmp_path / "engines.yml")
    text = (ROOT / page).read_text(encoding="utf-8")
    source = "\n".join(block.text for block in blocks(text) if block.language == "python")
    assert source
    exec(compile(source, str(ROOT / page), "exec", dont_inherit=True), {"__name__": "docs"})


@pytest.mark.parametrize("page", ON_THEIR_OWN)
def test_every_block_of_a_page_does_what_the_page_says(page):
    shown = list(play(ROOT / page))
    assert shown
    assert [f"line {one.block.line}:\n{one.really}" for one in shown if not one.fits] == []


def test_every_link_between_pages_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []
