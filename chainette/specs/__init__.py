"""Recipes a user writes down: how to sample, and which engines there are. Knows nothing alive."""

from chainette.specs.declared_devices import DeclaredDevice, declared_devices
from chainette.specs.engine_spec import Capabilities, EngineSpec
from chainette.specs.registry import (
    DEFAULT_ENGINE,
    EngineRegistry,
    default_registry,
    engines_here,
    read_engines_file,
    register_engine,
)
from chainette.specs.sampling import SamplingParams

__all__ = [
    "DEFAULT_ENGINE",
    "Capabilities",
    "DeclaredDevice",
    "EngineRegistry",
    "EngineSpec",
    "SamplingParams",
    "declared_devices",
    "default_registry",
    "engines_here",
    "read_engines_file",
    "register_engine",
]
