"""`module:chain` to a chain. Imports the user's code; checks nothing in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from chainette.chain import Chain
from chainette.errors import ChainError, Problem, nearest


def load_chain(target: str) -> Chain:
    """The chain that `package.module:name`, `path/file.py:name` or `path/file.py` (with one chain in it) names.

    Raises:
        ChainError: no such module, file or name, with the nearest; or the code raised while it was imported.
    """
    if target.endswith((".yml", ".yaml")):
        raise ChainError(Problem(target, "the YAML form comes with a later version", "declare the chain in a .py file"))
    place, separator, name = _split(target)
    module = _from_file(place) if place.endswith(".py") or os.sep in place else _from_name(place)
    chains = {key: value for key, value in vars(module).items() if isinstance(value, Chain)}
    if not separator:
        if len(chains) == 1:
            return next(iter(chains.values()))
        if "chain" in chains:
            return chains["chain"]
        raise ChainError(Problem(target, "say which chain", f"{place}:NAME, {nearest('', chains) or 'it has none'}"))
    if name in chains:
        return chains[name]
    value = getattr(module, name, None)
    if value is not None:
        hint = nearest(name, chains)
        raise ChainError(Problem(target, f'"{name}" is a {type(value).__name__}, not a Chain', hint))
    hint = nearest(name, chains) if chains else f"{place} holds no chain: chain = Chain(name=…, steps=[…])"
    raise ChainError(Problem(target, f'no "{name}" in {place}', hint))


def _split(target: str) -> tuple[str, str, str]:
    place, separator, name = target.rpartition(":")
    if not separator or os.sep in name or (len(place) == 1 and place.isalpha()):
        return target, "", ""
    return place, separator, name


def _from_name(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ChainError(Problem(name, "no such module from here", _module_hint(name))) from None
        raise ChainError(Problem(name, f"cannot be imported: {error}", f"pip install {error.name}")) from error
    except ChainError:
        raise
    except Exception as error:
        raise ChainError(Problem(name, f"raised {type(error).__name__} when imported: {error}")) from error


def _module_hint(name: str) -> str:
    file = Path(name.replace(".", os.sep) + ".py")
    if file.exists():
        return f"chainette run {file}:chain"
    around = Path(os.sep.join(name.split(".")[:-1]) or ".")
    modules = [".".join([*name.split(".")[:-1], f.stem]) for f in around.glob("*.py") if f.stem != "__init__"]
    return nearest(name, modules)


def _from_file(path: str) -> ModuleType:
    file = Path(path).expanduser()
    if not file.is_file():
        near = nearest(file.name, [other.name for other in file.parent.glob("*.py")]) if file.parent.is_dir() else ""
        raise ChainError(Problem(str(path), "there is no such file", near))
    for folder in (os.getcwd(), str(file.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else f"_chain_{abs(hash(str(file)))}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ChainError(Problem(str(path), "is no Python file"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ChainError:
        raise
    except Exception as error:
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}" if line else str(path)
        raise ChainError(Problem(place, f"raised {type(error).__name__} when imported: {error}")) from error
    return module
