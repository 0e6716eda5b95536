"""Runs to look at: a small one with failures, one that is hostile, one under way, old and broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from chainette import Branch, Chain, Step, apply, while_loop
from chainette.files.names import folder_name
from chainette.specs import EngineSpec, default_registry

HOSTILE = "<script>alert('x')</script><img src=http://192.0.2.1/x onerror=alert(1)>\"'><svg onload=alert(2)>{{7*7}}"
_STANDS_FOR_IT = "QQHOSTILEQQ"


class Review(BaseModel):
    text: str


class Facts(BaseModel):
    product: str
    rating: int


class Verdict(BaseModel):
    verdict: str
    fine: bool


def chain(word: str = "pen", id: str = "facts") -> Chain:
    """Every word of a user's that a page may show holds `word`."""
    facts = Step(
        id=id,
        name=f"Facts {word}",
        input_model=Review,
        output_model=Facts,
        engine_name="stand_in",
        system_prompt=f"You read reviews of the {word}.",
        user_prompt="Review: {{ text }}",
    )
    verdict = Step(
        id="verdict", input_model=Facts, output_model=Verdict, engine_name="stand_in", user_prompt="Of {{ product }}"
    )

    def keep(row: Facts) -> Facts | None:
        if "bad" in row.product:
            raise ValueError(f"no {word} here: {row.product!r}")
        return None if "odd" in row.product else row

    steps = [facts, apply(keep), [Branch(name="fr", steps=[verdict])]]
    drafts = while_loop([_draft()], until="fine", max_iterations=3, id="drafts", feed="input", at_least_once=True)
    return Chain(name=f"Reviews of {word}", steps=[*steps, drafts])


def _draft() -> Step:
    return Step(id="draft", input_model=Facts, output_model=Verdict, engine_name="stand_in", user_prompt="{{ rating }}")


def rows(count: int = 12, word: str = "pen") -> list[dict[str, Any]]:
    kinds = ("good", "good", "bad", "odd")
    return [{"text": f"{kinds[i % 4]} {word} number {i}"} for i in range(count)]


def answers(word: str = "pen") -> dict[str, Any]:
    """By the part of the prompt."""
    facts = {f"Review: {kind}": {"product": f"{kind} {word}", "rating": 4} for kind in ("good", "odd", "bad")}
    return {**facts, "Of": {"verdict": word, "fine": True}, "4": {"verdict": word, "fine": True}}


def make_run(folder: Path, count: int = 12, *, word: str = "pen", id: str = "facts", **script: Any) -> Path:
    """A finished run in `folder`."""
    before = default_registry.copy()
    script = {"answers": answers(word), "reasoning": f"thinking of the {word}", **script}
    default_registry.add(EngineSpec.parse({"name": "stand_in", "backend": "scripted", "script": script}))
    try:
        chain(word, id).run(rows(count, word), folder, chunk_size=4, max_failed="100%")
    finally:
        default_registry.replace(before)
    return set_status(folder, tags=["nightly", word])


def make_hostile(folder: Path) -> Path:
    """The same, in which every text that came from outside is an attack, ids of steps and rows included."""
    make_run(folder, word=_STANDS_FOR_IT, id=_STANDS_FOR_IT)
    told = json.dumps(HOSTILE)[1:-1]
    for path in sorted(folder.rglob("*.json*")):
        text = path.read_text(encoding="utf-8").replace(_STANDS_FOR_IT, told)
        text = text.replace('"_id":"3', f'"_id":"3{told}').replace('"message": ""', f'"message": "{told}"')
        path.write_text(text, encoding="utf-8")
    for path in sorted(folder.glob(f"*/{_STANDS_FOR_IT}*")):
        path.rename(path.parent / path.name.replace(_STANDS_FOR_IT, folder_name(HOSTILE)))
    return folder


def set_status(run: Path, **said: Any) -> Path:
    """What its status says otherwise."""
    path = run / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **said}), encoding="utf-8")
    return run


def copied(run: Path, name: str, **said: Any) -> Path:
    """A copy of a run beside it."""
    there = run.parent / name
    shutil.copytree(run, there)
    return set_status(there, **said)
