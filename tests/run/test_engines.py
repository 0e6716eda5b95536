"""Where engines come from: code, engines.yml, environment, flags, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainette import Chain, ChainError, register_engine
from chainette.run import RunOptions, check
from tests.models import Answer, Question, step

QA = step("qa", Question, Answer)


def spec_of(**options):
    checked = check(Chain(name="c", steps=[QA.with_(engine_name="llama3")]), RunOptions(**options))
    checked.require()
    return next(iter(checked.plan.engines.values()))


def write_engines(text):
    Path("engines.yml").write_text(text, encoding="utf-8")


def test_the_file_wins_over_code_the_environment_over_the_file_and_the_flag_over_all(monkeypatch):
    register_engine(name="llama3", backend="openai", model="code", endpoint="http://code/v1")
    assert spec_of().model == "code"
    write_engines("engines: [{name: llama3, backend: openai, model: file, endpoint: 'http://file/v1'}]")
    assert spec_of().model == "file"
    monkeypatch.setenv("CHAINETTE_LLAMA3_MODEL", "environment")
    assert (spec_of().model, spec_of().endpoint) == ("environment", "http://file/v1")
    assert spec_of(engines={"qa": "demo"}).name == "demo"


def test_a_step_that_names_no_engine_gets_the_only_one_or_the_demo_model(engine):
    def default():
        checked = check(Chain(name="c", steps=[QA]))
        checked.require()
        return next(iter(checked.plan.engines))

    assert default() == "demo"
    engine("mine")
    assert default() == "mine"
    engine("other")
    with pytest.raises(ChainError, match="several are configured"):
        default()


def test_everything_wrong_in_a_file_is_said_with_its_place():
    write_engines(
        "engines: [{name: a, backend: openai, modle: x}, {backend: openai}, {name: c, replicas: 0, model: m}]"
    )
    with pytest.raises(ChainError) as error:
        spec_of()
    text = str(error.value)
    assert 'engines[0] "a": no such key "modle" (did you mean "model"?)' in text
    assert "engines[1]: must be a mapping with a `name`" in text
    assert "engines[2]" in text
    assert "replicas" in text


def test_a_file_that_is_named_must_exist():
    with pytest.raises(ChainError, match="cannot be read"):
        spec_of(engines_file="nowhere.yml")


def test_a_sampling_field_the_backend_does_not_take_is_refused_before_the_run():
    from chainette import SamplingParams

    chain = Chain(name="c", steps=[QA.with_(sampling=SamplingParams(min_tokens=3))])
    assert any('sampling field "min_tokens" is not supported' in str(p) for p in check(chain).problems)


def test_a_key_never_reaches_a_file_or_a_message(engine, tmp_path):
    engine(answers={"x": {"answer": "y", "confidence": 1}})
    register_engine(
        name="stand_in", backend="scripted", api_key="sk-very-secret", headers={"X-Token": "also-secret"}, script={}
    )
    result = Chain(name="c", steps=[QA]).run([{"text": "x"}])
    files = [path.read_bytes() for path in result.folder.rglob("*") if path.is_file()]
    assert not any(b"very-secret" in data or b"also-secret" in data for data in files)


def test_a_key_that_the_backend_has_no_use_for_is_refused():
    with pytest.raises(ChainError, match='"slots" means nothing to backend openai'):
        register_engine(name="x", backend="openai", model="m", endpoint="http://h/v1", slots=3)
