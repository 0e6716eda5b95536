"""What is said of a schema before a run, what is sent of it, and how an answer that never ended is named.

The Python that has vLLM is a stand-in here, which answers what a real one would print; the real one is in tests/vllm.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from chainette import Chain, SamplingParams, register_engine
from chainette.engine.enforced import choose_grammar, unenforced_keywords
from chainette.engine.grammar_probe import cases
from chainette.engine.runaways import HELD, closed_schema, cut_fields, held_schema, runaway, unbounded
from chainette.engine.schema_uses import uses, walk
from chainette.run import check
from chainette.specs import EngineSpec
from tests.models import Question, step

STAND_IN = """#!/bin/sh
if [ "$1" = "-c" ]; then echo '[["PACKAGE"], {"vllm": "1.0", "xgrammar": "1.0"}]'; exit; fi
cat > /dev/null
echo tried >> TRIED
cat FOUND
"""


class Review(BaseModel):
    title: str = Field(max_length=80)
    text: str
    stars: int
    tags: set[str]


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`vllm(xgrammar={"uniqueItems": "refused"}, guidance={}, **fields)`: an engine of ours on a vLLM whose backends do
    that; all other features are enforced."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(answer: str | None = None, *, cuts: bool = True, **fields: Any) -> EngineSpec:
        backends = {name: fields.pop(name) for name in ("xgrammar", "guidance") if name in fields}
        found = {
            "backends": {
                name: {"features": {**dict.fromkeys(cases(), "enforced"), **odd}, "runaways": {}}
                for name, odd in backends.items()
            },
            "cuts_repetition": cuts,
        }
        (tmp_path / "found").write_text(json.dumps(found) if answer is None else answer)
        python = tmp_path / "python"
        package = tmp_path / "vllm"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        script = STAND_IN.replace("PACKAGE", str(package))
        python.write_text(script.replace("TRIED", str(tmp_path / "tried")).replace("FOUND", str(tmp_path / "found")))
        python.chmod(0o755)
        return EngineSpec.parse({"name": "ours", "backend": "vllm", "model": "m", "python": str(python), **fields})

    return make


def test_the_embedded_engine_names_what_llguidance_ignores_with_the_field() -> None:
    spec = EngineSpec(name="demo", backend="embedded")
    assert unenforced_keywords(spec, Review.model_json_schema()) == ["uniqueItems (tags)"]


def test_a_property_called_like_a_keyword_is_none() -> None:
    class Odd(BaseModel):
        contains: str = Field(examples=[{"not": 1}])

    assert unenforced_keywords(EngineSpec(name="demo", backend="embedded"), Odd.model_json_schema()) == []


def test_nothing_is_said_of_endpoints_that_are_not_ours(vllm) -> None:
    spec = vllm(xgrammar={"uniqueItems": "refused"}, endpoint="http://localhost:8000/v1")
    assert unenforced_keywords(spec, Review.model_json_schema()) == []
    assert held_schema(spec, Review.model_json_schema()) == Review.model_json_schema()


def test_what_the_installed_backend_does_not_hold_to_is_named_once_for_each_place(vllm) -> None:
    class Person(BaseModel):
        age: Annotated[int, Field(ge=0)]

    class Pair(BaseModel):
        left: Person
        right: Person
        weight: float = Field(ge=0)

    spec = vllm(xgrammar={"integer.minimum": "ignored"})
    assert unenforced_keywords(spec, Pair.model_json_schema()) == ["minimum (left.age)"]


def test_an_installation_is_tried_once_and_the_result_is_kept(vllm, tmp_path) -> None:
    from chainette.engine import grammars as room

    spec = vllm(xgrammar={"uniqueItems": "refused"})
    for _ in range(3):
        assert unenforced_keywords(spec, Review.model_json_schema()) == ["uniqueItems (tags)"]
        room._grammars.cache_clear()  # as another process would begin
    assert (tmp_path / "tried").read_text().split() == ["tried"]


def test_a_cache_that_cannot_be_written_is_no_error(vllm, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert unenforced_keywords(vllm(xgrammar={"uniqueItems": "ignored"}), Review.model_json_schema())


def test_a_vllm_that_cannot_be_tried_is_said_to_be_unknown_and_gets_the_default_backend(vllm) -> None:
    spec = vllm("Segmentation fault")
    backend, why = choose_grammar(spec, [Review.model_json_schema()])
    assert backend == "xgrammar"
    assert "could not be tried" in why
    assert unenforced_keywords(spec, Review.model_json_schema()) == []


def test_the_backend_that_enforces_more_is_taken_and_the_faster_one_when_both_do_the_same(vllm) -> None:
    schemas = [Review.model_json_schema()]
    assert choose_grammar(vllm(xgrammar={}, guidance={}), schemas) == (
        "xgrammar",
        "enforces every keyword of the schemas",
    )


def test_the_reason_names_what_the_other_backend_would_leave_out(vllm) -> None:
    spec = vllm(xgrammar={"uniqueItems": "refused"}, guidance={})
    assert choose_grammar(spec, [Review.model_json_schema()]) == (
        "guidance",
        "xgrammar would leave out uniqueItems (tags)",
    )


@pytest.mark.parametrize(
    "fields", [{"grammar": "xgrammar"}, {"vllm_args": {"structured_outputs_config": {"backend": "xgrammar"}}}]
)
def test_who_names_a_backend_gets_it(vllm, fields) -> None:
    spec = vllm(xgrammar={"uniqueItems": "refused"}, guidance={}, **fields)
    assert choose_grammar(spec, [Review.model_json_schema()])[0] == "xgrammar"


def test_what_is_sent_lacks_what_the_backend_refuses_and_the_model_s_schema_stays_as_it_was(vllm) -> None:
    schema = Review.model_json_schema()
    before = copy.deepcopy(schema)
    sent = held_schema(vllm(xgrammar={"uniqueItems": "refused", "maxLength": "broken"}), schema)
    assert "uniqueItems" not in sent["properties"]["tags"]
    assert "maxLength" not in sent["properties"]["title"]
    assert schema == before


def test_integers_are_sent_with_an_end_and_objects_without_room_for_more(vllm) -> None:
    sent = held_schema(vllm(xgrammar={}), Review.model_json_schema())
    assert sent["additionalProperties"] is False
    assert (sent["properties"]["stars"]["minimum"], sent["properties"]["stars"]["maximum"]) == (-HELD, HELD)


def test_a_model_that_keeps_extra_fields_may_get_them(vllm) -> None:
    class Open(BaseModel, extra="allow"):
        name: str

    assert held_schema(vllm(xgrammar={}), Open.model_json_schema())["additionalProperties"] is True


def test_objects_are_closed_where_a_definition_holds_them_and_not_where_parts_are_put_together() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}}
    referred = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Inner"}}, "$defs": {"Inner": inner}}
    together = {"allOf": [inner, {"type": "object", "properties": {"c": {"type": "integer"}}}]}
    assert closed_schema(referred)["$defs"]["Inner"]["additionalProperties"] is False
    assert closed_schema(together) == together


def test_bounds_of_the_user_s_stay_and_a_number_without_any_gets_none(vllm) -> None:
    class Numbers(BaseModel):
        big: int = Field(ge=10**19)
        step: int = Field(multiple_of=5)
        share: float
        price: float = Field(ge=0)

    given = Numbers.model_json_schema()["properties"]
    sent = held_schema(vllm(xgrammar={}), Numbers.model_json_schema())["properties"]
    assert {name for name in sent if sent[name] == given[name]} == {"big", "step", "share"}
    assert sent["price"] == {**given["price"], "maximum": HELD}


def test_fields_that_may_never_end_are_named_and_bounded_ones_are_not() -> None:
    class Page(BaseModel):
        title: str = Field(max_length=80)
        kind: str = Field(pattern="^[ab]$")
        body: str | None
        words: list[str]
        more: dict[str, int]
        any: Any

    expected = ["body (string)", "words (list)", "words[] (string)", "more (dict)", "any (anything)"]
    assert sorted(unbounded(Page.model_json_schema())) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":' + "\n" * 300, "it ends in 300 blanks"),
        ('{"a":1.' + "0" * 1500, "it ends in a number of 1,502 digits"),
        ('{"a":"' + "very " * 80, "'very '"),
        ('{"a":"' + " ".join(str(n) for n in range(300)), None),
        ('{"a":11111111', None),
    ],
)
def test_the_end_of_a_cut_answer_says_how_it_lost_its_way(text, words) -> None:
    said = runaway(text)
    assert said is None if words is None else words in said


def test_a_server_that_can_is_asked_to_end_repetitions_where_no_grammar_does(vllm) -> None:
    class Closed(BaseModel):
        stars: int

    spec, schema = vllm(xgrammar={}), Review.model_json_schema()
    assert "repetition_detection" in cut_fields(spec, schema, SamplingParams())
    assert cut_fields(spec, Closed.model_json_schema(), SamplingParams()) == {}
    assert cut_fields(spec, schema, SamplingParams(max_tokens=100)) == {}
    assert cut_fields(spec, schema, SamplingParams(extra_args={"repetition_detection": None})) == {}


def test_a_server_that_cannot_is_not_asked(vllm) -> None:
    assert cut_fields(vllm(xgrammar={}, cuts=False), Review.model_json_schema(), SamplingParams()) == {}


def test_every_keyword_that_is_looked_for_is_one_that_is_tried() -> None:
    table = cases()
    found = {use.feature for schema, *_ in table.values() for _, node in walk(schema) for use in uses(node)}
    assert found - set(table) == set()


@pytest.mark.parametrize("feature", sorted(cases()))
def test_a_keyword_of_the_table_is_found_in_its_own_schema(feature) -> None:
    schema = cases()[feature][0]
    held = {"integer.held": "integer.minimum", "number.held": "number.maximum", "type": None, "properties": None}
    wanted = held.get(feature, feature)
    found = {use.feature for _, node in walk(schema) for use in uses(node)}
    assert wanted is None or wanted in found


def _problems(**fields):
    model = step("review", Question, Review, engine_name="there", **fields)
    return [problem for problem in check(Chain(name="c", steps=[model])).problems if "bounds" in problem.message]


def test_a_step_whose_answer_may_fill_the_whole_context_is_warned_about_in_one_line() -> None:
    register_engine(name="there", backend="vllm", model="m", endpoint="http://there/v1")
    (problem,) = _problems()
    assert (problem.where, problem.severity) == ('step "review"', "warning")
    assert "text (string), tags (list), tags[] (string)" in problem.message


def test_with_max_tokens_that_is_only_a_note() -> None:
    register_engine(name="there", backend="vllm", model="m", endpoint="http://there/v1")
    (problem,) = _problems(sampling=SamplingParams(max_tokens=200))
    assert problem.severity == "note"


def test_an_endpoint_that_is_no_grammar_s_is_not_warned_about() -> None:
    register_engine(name="there", backend="openai", model="m", endpoint="http://there/v1")
    assert _problems() == []
