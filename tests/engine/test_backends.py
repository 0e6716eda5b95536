"""What each backend says before anything is started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chainette.engine import capabilities
from chainette.engine.embedded import model_file
from chainette.errors import EngineStartError
from chainette.specs import EngineSpec, SamplingParams
from tests.engine.conftest import environment


def spec(**fields):
    return EngineSpec.parse({"name": "e", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"backend": "openai", "model": "m", "endpoint": "http://h/v1"},
        {"backend": "vllm", "model": "m", "endpoint": "http://h/v1"},
        {"backend": "scripted"},
    ],
)
def test_openai_vllm_and_scripted_take_every_sampling_field(fields):
    assert capabilities(spec(**fields)).sampling == set(SamplingParams.model_fields)
    assert capabilities(spec(**fields)).ready == ""


def test_vllm_without_an_endpoint_says_how_to_start_one():
    said = capabilities(spec(backend="vllm", model="org/model")).ready
    assert "vllm serve org/model" in said
    assert "endpoint: http://localhost:8000/v1" in said


def test_openai_itself_needs_its_key_before_the_run(monkeypatch):
    engine = spec(backend="openai", model="gpt", api_key_env="MY_KEY")
    assert "MY_KEY" in capabilities(engine).ready
    monkeypatch.setenv("MY_KEY", "x")
    assert capabilities(engine).ready == ""


def test_ollama_is_looked_for_on_this_machine_and_takes_fewer_fields():
    found = capabilities(spec(backend="ollama", model="llama3.2"))
    assert found.description == "llama3.2 on Ollama at http://localhost:11434/v1"
    assert "top_k" not in found.sampling
    assert "seed" in found.sampling


def test_a_script_that_is_wrong_is_said_before_the_run():
    assert "did you mean" in capabilities(spec(backend="scripted", script={"slotz": 1})).ready


def test_asking_for_capabilities_loads_no_client_and_no_model():
    code = (
        "import sys; from chainette.engine import capabilities; from chainette.specs import EngineSpec\n"
        "for b in ('openai', 'vllm', 'ollama', 'embedded', 'scripted'):\n"
        "    capabilities(EngineSpec.parse({'name': b, 'backend': b, 'model': '' if b == 'embedded' else 'm'}))\n"
        "print([m for m in ('aiohttp', 'xllamacpp', 'psutil', 'huggingface_hub', 'tenacity') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_hub_model_without_a_network_says_what_to_download(no_network):
    with pytest.raises(EngineStartError, match=r"download https://huggingface\.co/org/repo .*`model: path\.gguf`"):
        model_file(spec(backend="embedded", model="org/repo"))


def test_a_hub_model_in_the_cache_needs_no_network(no_network, tmp_path):
    folder = tmp_path / "hub" / "models--org--repo" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in ("m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj.gguf"):
        (folder / name).write_bytes(b"GGUF")
    assert model_file(spec(backend="embedded", model="org/repo")).name == "m-Q4_K_M.gguf"
