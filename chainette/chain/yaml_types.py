"""Types as the YAML form writes them: `list[str]`, `schemas:Answer`, field maps. Does not know where they are used."""

from __future__ import annotations

import ast
import datetime
import json
import operator
import re
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, ForwardRef, Literal

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model

from chainette.chain.yaml_document import At, Document
from chainette.errors import ChainError, Problem, nearest

PLAIN: dict[str, Any] = {
    **{type_.__name__: type_ for type_ in (str, int, float, bool, bytes, list, dict, set, tuple, frozenset)},
    "date": datetime.date,
    "datetime": datetime.datetime,
    "Any": Any,
    "None": None,
    "Literal": Literal,
    "Optional": typing.Optional,
    "Union": typing.Union,
}
"""The types that have a name without a module."""

REFERENCE = re.compile(r"(?:[\w.\-/\\]+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*(?:\.[^\W\d]\w*)*")
"""`module:name`, `./file.py:name`."""

FIELD_KEYS = ("default", "description", "title", "examples", "gt", "ge", "lt", "le", "multiple_of")
LENGTH_KEYS = ("min_length", "max_length", "pattern")


class FieldMap(BaseModel):
    """What a model that stands in a chain file is derived from."""

    model_config = ConfigDict(protected_namespaces=())

    written: ClassVar[Mapping[str, Any]] = {}
    """As it stands in the file."""
    around: ClassVar[Mapping[str, Any]] = {}
    """All that the file calls by a name in `models`."""


def is_reference(text: Any) -> bool:
    return isinstance(text, str) and REFERENCE.fullmatch(text) is not None


class Types:
    """The types of one file. Equal field maps without a name are one model."""

    def __init__(self, document: Document, find: Callable[[str], Any]) -> None:
        """`find` gives what `module:name` stands for, or raises ChainError."""
        self.document = document
        self.find = find
        given = document.data.get("models") if isinstance(document.data, dict) else None
        self.declared: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
        self.made: dict[str, Any] = {}
        self.making: list[str] = []
        self.broken: set[str] = set()
        self.unnamed: dict[str, Any] = {}
        self.unfinished: list[type[BaseModel]] = []

    def make_declared(self) -> None:
        """All of `models:`, used or not; what is wrong with any is in the document's problems."""
        for name in self.declared:
            at: At = ("models", name)
            if not self.document.fits(at):
                self.broken.add(name)
            elif not name.isidentifier():
                self.document.say(at, "a model is named by letters, digits and _")
            elif name in PLAIN:
                self.document.say(at, f"{name} is a type already", "another name")
            else:
                self.named(name)
        self._close_aliases()
        self._finish()

    def _close_aliases(self) -> None:
        """Other names for types that were read while a model in them was still being made."""
        for name, written in self.declared.items():
            if not isinstance(written, Mapping) and _is_open(self.made.get(name)):
                self.made[name] = self._expression(str(written))
                if _is_open(self.made[name]):
                    self.document.say(("models", name), "refers to itself", "only fields of a model may")
                    self.broken.add(name)
                    self.made[name] = None

    def type_of(self, written: Any, at: At, name: str) -> Any:
        """The type, None where it is wrong. `name` is that of a model without one."""
        if isinstance(written, Mapping):
            made = self._unnamed(written, at, name)
            self._finish()
            return made
        try:
            return self._expression(str(written))
        except ChainError as error:
            self.document.pass_on(at, error)
            return None

    def named(self, name: str) -> Any:
        """A model of the file by its name; while it is made itself, a reference to what it will be."""
        if name in self.made:
            return self.made[name]
        if name in self.making:
            return ForwardRef(name)
        at: At = ("models", name)
        if not self.document.fits(at):
            self.broken.add(name)
            return None
        self.making.append(name)
        before = len(self.document.problems)
        try:
            written = self.declared[name]
            made = self._model(name, written, at) if isinstance(written, Mapping) else self._expression(str(written))
        except ChainError as error:
            self.document.pass_on(at, error)
            made = None
        self.making.remove(name)
        if len(self.document.problems) > before:
            self.broken.add(name)
            made = None
        self.made[name] = made
        return made

    def _unnamed(self, fields: Mapping[str, Any], at: At, name: str) -> Any:
        key = json.dumps(fields, default=str)
        if key not in self.unnamed:
            free, number = name, 2
            taken = {*self.declared, *(getattr(made, "__name__", "") for made in self.unnamed.values()), *PLAIN}
            while free in taken:
                free, number = f"{name}{number}", number + 1
            self.unnamed[key] = self._model(free, fields, at)
        return self.unnamed[key]

    def _model(self, name: str, fields: Mapping[str, Any], at: At) -> Any:
        if not fields:
            self.document.say(at, "a model without fields", "name: type")
            return None
        made: dict[str, Any] = {}
        for field, written in fields.items():
            place = (*at, field)
            if not isinstance(field, str) or not field.isidentifier() or field.startswith(("_", "model_")):
                said = "a field is named by letters, digits and _, and begins neither with _ nor with model_"
                self.document.say(place, said)
                continue
            try:
                made[field] = self._field(written)
            except ChainError as error:
                self.document.pass_on(place, error)
        if len(made) < len(fields):
            return None
        with warnings.catch_warnings():
            # A field called `schema` or `copy` hides a method of pydantic's that nothing here calls.
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            model = create_model(name, __base__=FieldMap, **made)
        model.written, model.around = dict(fields), self.declared
        model.__module__ = self.document.file
        self.unfinished.append(model)
        return model

    def _finish(self) -> None:
        """Models that refer to each other in a circle are whole once all are there."""
        names = {name: made for name, made in self.made.items() if made is not None}
        for model in self.unfinished:
            try:
                model.model_rebuild(_types_namespace=names)
            except PydanticUserError as error:
                self.document.say(("models", model.__name__), f"pydantic makes no model of it: {_line(error)}")
            except (NameError, TypeError):
                continue  # what it refers to is wrong itself, and said
        self.unfinished.clear()

    def _field(self, written: Any) -> tuple[Any, Any]:
        if isinstance(written, str):
            return self._expression(written), ...
        if not isinstance(written, Mapping):
            raise ChainError(Problem("", f"must be a type, not {written!r}", 'e.g. str, list[str], "str | None"'))
        type_ = self._expression(str(written["type"])) if "type" in written else None
        if "enum" in written:
            values = written["enum"]
            misfits = [] if type_ is None else [value for value in values if not _fits(type_, value)]
            if misfits:
                raise ChainError(Problem("", f"{', '.join(map(repr, misfits))} of its enum is no {written['type']}"))
            type_ = Literal[tuple(values)]
        limits = {key: written[key] for key in (*FIELD_KEYS, *LENGTH_KEYS) if key in written and key != "default"}
        try:
            field: Any = Field(default=written["default"], **limits) if "default" in written else Field(**limits)
            if not _is_open(type_):
                limited: Any = typing.Annotated[type_, Field(**limits)]
                adapter: TypeAdapter[Any] = TypeAdapter(limited)
                if "default" in written:
                    field.default = adapter.validate_python(written["default"])
        except ValidationError as error:
            message = f"default {written['default']!r} does not fit: {error.errors()[0]['msg']}"
            raise ChainError(Problem("", message)) from None
        except Exception as error:  # a limit that means nothing to the type, as pydantic or its core say it
            raise ChainError(Problem("", f"is no field that pydantic can make: {_line(error)}")) from None
        return type_, field

    def _expression(self, text: str) -> Any:
        """
        Raises:
            ChainError: no type is written so.
        """
        found: dict[str, str] = {}

        def stand_in(match: re.Match[str]) -> str:
            found[f"_{len(found)}_"] = match.group()
            return f"_{len(found) - 1}_"

        try:
            tree = ast.parse(REFERENCE.sub(stand_in, text.strip()), mode="eval").body
            return self._meant(tree, found, text)
        except (SyntaxError, ValueError, RecursionError, TypeError) as error:
            said = f": {error}" if isinstance(error, TypeError) else ""
            hint = "e.g. str, list[str], str | None, an entry of `models`, module:Class"
            raise ChainError(Problem("", f'"{text}" is no type{said}', hint)) from None

    def _meant(self, tree: ast.expr, found: dict[str, str], text: str) -> Any:
        if isinstance(tree, ast.Constant) and (tree.value is None or tree.value is Ellipsis):
            return tree.value
        if isinstance(tree, ast.Name):
            return self._name(tree.id, found)
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
            return operator.or_(self._meant(tree.left, found, text), self._meant(tree.right, found, text))
        if isinstance(tree, ast.Subscript):
            base = self._meant(tree.value, found, text)
            inner = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
            if base is Literal:
                return Literal[tuple(ast.literal_eval(one) for one in inner)]
            arguments = tuple(self._meant(one, found, text) for one in inner)
            if base in (list, dict, set, tuple, frozenset):
                return types.GenericAlias(base, arguments)
            return base[arguments if len(arguments) > 1 else arguments[0]]
        raise SyntaxError(text)

    def _name(self, name: str, found: dict[str, str]) -> Any:
        if name in found:
            return self.find(found[name])
        if name in self.declared:
            made = self.named(name)
            if made is None and name in self.broken:
                raise ChainError(())  # what is wrong with it is said there
            return made
        if name in PLAIN:
            return PLAIN[name]
        raise ChainError(Problem("", f'no type "{name}"', nearest(name, [*map(str, self.declared), *PLAIN])))


def _is_open(type_: Any) -> bool:
    """Whether it refers to a model that is still being made."""
    return isinstance(type_, ForwardRef) or any(_is_open(part) for part in typing.get_args(type_))


def _fits(type_: Any, value: Any) -> bool:
    try:
        TypeAdapter(type_).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _line(error: Exception) -> str:
    return f"{error}".splitlines()[0]
