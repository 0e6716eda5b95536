"""The `devices:` block of an engines file, and its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainette.errors import ChainError
from chainette.specs import DeclaredDevice, EngineRegistry, engines_here

GIB = 2**30


def declared(tmp_path: Path, block: str, environment: dict[str, str] | None = None):
    """What the engines file with this block declares, and what is said against it."""
    file = tmp_path / "engines.yml"
    file.write_text(f"engines: []\n{block}\n", encoding="utf-8")
    registry, problems = engines_here(file, environment or {})
    return registry.declared_devices, [str(problem).removeprefix(f"{file}: ") for problem in problems]


@pytest.mark.parametrize(
    ("block", "devices"),
    [
        ("", None),
        ("devices:", None),
        ("devices: 2", (DeclaredDevice(0), DeclaredDevice(1))),
        ("devices: 0", ()),
        (
            "devices: {count: 2, name: A100, memory_gib: 80}",
            (DeclaredDevice(0, "A100", 80 * GIB), DeclaredDevice(1, "A100", 80 * GIB)),
        ),
        (
            "devices: [{name: A, memory_gib: 24}, {memory_gib: 0.5}]",
            (DeclaredDevice(0, "A", 24 * GIB), DeclaredDevice(1, "", GIB // 2)),
        ),
        ("devices: [{index: 3}, 1]", (DeclaredDevice(3), DeclaredDevice(1))),
    ],
)
def test_devices_are_declared_by_number_by_kind_or_one_by_one(tmp_path: Path, block: str, devices) -> None:
    assert declared(tmp_path, block) == (devices, [])


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("devices: many", "devices: must be a number, a mapping or a list, not 'many'"),
        ("devices: true", "devices: must be a number, a mapping or a list, not True"),
        ("devices: -1", "devices.count: must be a whole number from 0 to 4096, not -1"),
        ("devices: {memory_gib: 80}", "devices: needs a `count`"),
        ("devices: {cuont: 2}", 'devices.cuont: no such key (did you mean "count"?)'),
        ("devices: {count: 1, memory_gib: 80GB}", "devices.memory_gib: must be a number above 0, in GiB, not '80GB'"),
        ("devices: [{name: 7}]", "devices[0].name: must be text, not 7"),
        ("devices: [A100]", "devices[0]: must be a mapping or an index, not 'A100'"),
        ("devices: [1, {index: 1}]", "devices[1]: a second device with index 1"),
    ],
)
def test_a_wrong_form_names_the_file_and_the_key(tmp_path: Path, block: str, said: str) -> None:
    devices, problems = declared(tmp_path, block)
    assert devices is None
    assert [problem.startswith(said) for problem in problems] == [True], problems


def test_the_variable_comes_before_the_file(tmp_path: Path) -> None:
    assert declared(tmp_path, "devices: 8", {"CHAINETTE_DEVICES": "1"}) == ((DeclaredDevice(0),), [])
    assert declared(tmp_path, "devices: 8", {"CHAINETTE_DEVICES": "[{name: A}]"})[0] == (DeclaredDevice(0, "A"),)
    assert declared(tmp_path, "", {"CHAINETTE_DEVICES": "{"})[1][0].startswith("environment CHAINETTE_DEVICES: is not")


def test_a_registry_takes_its_devices_along() -> None:
    registry = EngineRegistry(declared_devices=(DeclaredDevice(0),))
    other = EngineRegistry()
    other.replace(registry.copy())
    assert other.with_environment({})[0].declared_devices == (DeclaredDevice(0),)


def test_a_wrong_block_and_a_wrong_engine_are_said_together(tmp_path: Path) -> None:
    from chainette.specs import read_engines_file

    file = tmp_path / "engines.yml"
    file.write_text("engines: [{model: x}]\ndevices: many\n", encoding="utf-8")
    with pytest.raises(ChainError) as error:
        read_engines_file(file)
    assert len(error.value.problems) == 2
