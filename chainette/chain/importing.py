"""The user's modules and what stands in them. Imports their code; does not know what is meant by it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from chainette.errors import ChainError, Problem, nearest

FOREIGN = "_chain_"
"""How modules are called that are imported from a file whose own name is taken."""


def module_named(name: str) -> ModuleType:
    """
    Raises:
        ChainError: no such module, with the nearest; or its code raised while it was imported.
    """
    put_on_path(os.getcwd())
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


def put_on_path(*folders: str) -> None:
    """Modules are looked for in these folders, the last one first."""
    for folder in folders:
        if folder not in sys.path:
            sys.path.insert(0, folder)


def module_in(folder: Path, name: str) -> ModuleType:
    """The module that `name` means in `folder`: the one lying there comes before one of that name imported elsewhere.

    Raises:
        ChainError: no such module, or its code raised while it was imported.
    """
    put_on_path(os.getcwd(), str(folder))
    stem = folder.joinpath(*name.split("."))
    own = next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)
    known = sys.modules.get(name)
    if own is None or known is None or _lies_at(known, own):
        return module_named(name)
    return module_at(own)


def module_at(file: Path) -> ModuleType:
    """The file's module, imported only if it is not yet.

    Raises:
        ChainError: no such file, with the nearest; or its code raised while it was imported.
    """
    for module in list(sys.modules.values()):
        if _lies_at(module, file) and module.__name__ != "__main__":
            return module
    return module_from_file(str(file))


def _lies_at(module: ModuleType, file: Path) -> bool:
    place = getattr(module, "__file__", None)
    return isinstance(place, str) and (place == str(file) or os.path.realpath(place) == os.path.realpath(file))


def attribute(module: ModuleType, path: str) -> Any:
    """What stands in a module under a name, `Class.method` too.

    Raises:
        ChainError: there is no such name, with the nearest.
    """
    value: Any = module
    for position, name in enumerate(path.split(".")):
        if not hasattr(value, name):
            place = ".".join([module.__name__, *path.split(".")[:position]])
            if module.__name__.startswith(FOREIGN):
                place = os.path.relpath(str(module.__file__))
            own = [key for key in vars(value) if not key.startswith("_")] if hasattr(value, "__dict__") else []
            raise ChainError(Problem(place, f'has no "{name}"', nearest(name, own)))
        value = getattr(value, name)
    return value


def _module_hint(name: str) -> str:
    file = Path(name.replace(".", os.sep) + ".py")
    if file.exists():
        return f"chainette run {file}:chain"
    around = Path(os.sep.join(name.split(".")[:-1]) or ".")
    modules = [".".join([*name.split(".")[:-1], f.stem]) for f in around.glob("*.py") if f.stem != "__init__"]
    return nearest(name, modules)


def module_from_file(path: str) -> ModuleType:
    """Imports the file anew. Its folder is on the import path from then on.

    Raises:
        ChainError: no such file, with the nearest; or its code raised while it was imported.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        near = nearest(file.name, [other.name for other in file.parent.glob("*.py")]) if file.parent.is_dir() else ""
        raise ChainError(Problem(str(path), "there is no such file", near))
    put_on_path(os.getcwd(), str(file.resolve().parent))
    free = file.stem.isidentifier() and file.stem not in sys.modules
    name = file.stem if free else f"{FOREIGN}{abs(hash(str(file)))}"
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
