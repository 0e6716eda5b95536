"""Real vLLM servers on the CPU with toy models. Without `$CHAINETTE_VLLM_PYTHON` nothing here runs: `make test-vllm`.

For a new test: `vllm_engine(**fields)` registers an engine on the toy model and gives its spec; a run or a broker then
starts it, in about 40 s. Where a server that is already up will do, `served` is one for the whole session.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from chainette.engine import vllm
from chainette.engine.process import ServerProcess
from chainette.specs import EngineSpec, default_registry

MAKER = Path(__file__).with_name("toy_model.py")

CPU: dict[str, Any] = {
    "backend": "vllm",
    "dtype": "bfloat16",
    "enforce_eager": True,
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "start_timeout_s": 300,
}
"""What a toy model needs on a machine without a GPU."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    skip = pytest.mark.skip(reason="needs $CHAINETTE_VLLM_PYTHON, a Python that has vLLM: make test-vllm")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if not os.environ.get("CHAINETTE_VLLM_PYTHON"):
                item.add_marker(skip)


@dataclass(frozen=True)
class ToyModels:
    """Folders: two models with different weights, and an adapter for the first."""

    one: str
    other: str
    adapter: str


@pytest.fixture(scope="session")
def toy_models() -> ToyModels:
    """Made once per version of their maker, in the temporary folder."""
    version = hashlib.sha256(MAKER.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"chainette-toy-models-{os.getuid()}-{version}")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as new:
            made = Path(new, "made")
            python = os.environ["CHAINETTE_VLLM_PYTHON"]
            subprocess.run([python, "-P", str(MAKER), str(made)], check=True, capture_output=True)
            made.rename(folder)
    return ToyModels(str(folder / "one"), str(folder / "other"), str(folder / "adapter"))


@pytest.fixture(scope="session")
def toy_model(toy_models: ToyModels) -> str:
    return toy_models.one


@pytest.fixture(autouse=True, scope="session")
def _small_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture
def vllm_engine(toy_model: str) -> Callable[..., EngineSpec]:
    """`vllm_engine(name="toy", **fields)`: an engine of ours on the toy model, registered."""

    def register(name: str = "toy", **fields: Any) -> EngineSpec:
        spec = EngineSpec.parse({**CPU, "name": name, "model": toy_model, **fields})
        default_registry.add(spec)
        return spec

    return register


@dataclass(frozen=True)
class Served:
    """A server that is up."""

    spec: EngineSpec
    url: str
    key: str
    pid: int

    def engine(self, name: str = "served", **fields: Any) -> EngineSpec:
        """An engine on it, registered: an endpoint as if it were somebody else's."""
        block = {"name": name, "backend": "vllm", "model": self.spec.model, "endpoint": self.url, "api_key": self.key}
        spec = EngineSpec.parse({**block, "max_concurrency": 20, **fields})
        default_registry.add(spec)
        return spec


@pytest.fixture(scope="session")
def served(toy_models: ToyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the whole session, with an adapter called `adapter` and a reasoning parser."""
    fields = {"adapters": {"adapter": toy_models.adapter}, "enable_reasoning": True, "reasoning_parser": "qwen3"}
    spec = EngineSpec.parse({**CPU, "name": "shared", "model": toy_models.one, **fields})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        launch = vllm.launch(spec)
        server = ServerProcess.start(spec.name, launch, spec.start_timeout_s)
        try:
            yield Served(spec, server.url, launch.api_key, server.pid)
        finally:
            server.stop()


def session(leader: int) -> list[psutil.Process]:
    """The processes of a session, the zombies left out: all that a server of ours has started."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (OSError, psutil.Error):
            continue
    return members
