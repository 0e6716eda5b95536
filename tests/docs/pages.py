"""The code of a page as a reader would run it, from top to bottom, in one empty folder. Knows no chain.

What a block is, its first line says: `python` runs, with what earlier ones left; a language and a file's name
(`yaml chain.yml`) write that file; `console` types what stands behind `$`; `text` is what the last `python` printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_BLOCK = re.compile(r"^```(\w*)(?: ([\w./-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHANGING = {
    r"\b([a-z0-9-]+)-\d{8}-\d{6}-[0-9a-f]{4}\b": r"\1-…",
    r"\b\d[\d,.]* m?s\b": "… s",
    r"\b[\d,.]+/s\b": "…/s",
}
"""Names of runs and times, which are others in each run."""


@dataclass(frozen=True)
class Block:
    language: str
    file: str
    text: str
    line: int
    start: int
    """Where its text begins in the page."""


@dataclass(frozen=True)
class Shown:
    """A block with output in it, and what really came out."""

    block: Block
    really: str

    @property
    def fits(self) -> bool:
        return steady(self.block.text) == steady(self.really)


def blocks(text: str) -> list[Block]:
    return [
        Block(found[1], found[2] or "", found[3], text[: found.start()].count("\n") + 1, found.start(3))
        for found in _BLOCK.finditer(text)
    ]


def play(page: Path) -> Iterator[Shown]:
    """Runs a page in the working directory. What stands on its own, without a language, is left alone."""
    module = ModuleType("page_of_docs")
    known, path = set(sys.modules), [*sys.path]
    sys.modules[module.__name__] = module  # pydantic looks for the module of a generic model
    sys.path.insert(0, os.getcwd())
    try:
        yield from _played(page, vars(module))
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or os.getcwd()).startswith(os.getcwd()):
                del sys.modules[name]


def _played(page: Path, names: dict[str, Any]) -> Iterator[Shown]:
    printed = ""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            out = io.StringIO()
            source = "\n" * block.line + block.text  # so that errors name the page's line
            with contextlib.redirect_stdout(out):
                exec(compile(source, str(page), "exec", dont_inherit=True), names)
            printed = out.getvalue()
        elif block.language == "text":
            yield Shown(block, printed)
        elif block.language == "console":
            yield Shown(block, _typed(block.text))
        elif block.language:
            raise ValueError(f"{page.name}:{block.line}: {block.language} is neither run nor written to a file")


def steady(text: str) -> str:
    """The text without what is another in each run."""
    for pattern, same in _CHANGING.items():
        text = re.sub(pattern, same, text)
    return text


def _typed(text: str) -> str:
    """The commands of a block, each with what it really says."""
    here = Path(sys.executable).parent
    around = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}
    said = []
    for command in re.findall(r"^\$ (.*)\n", text, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command],
            env=around,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
        )
        said.append(f"$ {command}\n{done.stdout}")
    return "".join(said)
