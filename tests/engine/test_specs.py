"""What is refused before there is an engine: endpoints that are none, values that cannot be sent."""

from __future__ import annotations

import pytest

from chainette.engine.scripted import ScriptedEngine
from chainette.errors import ChainError
from chainette.specs import EngineSpec, SamplingParams


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://127.0.0.1:99999/v1", "Port out of range"),
        ("http://h:x/v1", "Port could not be cast"),
        ("http://h:0/v1", "port 0 is none"),
        ("http://[::1/v1", "Invalid IPv6 URL"),
        ("http://", "names no host"),
        ("http://:80/v1", "names no host"),
        ("http://a..b/v1", "a..b is no host"),
        ("http://a b/v1", "white space"),
        ("localhost:8000/v1", "must begin with http://"),
    ],
)
def test_an_endpoint_that_is_no_url_is_refused_with_the_reason(endpoint, said):
    with pytest.raises(ChainError, match=rf'engine "e": endpoint ".*" is no URL: .*{said}.*\(e\.g\. http://localhost'):
        EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": endpoint})


@pytest.mark.parametrize(
    "endpoint", ["http://[::1]:80/v1", "http://localhost./v1", "https://ü.de", "http://u:p@h/x?y=1"]
)
def test_an_endpoint_that_is_a_url_is_taken(endpoint):
    spec = EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": endpoint})
    assert spec.endpoint == endpoint


def test_a_refused_endpoint_or_key_or_header_is_said_without_its_secret():
    fields = {"endpoint": "http://user:hush@[zz]/v1"}, {"api_key": ["hush"]}, {"headers": {"X": ["hush"]}}
    for field in fields:
        with pytest.raises(ChainError) as caught:
            EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", **field})
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"endpoint": "https://user:hush@h:1/v1"}, {"endpoint": "https://***@h:1/v1"}),
        ({"endpoint": "https://hush@h/v1"}, {"endpoint": "https://***@h/v1"}),
        ({"endpoint": "https://h/v1?key=hush"}, {"endpoint": "https://h/v1?***"}),
        ({"backend": "vllm", "hf_token": "hush", "seed": 1}, {"vllm_args": {"hf_token": "***", "seed": 1}}),
    ],
)
def test_what_the_run_folder_says_of_an_engine_holds_no_secret(fields, shown):
    spec = EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", **fields})
    assert shown.items() <= spec.public().items()
    assert "hush" not in str(spec.public())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"extra_args": {"x": object()}}, "extra_args: cannot be sent as JSON: Type is not JSON serializable: object"),
        ({"extra_args": {"x": {"y": float("nan")}}}, "extra_args: cannot be sent as JSON"),
        ({"temperature": float("inf")}, "temperature: cannot be sent as JSON"),
        ({"seed": 1 << 70}, "seed: cannot be sent as JSON: Integer exceeds 64-bit range"),
        ({"stop": ["\ud800"]}, "stop: cannot be sent as JSON: str is not valid UTF-8"),
    ],
)
def test_a_sampling_value_that_json_cannot_hold_is_refused_with_its_field(fields, said):
    with pytest.raises(ChainError, match=rf"SamplingParams\.{said}"):
        SamplingParams(**fields)


def test_a_schema_that_json_cannot_hold_is_refused_when_the_step_is_prepared():
    with pytest.raises(ChainError, match="the request field `response_format` cannot be sent as JSON"):
        ScriptedEngine().prepare({"title": "T", "const": object()}, SamplingParams())
