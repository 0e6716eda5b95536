"""The card of a dataset: what a reader learns of the run, and what nobody can smuggle in or out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chainette import Chain, SamplingParams
from chainette.files.reading import RunReader
from chainette.reports.card import Config, card
from chainette.reports.markdown import code, fenced, said, table
from tests.reports.small_runs import FACTS, Text, engine, two_steps

CONFIGS = [Config("flattened", "flattened", 2, is_default=True), Config("facts", "facts", 2)]


def front_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    found = yaml.safe_load(text.split("---\n", 2)[1])
    assert isinstance(found, dict)
    return found


def test_a_card_says_how_the_rows_were_made(tmp_path):
    reader = two_steps(tmp_path / "run")
    text = card(reader, CONFIGS, "org/two", license="mit", tags=["reviews"])
    front = front_of(text)
    assert front["license"] == "mit"
    assert front["tags"] == ["chainette", "synthetic", "reviews"]
    assert front["size_categories"] == ["n<1K"]
    assert [config["config_name"] for config in front["configs"]] == ["flattened", "facts"]
    assert [config.get("default", False) for config in front["configs"]] == [True, False]
    for part in (
        "# Two steps",
        "Find the facts.",
        "About: {{ text }}",
        '"title": "Facts"',
        'load_dataset("org/two", "facts")',
        "flowchart TD",
        "2 rows came out",
        reader.graph()["signature"],
    ):
        assert part in text, part


def test_a_card_has_sampling_failures_and_the_state_of_the_run(tmp_path):
    engine(answers={"About: a lamp": "junk"})
    steps = [FACTS.with_(retries=0, sampling=SamplingParams(temperature=0.3))]
    Chain(name="Failing", steps=steps).run([Text(text="a lamp"), Text(text="b")], tmp_path / "run", max_failed=1)
    status = json.loads((tmp_path / "run/status.json").read_text())
    (tmp_path / "run/status.json").write_text(json.dumps({**status, "state": "interrupted", "rows_done": 1}))
    text = card(RunReader(tmp_path / "run"), CONFIGS, "org/x")
    assert "`temperature` `0.3`" in text
    assert "| `facts` | `schema` | 1 |" in text
    assert "The run is interrupted: 1 of 2 input rows are finished." in text


def hostile(folder: Path, text: str) -> RunReader:
    """A run whose names and prompts are somebody's attack."""
    engine()
    step = FACTS.with_(name=text, system_prompt=text.replace("{", ""), user_prompt="{{ text }}" + text.replace("{", ""))
    Chain(name=text, steps=[step]).run([Text(text="a")], folder)
    return RunReader(folder)


ATTACKS = [
    "```\n</code><script>alert(1)</script>\n# Mine",
    "````\n```\n---\nlicense: gpl\n---",
    "[click](javascript:alert(1)) ![x](http://evil/x.png) <img src=x onerror=alert(1)>",
    "a | b | c\n\n| - |",
    "~~~\n`` ` ```",
    "\x1b]0;title\x07 \u202e reversed \ud800",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_text_cannot_leave_its_place(tmp_path, attack):
    reader = hostile(tmp_path / "run", attack.encode("utf-8", "replace").decode())
    text = card(reader, CONFIGS, "org/x")
    assert set(front_of(text)) == {"pretty_name", "tags", "size_categories", "configs"}
    outside = without_code(text.split("---\n", 2)[2])
    assert "<" not in outside
    assert "](" not in outside
    heads = [line for line in outside.splitlines() if re.match(r"#+ ", line)]
    assert [head.removeprefix("## ") for head in heads if head.startswith("## ")] == [
        *("Data", "Figures", "Models", "Graph", "Steps", "How to make it again")
    ]
    assert "\x1b" not in text
    assert "\u202e" not in text


def without_code(text: str) -> str:
    """Markdown without its fenced blocks and code spans, read as CommonMark does."""
    kept, fence = [], ""
    for line in text.splitlines():
        ticks = re.match(r"`{3,}", line)
        if fence:
            fence = "" if ticks and len(ticks[0]) >= len(fence) and not line[len(ticks[0]) :].strip() else fence
        elif ticks:
            fence = ticks[0]
        else:
            kept.append(re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert not fence
    return "\n".join(kept)


def test_keys_do_not_reach_a_card(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-very-secret-key")
    engine()
    step = FACTS.with_(
        system_prompt="Key a-very-secret-key and hf_abcdefghijklmnopqrstuvwx and sk-abcdefghijklmnopqrst"
    )
    Chain(name="Keys", steps=[step]).run([Text(text="a")], tmp_path / "run")
    text = card(RunReader(tmp_path / "run"), CONFIGS, "org/x")
    assert "Key *** and *** and ***" in text


def test_a_card_can_be_made_of_a_folder_that_says_little(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "stopped"}')
    assert front_of(card(RunReader(tmp_path), [], "org/x"))["pretty_name"] == "A Chainette run"


def test_foreign_text_in_markdown():
    assert said("a*b|c<d") == r"a\*b\|c&lt;d"
    assert code("a`b|c") == "`` a`b¦c ``"
    assert fenced("```\nx\n", "md") == "````md\n```\nx\n````"
    assert table(["a", "n:"], [["x", "1"]]) == "| a | n |\n| --- | ---: |\n| x | 1 |"
