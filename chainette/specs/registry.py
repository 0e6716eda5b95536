"""Names to engine specs, from code, `engines.yml` and the environment. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainette.errors import ChainError, Problem, nearest
from chainette.specs.declared_devices import DeclaredDevice, declared_devices
from chainette.specs.engine_spec import EngineSpec

DEFAULT_ENGINE = "demo"
"""The engine of a step that names none when no other is configured: the demo model that ships with the package."""

ENGINES_FILE = "engines.yml"

DEVICES_VARIABLE = "CHAINETTE_DEVICES"
"""Declares the devices instead of the file's `devices:` block, written as that is."""


class EngineRegistry:
    """Engine specs by name, in the order they were added, and the devices that are declared for them."""

    def __init__(
        self,
        specs: Mapping[str, EngineSpec] | None = None,
        declared_devices: tuple[DeclaredDevice, ...] | None = None,
    ) -> None:
        self._specs: dict[str, EngineSpec] = dict(specs or {})
        self.declared_devices = declared_devices
        """None: those that are found."""
        self.chosen: str | None = None
        """The engine of a step that names none, although several are configured."""

    def add(self, spec: EngineSpec) -> None:
        """A later spec of the same name takes the place of the earlier one."""
        self._specs[spec.name] = spec

    def copy(self) -> EngineRegistry:
        other = EngineRegistry(self._specs, self.declared_devices)
        other.chosen = self.chosen
        return other

    def replace(self, other: EngineRegistry) -> None:
        """From now on holds what `other` holds."""
        self._specs = dict(other._specs)
        self.declared_devices = other.declared_devices
        self.chosen = other.chosen

    def names(self) -> list[str]:
        return [*self._specs, *([] if DEFAULT_ENGINE in self._specs else [DEFAULT_ENGINE])]

    def default(self) -> EngineSpec:
        """The engine of a step that names none: the one that is chosen, the only one configured, or the demo model.

        Raises:
            ChainError: several are configured, so a step must say which.
        """
        if self.chosen is not None:
            return self.get(self.chosen)
        if len(self._specs) == 1:
            return next(iter(self._specs.values()))
        if not self._specs or DEFAULT_ENGINE in self._specs:
            return self.get(DEFAULT_ENGINE)
        raise ChainError(
            Problem("", "names no engine, and several are configured", f"engine_name= one of {', '.join(self._specs)}")
        )

    def get(self, name: str) -> EngineSpec:
        """The spec of that name; `demo` always exists.

        Raises:
            ChainError: there is none, with the nearest name.
        """
        if name in self._specs:
            return self._specs[name]
        if name == DEFAULT_ENGINE:
            return EngineSpec(name=DEFAULT_ENGINE, backend="embedded")
        if self._specs:
            hint = nearest(name, self.names())
        else:
            hint = (
                f"no engine is configured: `chainette init` writes an {ENGINES_FILE}, register_engine("
                f'name="{name}", …) declares one, `--engine STEP={DEFAULT_ENGINE}` takes the demo model'
            )
        raise ChainError(Problem(f'engine "{name}"', "no such engine", hint))

    def with_environment(self, environment: Mapping[str, str]) -> tuple[EngineRegistry, list[Problem]]:
        """A copy in which `CHAINETTE_<ENGINE>_<FIELD>` has changed a field, e.g. `CHAINETTE_LLAMA3_ENDPOINT`, and what
        is wrong with those variables. Fields that are no text are written as in YAML, and so is `CHAINETTE_DEVICES`."""
        import yaml

        changed = self.copy()
        problems = changed._declare(environment)
        for name in self.names():
            spec, prefix = self.get(name), f"CHAINETTE_{_shout(name)}_"
            fields: dict[str, Any] = {}
            for field in EngineSpec.model_fields:
                text = environment.get(prefix + field.upper())
                if text is None or field == "name":
                    continue
                fields[field] = yaml.safe_load(text) if field in _NO_TEXT else text
            if fields:
                base = spec.model_dump(exclude_unset=True)
                try:
                    changed.add(EngineSpec.parse({**base, **fields, "name": name}, f"environment {prefix}*"))
                except ChainError as error:
                    problems += error.problems
        return changed, problems

    def _declare(self, environment: Mapping[str, str]) -> list[Problem]:
        """Takes the devices that the environment declares; returns what is wrong with them."""
        import yaml

        text = environment.get(DEVICES_VARIABLE)
        if text is None or not text.strip():
            return []
        where = f"environment {DEVICES_VARIABLE}"
        try:
            self.declared_devices = declared_devices(yaml.safe_load(text), where)
        except ChainError as error:
            return list(error.problems)
        except yaml.YAMLError as error:
            return [Problem(where, f"is not YAML: {' '.join(str(error).split())}")]
        return []


_NO_TEXT = ("adapters", "chat_template_kwargs", "devices", "headers", "prices", "script", "vllm_args")


def _shout(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).upper()


def read_engines_file(path: str | os.PathLike[str]) -> list[EngineSpec]:
    """The specs of an `engines.yml`, in order.

    Raises:
        ChainError: the file is missing, is not YAML, or holds a block that is wrong; all blocks are checked.
    """
    return _read(Path(path))[0]


def _read(file: Path) -> tuple[list[EngineSpec], tuple[DeclaredDevice, ...] | None]:
    """The specs of an engines file and the devices it declares, None where it says nothing of them."""
    content = _mapping(file)
    problems: list[Problem] = []
    specs = _specs(file, content.get("engines"), problems)
    devices = None
    if content.get("devices") is not None:
        try:
            devices = declared_devices(content["devices"], f"{file}: devices")
        except ChainError as error:
            problems += error.problems
    if problems:
        raise ChainError(problems)
    return specs, devices


def _mapping(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ChainError(Problem(str(file), f"cannot be read: {error.strerror}")) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ChainError(Problem(str(file), f"is not YAML: {' '.join(str(error).split())}")) from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not set(content) <= {"engines", "devices"}:
        raise ChainError(
            Problem(
                str(file), "must be a mapping with the key `engines` (and `devices`, or not)", "engines: [{name: …}]"
            )
        )
    return content


def _specs(file: Path, blocks: Any, problems: list[Problem]) -> list[EngineSpec]:
    """The engines of a file's blocks; what is wrong with any of them is added to `problems`."""
    blocks = [] if blocks is None else blocks
    if not isinstance(blocks, list):
        problems.append(Problem(str(file), "`engines` must be a list of blocks"))
        return []
    specs: list[EngineSpec] = []
    for position, block in enumerate(blocks):
        where = f"{file}: engines[{position}]"
        if not isinstance(block, dict) or not block.get("name"):
            problems.append(Problem(where, "must be a mapping with a `name`"))
            continue
        try:
            spec = EngineSpec.parse(block, f'{where} "{block["name"]}"')
        except ChainError as error:
            problems += error.problems
            continue
        if any(other.name == spec.name for other in specs):
            problems.append(Problem(where, f'a second engine called "{spec.name}"'))
        specs.append(spec)
    return specs


def engines_here(
    engines_file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    brought: Sequence[EngineSpec | str] = (),
) -> tuple[EngineRegistry, list[Problem]]:
    """The engines there are by precedence, and what is wrong with file or variables: code < `engines.yml` < those that
    a chain brings along < a file that is named < environment.

    The file that is named is `engines_file`, else `$CHAINETTE_ENGINES`; without one it is `engines.yml` in the working
    directory, if there is one. Of what is brought, a name alone must be there.
    """
    registry = default_registry.copy()
    named = engines_file or environment.get("CHAINETTE_ENGINES")
    file = Path(named) if named else Path(ENGINES_FILE)
    problems: list[Problem] = []
    read: list[EngineSpec] = []
    if named or file.is_file():
        try:
            read, devices = _read(file)
            if devices is not None:
                registry.declared_devices = devices
        except ChainError as error:
            problems += error.problems
    own = [spec for spec in brought if isinstance(spec, EngineSpec)]
    for spec in [*own, *read] if named else [*read, *own]:
        registry.add(spec)
    problems += _choose(registry, brought)
    registry, found = registry.with_environment(environment)
    return registry, [*problems, *found]


def _choose(registry: EngineRegistry, brought: Sequence[EngineSpec | str]) -> list[Problem]:
    """Takes a chain's only engine for its steps that name none; returns those of its engines that are not there."""
    names = list(dict.fromkeys(one if isinstance(one, str) else one.name for one in brought))
    problems: list[Problem] = []
    for name in names:
        try:
            registry.get(name)
        except ChainError as error:
            problems += error.problems
    if len(names) == 1 and not problems:
        registry.chosen = names[0]
    return problems


default_registry = EngineRegistry()
"""What `register_engine` fills: the one piece of module state in the library."""


def register_engine(name: str, **fields: Any) -> EngineSpec:
    """Declares an engine in code; the keys are those of `engines.yml`. The same name again replaces it.

    Raises:
        ChainError: an unknown key (with the nearest name) or a value that does not fit.
    """
    spec = EngineSpec.parse({"name": name, **fields})
    default_registry.add(spec)
    return spec
