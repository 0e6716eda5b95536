"""vLLM's command line from a spec, checked against what a made-up vLLM says it takes."""

from __future__ import annotations

import json

import pytest

from chainette.engine import capabilities, sglang, vllm
from chainette.engine.vllm_installed import installed
from chainette.errors import ChainError, EngineStartError
from chainette.specs import EngineSpec, SamplingParams
from tests.engine import fake_vllm


@pytest.fixture
def python(tmp_path):
    return fake_vllm.make(tmp_path / "made-up")


@pytest.fixture
def spec(python):
    def parse(**fields):
        return EngineSpec.parse({"name": "e", "backend": "vllm", "model": "org/model", "python": python, **fields})

    return parse


def words(spec, devices=0):
    return vllm.launch(spec, devices).settings["arguments"]


def test_what_is_installed_is_read_without_importing_it(python):
    found = installed(python)
    assert (found.version, found.on_cpu, found.max_num_seqs) == ("9.9.0", False, 222)
    assert {"max_model_len", "brand_new_size", "lora_modules", "port"} <= found.arguments
    assert found.reasoning_parsers == ("deepseek_r1", "qwen3")


def test_the_build_for_processors_is_known_by_its_distribution(tmp_path):
    found = installed(fake_vllm.make(tmp_path / "cpu", cpu=True))
    assert (found.on_cpu, found.max_num_seqs) == (True, 111)


def test_every_argument_goes_by_its_own_name_as_the_parser_wants_it(spec):
    given = words(
        spec(
            dtype="bfloat16",
            gpu_memory_utilization=0.6,
            max_model_len=-1,
            enforce_eager=True,
            enable_sleep_mode=False,
            disable_log_stats=False,
            hf_overrides={"a": [1]},
            allowed_origins=["http://a"],
            middleware=["x.y", "z"],
            max_loras=None,
        )
    )
    assert "--dtype=bfloat16" in given
    assert "--gpu-memory-utilization=0.6" in given
    assert "--max-model-len=-1" in given
    assert "--enforce-eager" in given
    assert "--no-enable-sleep-mode" in given
    assert not any("disable-log-stats" in word for word in given)
    assert '--hf-overrides={"a": [1]}' in given
    assert '--allowed-origins=["http://a"]' in given
    assert [word for word in given if word.startswith("--middleware")] == ["--middleware=x.y", "--middleware=z"]
    assert not any("max-loras" in word for word in given)


def test_the_model_answers_by_its_own_name_and_by_those_that_were_given(spec):
    given = words(spec(served_model_name="short"))
    at = given.index("--served-model-name")
    assert given[at + 1 : at + 3] == ["org/model", "short"]


@pytest.mark.parametrize(
    ("fields", "devices", "said"),
    [
        ({}, 0, None),
        ({}, 1, None),
        ({}, 4, "--tensor-parallel-size=4"),
        ({"pipeline_parallel_size": 2}, 4, "--tensor-parallel-size=2"),
        ({"tensor_parallel_size": 1}, 4, "--tensor-parallel-size=1"),
    ],
)
def test_a_tensor_is_split_over_the_devices_unless_said(spec, fields, devices, said):
    given = [word for word in words(spec(**fields), devices) if "tensor" in word]
    assert given == ([said] if said else [])


def test_what_is_ours_is_left_out_and_said(spec):
    engine = spec(port=1234, api_key="hush", vllm_args={"host": "0.0.0.0", "config": "x.yml"})
    assert not any(word.startswith(("--port", "--host", "--config", "--api-key")) for word in words(engine))
    said = " ".join(vllm.left_out(engine))
    assert all(f"`{name}`" in said for name in ("port", "host", "config"))


def test_the_engines_own_field_comes_before_vllm_args_and_it_is_said(spec):
    engine = spec(dtype="float16", vllm_args={"dtype": "float32"})
    assert [word for word in words(engine) if "dtype" in word] == ["--dtype=float16"]
    assert "`dtype`" in vllm.left_out(engine)[0]


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, {"backend": "xgrammar", "disable_any_whitespace": True}),
        ({"grammar": "guidance"}, {"backend": "guidance", "disable_any_whitespace": True}),
        ({"grammar": "outlines"}, {"backend": "outlines"}),
        ({"structured_outputs_config": {"backend": "auto"}}, {"backend": "auto"}),
    ],
)
def test_the_grammar_leaves_no_room_for_white_space_where_it_can(spec, fields, config):
    (given,) = [word for word in words(spec(**fields)) if word.startswith("--structured-outputs-config=")]
    assert json.loads(given.partition("=")[2]) == config


def test_adapters_are_served_by_name_with_room_for_the_largest_rank(spec, tmp_path):
    (tmp_path / "tone").mkdir()
    (tmp_path / "tone" / "adapter_config.json").write_text('{"r": 24}')
    given = words(spec(adapters={"tone": str(tmp_path / "tone"), "far": "org/adapter"}))
    at = given.index("--lora-modules")
    assert [json.loads(word)["name"] for word in given[at + 1 : at + 3]] == ["tone", "far"]
    assert {"--enable-lora", "--max-lora-rank=32", "--max-loras=2"} <= set(given)


def test_a_step_may_only_name_an_adapter_that_the_engine_has(spec):
    engine = spec(adapters={"formal": "org/adapter"})
    assert engine.adapter_problem("formal") == ""
    assert 'no adapter "fromal" (did you mean "formal"?)' in engine.adapter_problem("fromal")
    other = EngineSpec.parse({"name": "o", "backend": "openai", "model": "m"})
    assert "it is for vllm" in other.adapter_problem("formal")


def test_nothing_is_asked_for_that_the_installed_vllm_does_not_know(spec):
    given = words(spec())
    assert "--enable-per-request-metrics" in given
    assert "--enable-prompt-tokens-details" not in given
    assert "--enable-per-request-metrics" not in words(spec(disable_log_stats=True))


def test_an_argument_that_the_installed_vllm_has_gained_is_taken(spec):
    assert "--brand-new-size=3" in words(spec(brand_new_size=3))


@pytest.mark.parametrize("fields", [{"swap_space": 4}, {"brand_old_size": 3}])
def test_an_argument_that_the_installed_vllm_lacks_is_refused_before_the_start(spec, fields):
    (name,) = fields
    ready = capabilities(spec(**fields)).ready
    assert f'vLLM 9.9.0 has no argument "{name}"' in ready
    with pytest.raises(EngineStartError, match=f'vLLM 9.9.0 has no argument "{name}"'):
        vllm.launch(spec(**fields))


def test_a_misspelt_argument_is_refused_where_no_vllm_is_installed(tmp_path):
    with pytest.raises(ChainError, match='did you mean "gpu_memory_utilization"'):
        EngineSpec.parse({"name": "e", "model": "m", "gpu_memory_utilisation": 0.5})
    engine = EngineSpec.parse({"name": "e", "model": "m", "python": str(tmp_path / "none"), "max_model_length": 5})
    assert 'has no argument "max_model_length" (did you mean "max_model_len"?)' in capabilities(engine).ready


def test_a_python_that_is_not_there_and_one_without_vllm_say_what_to_do(spec, tmp_path):
    missing = capabilities(spec(python=str(tmp_path / "none"))).ready
    assert "there is no Python at" in missing
    assert "`python:`" in missing
    empty = tmp_path / "python"
    empty.write_text('#!/bin/sh\necho "[[], {}]"\n')
    empty.chmod(0o755)
    with pytest.raises(EngineStartError, match="pip install vllm"):
        vllm.launch(spec(python=str(empty)))


def test_the_environment_names_the_python_when_the_engine_does_not(python, monkeypatch):
    monkeypatch.setenv("CHAINETTE_VLLM_PYTHON", python)
    engine = EngineSpec.parse({"name": "e", "model": "org/model"})
    assert vllm.launch(engine).command[0] == python
    assert "vLLM 9.9.0" in capabilities(engine).description


def test_reasoning_needs_a_parser_that_the_installed_vllm_has(spec):
    with pytest.raises(ChainError, match="needs a `reasoning_parser`"):
        spec(enable_reasoning=True)
    assert "--reasoning-parser=qwen3" in words(spec(enable_reasoning=True, reasoning_parser="qwen3"))
    assert "it has deepseek_r1, qwen3" in capabilities(spec(reasoning_parser="quen")).ready


def test_a_model_or_adapter_folder_that_is_missing_is_found_before_the_start(spec):
    assert "there is no folder /no/such/model" in capabilities(spec(model="/no/such/model")).ready
    assert 'adapter "a": there is no folder ./none' in capabilities(spec(adapters={"a": "./none"})).ready


def test_the_key_is_new_each_time_and_stands_in_no_argument(spec):
    one, other = vllm.launch(spec()), vllm.launch(spec())
    assert one.api_key != other.api_key
    assert not any(one.api_key in word for word in (*one.command, *one.settings["arguments"]))
    assert one.api_key not in repr(one)


def test_sleeping_is_served_only_where_it_was_asked_for(spec):
    assert "VLLM_SERVER_DEV_MODE" not in vllm.launch(spec()).environment
    assert vllm.launch(spec(enable_sleep_mode=True)).environment["VLLM_SERVER_DEV_MODE"] == "1"


def test_the_window_is_a_few_more_than_the_server_answers_at_once(spec):
    assert vllm.window(spec(max_num_seqs=64)) == 80
    assert vllm.window(spec()) == 222 + 55
    assert vllm.window(spec(max_concurrency=7)) == 7


@pytest.mark.parametrize("backend", [vllm, sglang])
def test_words_for_the_chat_template_go_with_every_request(backend):
    name = backend.__name__.rpartition(".")[2]
    engine = EngineSpec.parse(
        {
            "name": "e",
            "backend": name,
            "model": "m",
            "endpoint": "http://h/v1",
            "chat_template_kwargs": {"enable_thinking": False, "depth": 1},
        }
    )
    sampling = SamplingParams(extra_args={"chat_template_kwargs": {"depth": 2}})
    fields = backend.body(engine, None, sampling)
    assert fields["chat_template_kwargs"] == {"enable_thinking": False, "depth": 2}


def test_a_schema_goes_as_response_format_and_never_as_guided():
    engine = EngineSpec.parse({"name": "e", "model": "m", "backend": "vllm", "endpoint": "http://h/v1"})
    fields = vllm.body(engine, {"type": "object"}, SamplingParams())
    assert fields["response_format"]["type"] == "json_schema"
    assert not any(name.startswith("guided") for name in fields)
