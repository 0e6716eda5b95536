"""What every test gets: an empty working directory and a registry of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from chainette.specs import EngineSpec, default_registry

# A run of the tests proves the same each time; CHAINETTE_RANDOM=1 looks further. How quickly examples are drawn says
# something of the machine only.
_REPEATED = not os.environ.get("CHAINETTE_RANDOM")
settings.register_profile("same", derandomize=_REPEATED, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _own_place(tmp_path, tmp_path_factory, monkeypatch):
    """Runs land in the test's folder, and no engines.yml or variable of the developer's is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("CHAINETTE_ENGINES", raising=False)
    monkeypatch.delenv("CHAINETTE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture(autouse=True)
def _own_engines():
    before = default_registry.copy()
    yield
    default_registry.replace(before)


@pytest.fixture
def engine():
    """Registers the stand-in as the only engine: `engine(answers={…})`, more under other names."""

    def register(name: str = "stand_in", **script: Any) -> EngineSpec:
        spec = EngineSpec.parse({"name": name, "backend": "scripted", "script": script})
        default_registry.add(spec)
        return spec

    return register
