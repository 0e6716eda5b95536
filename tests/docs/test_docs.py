"""The code that readers copy runs as it stands, from the repository's own folder, on the demo model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/guide.md"]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.embedded
@pytest.mark.parametrize("page", PAGES)
def test_the_python_code_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    shutil.copy(ROOT / "engines.yml", tmp_path / "engines.yml")
    source = "\n".join(blocks(page))
    assert source
    exec(compile(source, str(ROOT / page), "exec", dont_inherit=True), {"__name__": "docs"})


def test_every_link_between_pages_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []
