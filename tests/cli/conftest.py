"""A small project in a folder of its own, and the commands called in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from chainette.cli.main import app

CHAIN = """
from pydantic import BaseModel
from chainette import Branch, Chain, Step, apply

class Text(BaseModel):
    text: str

class Facts(BaseModel):
    product: str
    rating: int

class Verdict(BaseModel):
    verdict: str

facts = Step(id="facts", input_model=Text, output_model=Facts, engine_name="stand_in", user_prompt="{{ text }}")
french = Step(id="french", input_model=Facts, output_model=Verdict, engine_name="stand_in",
              system_prompt="In French.", user_prompt="{{ product }} of {{ chain_input.text }}",
              output_format_instruction="")
last = Step(id="last", input_model=Facts, output_model=Verdict, engine_name="stand_in",
            user_prompt="{{ product }}: {{ fr.verdict }}")
chain = Chain(name="Small", steps=[facts, [Branch(name="fr", steps=[french]).join("fr")], last])
wrong = Chain(name="Wrong", steps=[
    facts.with_(user_prompt="{{ txet }}"),
    french.with_(user_prompt="{{ produkt }}", engine_name="stand_im"),
])

def halves(row: Text) -> Text | None:
    print("halving", row.text)
    if row.text == "bad":
        raise ValueError("a bad [red]row[/red]")
    return row if row.text != "odd" else None

plain = Chain(name="Plain", steps=[apply(halves)])
"""
ENGINES = "engines: [{name: stand_in, backend: scripted}]\n"
TEXTS = ["one", "odd", "two", "bad", "three [b]"]


class Project:
    """Calls commands in the project's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exit_code = -1
        self.out = ""
        self.err = ""

    def call(self, *args: str, stdin: str | None = None) -> str:
        """Runs `chainette args` and returns what stood on stdout."""
        result = CliRunner().invoke(app, list(args), input=stdin, prog_name="chainette")
        self.exit_code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return self.out


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "small.py").write_text(CHAIN, encoding="utf-8")
    (tmp_path / "engines.yml").write_text(ENGINES, encoding="utf-8")
    lines = "".join(f'{{"text": "{text}"}}\n' for text in TEXTS)
    (tmp_path / "in.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("CHAINETTE_ENGINES", raising=False)
    return Project(tmp_path)


@pytest.fixture
def finished_run(project: Project) -> Project:
    """The project with one run of `small.py:chain` in `done`."""
    project.call("run", "small.py:chain", "-i", "in.jsonl", "-o", "runs/done", "-q")
    assert project.exit_code == 0, project.err
    return project
