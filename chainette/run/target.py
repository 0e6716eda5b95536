"""`module:chain` to a chain. Imports the user's code; checks nothing in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
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
    if not place or (separator and not name):
        missing = "names no chain after the colon" if place else "names no module or file before the colon"
        raise ChainError(Problem(target, missing, "module:chain or file.py:chain"))
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
    if not separator or os.sep in name or (os.name == "nt" and len(place) == 1 and place.isalpha()):
        return target, "", ""
    return place, separator, name


def _from_name(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if not all(name.split(".")):
        raise ChainError(Problem(name, "is no module's name", "package.module:chain or path/file.py:chain"))
    try:
        return importlib.import_module(name)
    except (ChainError, KeyboardInterrupt):
        raise
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(missing + ".")):
            raise ChainError(Problem(name, "no such module from here", _module_hint(name))) from None
        raise _import_error(name, error) from error


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
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, (ChainError, KeyboardInterrupt)):
            raise
        raise _import_error(str(path), error) from error
    return module


def _import_error(target: str, error: BaseException) -> ChainError:
    """What the user's code raised, with the last line of it that was at work."""
    hint = ""
    if isinstance(error, SystemExit):
        message = f"called sys.exit({'' if error.code is None else repr(error.code)}) when imported"
    elif isinstance(error, ModuleNotFoundError) and error.name is not None:
        message = f"cannot be imported: {error}"
        package = error.name.partition(".")[0]
        known = package in sys.modules or importlib.util.find_spec(package) is not None
        hint = "" if known else f"pip install {package}"
    else:
        message = f"raised {type(error).__name__} when imported: {error}"
    return ChainError(Problem(_raising_line(target, error), message, hint))


def _raising_line(target: str, error: BaseException) -> str:
    """`file:line`, the file as the target names it or from the working directory; the target where no line is known."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        found = [(error.filename, error.lineno)]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        found = [(frame.filename, frame.lineno) for frame in frames if frame.lineno and _is_users(frame.filename)]
    if not found:
        return target
    file, line = found[-1]
    if target.endswith(".py") and os.path.realpath(target) == os.path.realpath(file):
        return f"{target}:{line}"
    shown = os.path.relpath(file)
    return f"{file if shown.startswith('..') else shown}:{line}"


def _is_users(file: str) -> bool:
    """Whether a line of code is the user's own: not Python's, not a package's, not ours."""
    paths = sysconfig.get_paths()
    others = [paths["stdlib"], paths["purelib"], paths["platlib"], str(Path(__file__).parents[1])]
    return not file.startswith("<") and not any(file.startswith(other + os.sep) for other in others)
