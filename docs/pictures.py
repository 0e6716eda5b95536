"""Takes the pictures of docs/reading-a-run.md: the run of that page, but larger and slower, in the page's own browser.

    python docs/pictures.py [FOLDER]

Needs Chromium (`CHAINETTE_CHROMIUM` says where it is) and playwright. The pictures stay small: few, and no larger than
what they show.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reading-a-run.md"
CHROMIUM = os.environ.get("CHAINETTE_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
ROWS = 480
MOST_BYTES = 150_000
WARMER = """\
        "Sign warmly: We": {reply: "We are sorry and give the money back. All the best, your team"}
        "Sign warmly": {reply: "Please turn it off and on again. All the best, your team"}
"""
CHAINETTE = [sys.executable, "-m", "chainette.cli"]


@dataclass(frozen=True)
class Picture:
    name: str
    path: str
    """On the page server; a file's name for the report."""
    width: int
    height: int
    scheme: str = "light"
    at: str = ""
    """A selector that is scrolled to the top."""


PICTURES = (
    Picture("runs", "/", 1280, 420),
    Picture("run", "/run/tickets", 1280, 1000),
    Picture("run-narrow", "/run/tickets", 400, 900, "dark"),
    Picture("course", "/run/tickets", 1280, 620, at="svg.chart"),
    Picture("rows", "/run/tickets/rows/send", 1280, 620),
    Picture("row", "/run/tickets/row/check/0", 1280, 900, "dark"),
    Picture("failures", "/run/tickets/failures", 1280, 420),
    Picture("diff", "/diff?a=tickets&b=warmer&step=send", 1280, 560),
    Picture("report", "report.html", 400, 900),
)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        make_runs(Path(place))
        take(Path(place), folder.resolve())


def make_runs(place: Path) -> None:
    """`tickets`, and `warmer`, which was asked otherwise."""
    sys.path.insert(0, str(ROOT))
    from tests.docs.pages import blocks

    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.file:
            (place / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            source = block.text.replace("range(40)", f"range({ROWS})").replace(
                '"tickets.jsonl"', f'"{place}/tickets.jsonl"'
            )
            exec(compile(source, str(PAGE), "exec"), {})
    engines = place / "engines.yml"
    text = engines.read_text(encoding="utf-8").replace("service_mean_s: 0.05", "service_mean_s: 0.4\n      slots: 48")
    engines.write_text(text + "    prices: {prompt: 0.4, completion: 1.6}\n", encoding="utf-8")
    words = ["run", "tickets.py:chain", "-i", "tickets.jsonl", "-q", "--max-failed", "50%"]
    call(place, *words, "-o", "runs/tickets", "--tag", "baseline", "--report")
    chain = (
        (place / "tickets.py").read_text(encoding="utf-8").replace('user_prompt="Sign: ', 'user_prompt="Sign warmly: ')
    )
    (place / "tickets.py").write_text(chain, encoding="utf-8")
    engines.write_text(
        engines.read_text(encoding="utf-8").replace("      faults:", f"{WARMER}      faults:"), encoding="utf-8"
    )
    call(place, *words, "-o", "runs/warmer", "--tag", "warmer", "--reuse", "runs/tickets")
    call(place, "note", "tickets", "send", "0", "--label", "good", "--by", "ann", "short and kind")


def call(place: Path, *words: str) -> None:
    subprocess.run([*CHAINETTE, *words], cwd=place, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def viewed(place: Path) -> Iterator[str]:
    """The page's address with its token, while it is served."""
    command = [*CHAINETTE, "view", "--no-open", "--port", "0"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            yield next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            server.terminate()


def take(place: Path, folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    with viewed(place) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        for picture in PICTURES:
            size = take_one(browser, address, place, folder, picture)
            print(f"{picture.name}  {size:,} bytes" + ("  too large" if size > MOST_BYTES else ""))
        browser.close()


def take_one(browser: Any, address: str, place: Path, folder: Path, picture: Picture) -> int:
    window = {"width": picture.width, "height": picture.height}
    page = browser.new_page(viewport=window, color_scheme=picture.scheme, reduced_motion="reduce")
    if picture.path.startswith("/"):
        page.goto(address)
        page.goto(address.partition("/?")[0] + picture.path)
    else:
        page.goto((place / "runs" / "tickets" / picture.path).as_uri())
    page.wait_for_load_state("networkidle")
    if picture.at:
        page.locator(picture.at).first.evaluate("it => scrollTo(0, it.getBoundingClientRect().top + scrollY - 130)")
    there = folder / f"{picture.name}.png"
    page.screenshot(path=there)
    page.close()
    return there.stat().st_size


if __name__ == "__main__":
    main()
