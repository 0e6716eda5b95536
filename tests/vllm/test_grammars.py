"""What vLLM's own grammar backends do with the schemas of pydantic models, held against what we say of them.

Needs a Python with vLLM ($CHAINETTE_VLLM_PYTHON), and neither a server nor a model.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, HttpUrl

from chainette import Chain, register_engine
from chainette.engine import grammar_probe
from chainette.engine.enforced import choose_grammar, unenforced_keywords
from chainette.engine.grammars import grammars
from chainette.engine.runaways import HELD, held_schema
from chainette.run import check
from chainette.specs import EngineSpec
from tests.models import Question, step

PYTHON = os.environ.get("CHAINETTE_VLLM_PYTHON", "")
BACKENDS = ("xgrammar", "guidance")
BASICS = (
    "type enum const minLength maxLength pattern items minItems maxItems prefixItems properties required "
    "additionalProperties additionalProperties.schema anyOf oneOf.disjoint $ref "
    "integer.minimum integer.maximum number.minimum number.maximum format.date format.date-time format.uuid"
).split()

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="CHAINETTE_VLLM_PYTHON names no Python with vLLM"),
]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(max_length=8)


class Tree(BaseModel):
    value: int
    children: list[Tree] = Field(default=[], max_length=2)


class Visit(BaseModel):
    on: date
    at: datetime | None = None
    stars: Annotated[int, Field(ge=1, le=5)]
    weight: float = Field(gt=0)
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    words: list[str] = Field(max_length=2)
    code: str = Field(pattern="^[A-Z]{2}[0-9]$")
    tree: Tree


class Odd(BaseModel):
    """What at least one of the backends refuses outright, with HTTP 400 for every row."""

    tags: set[str]
    file: Path
    page: HttpUrl
    votes: dict[Literal["a", "b"], int]
    even: int = Field(multiple_of=2, ge=0)


VISIT: dict[str, Any] = {
    "on": "2024-02-29",
    "at": "2024-02-29T10:20:30Z",
    "stars": 5,
    "weight": 2.5,
    "pet": {"kind": "dog", "name": "Rex"},
    "words": ["a", "é"],
    "code": "AB1",
    "tree": {"value": 1, "children": [{"value": -2, "children": []}]},
}
WRONG_VISITS: list[dict[str, Any]] = [
    {"on": "today"},
    {"at": 5},
    {"stars": 6},
    {"weight": 0},
    {"pet": {"kind": "cow", "name": "x"}},
    {"pet": {"kind": "cat", "lives": 10}},
    {"words": ["a", "b", "c"]},
    {"code": "ab1"},
    {"tree": {"value": "1"}},
    {"tree": {"value": 10**25}},
    {"tree": {"value": 1, "children": [{"children": []}]}},
    {"more": 1},
]
ODD: dict[str, Any] = {
    "tags": ["x", "y"],
    "file": "a/b",
    "page": "https://example.org/",
    "votes": {"a": 1},
    "even": 4,
}
ODD_BROKEN = {
    "uniqueItems (tags)": {"tags": ["x", "x"]},
    "maxLength beside format (page)": {"page": "https://example.org/" + "a" * 2100},
    "propertyNames (votes)": {"votes": {"c": 1}},
    "multipleOf (even)": {"even": 3},
}

TRY = """
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
asked = json.load(sys.stdin)
spec = spec_from_file_location("grammar_probe", asked["probe"])
probe = module_from_spec(spec)
spec.loader.exec_module(probe)
tokenizer = probe._byte_tokenizer()
backends, said = {}, []
for name, schema, texts in asked["questions"]:
    if name not in backends:
        backends[name] = probe.Backend(name, tokenizer)
    refusal = backends[name]._refusal(schema)
    said.append([refusal, [] if refusal else [backends[name].accepts(schema, text) for text in texts]])
print(json.dumps(said))
"""


@pytest.fixture(autouse=True)
def _no_cache_of_others(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def engine(grammar: str = "auto") -> EngineSpec:
    return EngineSpec.parse({"name": "llama3", "backend": "vllm", "model": "m", "grammar": grammar, "python": PYTHON})


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def ask(questions: list[tuple[str, dict[str, Any], list[str]]]) -> list[tuple[str, list[bool]]]:
    """For each (backend, schema, texts): why vLLM refuses the schema, or empty; which texts may be sampled."""
    asked = {"probe": str(Path(grammar_probe.__file__)), "questions": questions}
    ran = subprocess.run(
        [PYTHON, "-c", TRY],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "VLLM_LOGGING_LEVEL": "CRITICAL"},
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [tuple(answer) for answer in json.loads(ran.stdout.splitlines()[-1])]


def test_the_basics_are_enforced_by_both_backends_and_blanks_cannot_run_away() -> None:
    known = grammars(engine())
    assert known.unknown == ""
    for backend in BACKENDS:
        assert {feature: known.verdict(backend, feature) for feature in BASICS} == dict.fromkeys(BASICS, "enforced")
        assert not known.runaways[backend]["blanks"]


def test_what_was_tried_is_kept_in_a_file_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainette.engine import grammars as room

    first = grammars(engine())
    assert len(list(Path(os.environ["XDG_CACHE_HOME"], "chainette").iterdir())) == 1
    room._grammars.cache_clear()
    monkeypatch.setattr(room, "PROBE_TIMEOUT_S", 5.0)  # enough to read versions, not to import vLLM and try
    assert grammars(engine()) == first


def test_answers_that_fit_a_model_may_be_sampled_and_those_that_break_it_may_not() -> None:
    texts = [compact({**VISIT, **wrong}) for wrong in WRONG_VISITS]
    schema = Visit.model_json_schema()
    assert unenforced_keywords(engine(), schema) == []
    questions = [(name, held_schema(engine(name), schema), [compact(VISIT), *texts]) for name in BACKENDS]
    for refusal, taken in ask(questions):
        assert refusal == ""
        assert taken[0]
        assert dict(zip(texts, taken[1:], strict=True)) == dict.fromkeys(texts, False)


def test_a_schema_that_a_backend_refuses_is_sent_without_what_it_refuses_and_that_is_said() -> None:
    schema = Odd.model_json_schema()
    questions = []
    for name in BACKENDS:
        texts = [compact(ODD), *(compact({**ODD, **broken}) for broken in ODD_BROKEN.values())]
        questions += [(name, schema, texts), (name, held_schema(engine(name), schema), texts)]
    answers = ask(questions)
    for position, name in enumerate(BACKENDS):
        (as_it_is, _), (as_sent, taken) = answers[2 * position : 2 * position + 2]
        assert as_it_is != ""
        assert as_sent == ""
        assert taken[0]
        said = unenforced_keywords(engine(name), schema)
        let_through = [what for what, passed in zip(ODD_BROKEN, taken[1:], strict=True) if passed]
        assert let_through == [what for what in ODD_BROKEN if what in said]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_backend_would_wrongly_reject_is_left_to_validation(backend: str) -> None:
    """llguidance knows no multiples below zero, as of 1.7."""

    class Shift(BaseModel):
        by: int = Field(multiple_of=5)

    sent = held_schema(engine(backend), Shift.model_json_schema())
    ((refusal, taken),) = ask([(backend, sent, ['{"by":-10}', '{"by":10}'])])
    assert (refusal, taken) == ("", [True, True])


def test_integers_end_and_objects_take_no_more_properties_than_the_model_has() -> None:
    schema = Tree.model_json_schema()
    runaway, more, longest = '{"value":' + "1" * 300, '{"value":1,"x":2}', compact({"value": HELD - 1, "children": []})
    for refusal, taken in ask([(n, held_schema(engine(n), schema), [runaway + "}", more, longest]) for n in BACKENDS]):
        assert (refusal, taken) == ("", [False, False, True])


def test_the_backend_that_leaves_less_to_validation_is_chosen() -> None:
    spec = engine()
    plain, links = Visit.model_json_schema(), Odd.model_json_schema()
    assert choose_grammar(spec, [plain])[0] == "xgrammar"
    assert choose_grammar(spec, [plain, links])[0] == "guidance"
    assert "multipleOf (even)" in choose_grammar(spec, [plain, links])[1]
    assert choose_grammar(engine("xgrammar"), [links])[0] == "xgrammar"


def test_inspect_says_which_backend_serves_a_chain_and_why_and_the_run_starts_that_one(tmp_path: Path) -> None:
    register_engine(name="llama3", backend="vllm", model=str(tmp_path), python=PYTHON)
    checked = check(Chain(name="c", steps=[step("visit", Question, Visit), step("odd", Visit, Odd, "{{ code }}")]))
    said = [problem.message for problem in checked.problems if problem.where == 'engine "llama3"']
    assert any(words.startswith("guidance holds answers to their schemas: xgrammar would leave out") for words in said)
    assert checked.plan.engines["llama3"].grammar == "guidance"
