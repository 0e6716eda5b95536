"""A YAML file as plain data that knows its lines. Refuses what YAML readers read differently; knows no chain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from chainette.errors import ChainError, Problem, nearest

At = tuple[Any, ...]
"""The way to a value: keys and positions."""

MOST_BYTES = 4 << 20
MOST_VALUES = 200_000
"""Aliases count as often as they are used, so that a few lines cannot fill the memory."""

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
_BOOLS = re.compile(r"(?i:yes|no|on|off)")
_NUMBERS = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9]*_[0-9_]*|[1-9][0-9]*(:[0-5]?[0-9])+)(\.[0-9_]*)?")
"""Octal, grouped and base-60 numbers of YAML 1.1, which are texts or other numbers in YAML 1.2."""


class Loader(yaml.SafeLoader):
    """What is plain in YAML 1.2: `no` and dates are texts, `1e-3` is a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def _resolve(tag: str, pattern: str, first: str) -> None:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("null", "~|null|Null|NULL|", "~nN\0")
Loader.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile("^$")))
_resolve("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "-+.0123456789",
)
_resolve("merge", "<<", "<")


@dataclass
class Document:
    """One file, with what was found wrong in it so far."""

    file: str
    """As a person named it."""
    folder: Path
    data: Any = None
    lines: dict[At, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    misfits: list[At] = field(default_factory=list)
    """Where it has not the form of a chain."""
    unread: set[At] = field(default_factory=set)
    """Where a value stands that YAML readers, or this one, do not take for what it was meant to be."""

    def where(self, at: At) -> str:
        """`chain.yml:12 steps[0][1].join`."""
        near = at
        while near not in self.lines and near:
            near = near[:-1]
        line = f":{self.lines[near]}" if near in self.lines else ""
        return f"{self.file}{line} {place(at)}".rstrip()

    def say(self, at: At, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.where(at), message, hint))

    def fits(self, at: At) -> bool:
        """Whether what is at this place has the form that it should, down to its last part."""
        return not any(misfit[: len(at)] == at for misfit in self.misfits)

    def pass_on(self, at: At, error: ChainError) -> None:
        """What a declaration says of itself, with its place in the file."""
        for problem in error.problems:
            about = f"{problem.where}: {problem.message}" if problem.where else problem.message
            self.problems.append(Problem(self.where(at), about, problem.hint))

    def require(self) -> None:
        """
        Raises:
            ChainError: with all that is wrong.
        """
        if self.problems:
            raise ChainError(dict.fromkeys(self.problems))


def place(at: At) -> str:
    """`steps[0][1].join`, or the empty string for the whole."""
    text = ""
    for part in at:
        if isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
        elif isinstance(part, str) and part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def read_document(file: str | os.PathLike[str]) -> Document:
    """
    Raises:
        ChainError: the file is not there, too large or no YAML. What is YAML and yet wrong is in `problems`.
    """
    path = Path(file)
    document = Document(str(file), path.resolve().parent)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        known = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        hint = nearest(path.name, [other.name for other in known])
        raise ChainError(Problem(document.file, "there is no such file", hint)) from None
    except OSError as error:
        raise ChainError(Problem(document.file, f"cannot be read: {error.strerror}")) from None
    if len(raw) > MOST_BYTES:
        raise ChainError(Problem(document.file, f"is larger than a chain may be: {MOST_BYTES:,} bytes"))
    node = _composed(document, raw)
    if node is not None:
        document.data = _Reading(document).value(node, ())
    return document


def _composed(document: Document, raw: bytes) -> yaml.Node | None:
    try:
        text = raw.decode("utf-8-sig")
        return yaml.compose(text, Loader)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ChainError(Problem(f"{document.file}:{line}", "is no UTF-8 text")) from None
    except RecursionError:
        raise ChainError(Problem(document.file, "is nested too deeply")) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        holds = f"is not YAML: it holds the control character {error.character:#04x}"
        raise ChainError(Problem(f"{document.file}:{line}", holds)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = document.file if mark is None else f"{document.file}:{mark.line + 1}"
        said = getattr(error, "problem", None)
        message = " ".join(str(error).split()) if said is None else f"{said}"
        hint = _hint_for(message, getattr(error, "context", None) or "")
        raise ChainError(Problem(where, f"is not YAML: {message}", hint)) from None


def _hint_for(message: str, context: str) -> str:
    if "'\\t'" in message:
        return "indent with blanks, not with tabs"
    if "flow mapping" in context and "got '['" in message:
        return 'inside {} a type with brackets is quoted: "list[str]"'
    if "flow mapping" in context:
        return 'inside {} a text with , { } [ ] or ": " is quoted'
    if "mapping values are not allowed" in message:
        return 'a text with ": " in it is quoted'
    if "expected a single document" in context or "single document" in message:
        return "one chain a file, without a second ---"
    if "undefined alias" in message:
        return "an alias (*name) comes after its anchor (&name)"
    if "cannot start any token" in message:
        return "a text that begins with a sign is quoted"
    return ""


class _Reading:
    """Nodes to plain data. Its own, because PyYAML takes a key that is there twice and merges without a bound."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.loader = Loader("")
        self.inside: set[int] = set()
        self.values = 0

    def value(self, node: yaml.Node, at: At) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise ChainError(Problem(self.document.file, f"holds more than {MOST_VALUES:,} values, aliases counted"))
        self.document.lines.setdefault(at, node.start_mark.line + 1)
        if node.tag not in _TAGS:
            self.document.unread.add(at)
            self.document.say(at, f"the tag {_spelt(node.tag)} is refused", "a chain file is plain data")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, at)
        if id(node) in self.inside:
            raise ChainError(Problem(self.document.where(at), "an alias that contains itself"))
        self.inside.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*at, position)) for position, item in enumerate(node.value)]
            return self.mapping(cast("yaml.MappingNode", node), at)
        except RecursionError:
            raise ChainError(Problem(self.document.file, "is nested too deeply")) from None
        finally:
            self.inside.discard(id(node))

    def scalar(self, node: yaml.ScalarNode, at: At, role: str = "") -> Any:
        text = str(node.value)
        if node.style is None and (_BOOLS.fullmatch(text) or _NUMBERS.fullmatch(text)):
            self.document.unread.add(at)
        if node.style is None and _BOOLS.fullmatch(text):
            other = "" if role else f", or write {'true' if text.lower() in ('yes', 'on') else 'false'}"
            said = "is a text to some readers of YAML and true or false to others"
            self.document.say(at, f"{role}`{text}` {said}", f'quote it: "{text}"{other}')
            return text
        if node.style is None and _NUMBERS.fullmatch(text):
            said = "is read differently by different readers of YAML"
            self.document.say(at, f"{role}`{text}` {said}", f'quote it: "{text}", or write it as a plain number')
            return text
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            self.document.unread.add(at)
            self.document.say(at, f"`{text}` is no {_spelt(node.tag).lstrip('!')}")
            return None

    def mapping(self, node: yaml.MappingNode, at: At) -> dict[Any, Any]:
        read: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        merged: list[dict[Any, Any]] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += self.merged(value_node, at)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                hint = 'a template is quoted: "{{ text }}"' if isinstance(key_node, yaml.MappingNode) else ""
                self.document.unread.add(at)
                self.document.say(at, "a key must be a plain value, not a list or a mapping", hint)
                continue
            self.document.lines.setdefault((*at, key_node.value), line)
            key = self.scalar(key_node, (*at, key_node.value), "the key ")
            if key in read:
                self.document.lines[(*at, key)] = line
                self.document.say((*at, key), f"is there twice, first in line {lines[key]}")
            lines.setdefault(key, line)
            self.document.lines[(*at, key)] = line
            read[key] = self.value(value_node, (*at, key))
        for other in merged:
            for key, value in other.items():
                read.setdefault(key, value)
        return read

    def merged(self, node: yaml.Node, at: At) -> Iterable[dict[Any, Any]]:
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = [self.value(one, at) for one in several]
        if not all(isinstance(one, dict) for one in found):
            self.document.say(at, "`<<` takes a mapping, or a list of them")
        return [one for one in found if isinstance(one, dict)]


def _spelt(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
