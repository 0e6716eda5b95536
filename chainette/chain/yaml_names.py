"""Python objects to the names by which a chain file reaches them. Imports nothing that is not imported."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ForwardRef

from pydantic import BaseModel

from chainette.chain.importing import FOREIGN
from chainette.chain.yaml_types import PLAIN, FieldMap
from chainette.errors import ChainError, Problem

_PLAIN_NAMES = {type_: name for name, type_ in PLAIN.items() if isinstance(type_, type)}


class Names:
    """What a file that lies in `folder` calls things, and the models that it must hold itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Mapping[str, Any] | str] = {}

    def reference(self, value: Any) -> str:
        """`module:name`.

        Raises:
            ChainError: it stands nowhere where it could be imported from; says what to do.
        """
        name = getattr(value, "__qualname__", None)
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if isinstance(name, str) and module is not None and _reached(module, name) is value:
            return self._at(module, name, value)
        for candidate, attribute in _standing(value):
            return self._at(candidate, attribute, value)
        raise ChainError(Problem("", *_why_not(value)))

    def _at(self, module: types.ModuleType, name: str, value: Any) -> str:
        if module.__name__ == "__main__":
            hint = "import it from a module of its own"
            raise ChainError(Problem("", f"{_called(value)} stands in the program that was started", hint))
        place = getattr(module, "__file__", None)
        if isinstance(place, str) and (module.__name__.startswith(FOREIGN) or not _is_found(module, self.folder)):
            shown = os.path.relpath(place, self.folder)
            return f"{shown if shown.startswith('..') else './' + shown}:{name}".replace(os.sep, "/")
        return f"{module.__name__}:{name}"

    def written(self, type_: Any) -> str:
        """A type as the YAML form writes it.

        Raises:
            ChainError: it cannot be written so.
        """
        if type_ is None or type_ is type(None):
            return "None"
        if type_ is Any:
            return "Any"
        if isinstance(type_, ForwardRef):
            return str(type_.__forward_arg__)
        origin, arguments = typing.get_origin(type_), typing.get_args(type_)
        if origin is types.UnionType:
            return " | ".join(self.written(one) for one in arguments)
        if origin is typing.Union:
            return f"Union[{', '.join(self.written(one) for one in arguments)}]"
        if origin is typing.Literal:
            return f"Literal[{', '.join(map(repr, arguments))}]"
        if origin is not None and origin is not typing.Annotated:
            inner = ", ".join("..." if one is Ellipsis else self.written(one) for one in arguments)
            return f"{self.written(origin)}[{inner}]"
        if isinstance(type_, type):
            return self._class(type_)
        try:
            return self.reference(type_)
        except ChainError:
            hint = "give it a name at the top of a module"
            raise ChainError(Problem("", f"the type {type_} cannot be written", hint)) from None

    def _class(self, type_: type) -> str:
        if type_ in _PLAIN_NAMES:
            return _PLAIN_NAMES[type_]
        if issubclass(type_, FieldMap) and type_.written:
            return self._own_model(type_)
        generic = getattr(type_, "__pydantic_generic_metadata__", {}) if issubclass(type_, BaseModel) else {}
        if generic.get("origin") is not None:
            inner = ", ".join(self.written(one) for one in generic["args"])
            return f"{self.reference(generic['origin'])}[{inner}]"
        return self.reference(type_)

    def _own_model(self, type_: type[FieldMap]) -> str:
        name = type_.__name__
        known = self.models.get(name)
        if known is not None and known != type_.written:
            raise ChainError(Problem("", f'there are two models called "{name}"', "another name for one of them"))
        if known is None:
            self.models[name] = type_.written
            self._named_in(type_.written, type_.around)
            for part in _parts_of(type_):
                self.written(part)
        return name

    def _named_in(self, written: Any, around: Mapping[str, Any]) -> None:
        """Other names for types, which no type knows of itself."""
        for word in re.findall(r"\w+", str(written)):
            if isinstance(around.get(word), str) and word not in self.models:
                self.models[word] = around[word]
                self._named_in(around[word], around)


def _parts_of(model: type[BaseModel]) -> list[type]:
    """The models that a model's fields are of."""
    found: list[type] = []

    def look(type_: Any) -> None:
        if isinstance(type_, type) and typing.get_origin(type_) is None and issubclass(type_, FieldMap):
            found.append(type_)
        for inner in typing.get_args(type_):
            look(inner)

    for field in model.model_fields.values():
        look(field.annotation)
    return found


def _reached(module: types.ModuleType, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _standing(value: Any) -> list[tuple[types.ModuleType, str]]:
    """The modules in which an object stands under a name, those of its own kind first."""
    if isinstance(value, types.FunctionType | type) and not _is_nameless(value):
        return []
    own = getattr(type(value), "__module__", "")
    modules = sorted(
        (module for module in list(sys.modules.values()) if _may_hold(module)),
        key=lambda module: (module.__name__ != own, module.__name__ == "__main__", module.__name__),
    )
    return [
        (module, name)
        for module in modules
        for name, held in list(vars(module).items())
        if held is value and not name.startswith("__")
    ]


def _may_hold(module: Any) -> bool:
    """Whether it can be a module of the user's: one from a file, and not ours."""
    return isinstance(module, types.ModuleType) and not module.__name__.startswith(("chainette", "_pytest", "pydantic"))


def _is_nameless(value: Any) -> bool:
    return "<" in str(getattr(value, "__qualname__", ""))


def _is_found(module: types.ModuleType, folder: Path) -> bool:
    """Whether a chain file in that folder gets this module by its name."""
    for known in (str(folder), os.getcwd()):
        if known not in sys.path:
            stem = Path(known).joinpath(*module.__name__.split("."))
            if os.path.realpath(stem.with_suffix(".py")) == os.path.realpath(str(module.__file__)):
                return True
    try:
        spec = importlib.util.find_spec(module.__name__)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None or spec.origin is None or module.__file__ is None:
        return False
    return os.path.realpath(spec.origin) == os.path.realpath(module.__file__)


def _called(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or repr(value)).replace("<locals>.", "")


def _why_not(value: Any) -> tuple[str, str]:
    name = str(getattr(value, "__qualname__", ""))
    if name.endswith("<lambda>"):
        return "a lambda cannot be written to a file", "def it at the top of a module"
    if "<locals>" in name:
        outer = name.partition(".<locals>")[0]
        return (
            f"{_called(value)} is made inside {outer}, where nothing can import it",
            "move it to the top of its module",
        )
    if isinstance(value, functools.partial):
        hint = "a name for it at the top of a module, or keyword arguments that are plain data"
        return "a partial cannot be written to a file", hint
    if name:
        module = getattr(value, "__module__", None)
        return f"{module}:{name} is no longer what stands there", "write what the module's name holds"
    kind = type(value).__qualname__
    return f"a {kind} that no module holds cannot be written", f"name = {kind}(…) at the top of a module"
