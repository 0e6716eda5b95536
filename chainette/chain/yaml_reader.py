"""A chain file to the chain that it declares. Imports the user's code; does not know what is around the chain."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from chainette.chain.apply import Apply, apply
from chainette.chain.branch import Branch
from chainette.chain.chain import Chain
from chainette.chain.control import Control, cond, delay, gather, scan, switch, while_loop
from chainette.chain.importing import attribute, module_at, module_in
from chainette.chain.operators import Line
from chainette.chain.step import Step
from chainette.chain.taking import Taking
from chainette.chain.yaml_document import At, Document, read_document
from chainette.chain.yaml_format import kind_of
from chainette.chain.yaml_problems import check_form
from chainette.chain.yaml_types import Types, is_reference
from chainette.errors import ChainError, Problem
from chainette.specs import EngineSpec, SamplingParams

DECLARED = (Step, Apply, Chain, Branch, Control, Taking, Line)


def read_chain(file: str | os.PathLike[str]) -> Chain:
    """The chain that a file declares. Modules are looked for in its folder first, then where Python looks.

    Raises:
        ChainError: with all that is wrong, each with line and place: `chain.yml:12 steps[0][1].join`.
    """
    document = read_document(file)
    check_form(document)
    made = _Reader(document).whole() if document.misfits != [()] else None
    document.require()
    assert made is not None
    return made


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.types = Types(document, self.found)

    def whole(self) -> Chain | None:
        """The chain; of a file that has not the form of one as much as can be looked at, for what else is wrong."""
        self.types.make_declared()
        data = {key: value for key, value in self.document.data.items() if key != "models"}
        engines = self.engines(data.pop("engines")) if isinstance(data.get("engines"), list) else []
        if not self.document.misfits:
            return self.chain(data, (), "Input", engines=engines)
        if isinstance(data.get("steps"), list):
            self.steps(data["steps"], ("steps",))
        return None

    def made(self, at: At, make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
        """What a declaration makes of its arguments; None when it refuses them."""
        try:
            return make(*args, **fields)
        except ChainError as error:
            self.document.pass_on(at, error)
            return None

    def found(self, reference: str) -> Any:
        """What `module:name` stands for.

        Raises:
            ChainError: nothing, with the nearest name.
        """
        if not is_reference(reference):
            raise ChainError(Problem("", f'"{reference}" names nothing in Python', "module:name or ./file.py:name"))
        place, _, name = reference.rpartition(":")
        if place.endswith(".py"):
            return attribute(module_at(Path(self.document.file).parent / Path(place).expanduser()), name)
        return attribute(module_in(self.document.folder, place), name)

    def symbol(self, reference: str, at: At) -> Any:
        return self.made(at, self.found, reference)

    def type(self, data: Mapping[str, Any], key: str, at: At, name: str) -> dict[str, Any]:
        """The type under `key` as a keyword argument; none where it is left out."""
        if data.get(key) is None:
            return {}
        return {key: self.types.type_of(data[key], (*at, key), name)}

    def chain(self, data: Mapping[str, Any], at: At, unnamed: str, **more: Any) -> Chain | None:
        fields = dict(data)
        fields |= self.type(data, "input_model", at, unnamed)
        fields["steps"] = self.steps(data["steps"], (*at, "steps"))
        chain: Chain | None = self.made(at, Chain, **fields, **more)
        return chain

    def engines(self, blocks: list[Any]) -> list[Any]:
        names: list[str] = []
        specs: list[Any] = []
        for position, block in enumerate(blocks):
            at: At = ("engines", position)
            if not self.document.fits(at):
                continue
            named = isinstance(block, str)
            if not named and not block.get("name"):
                self.document.say(at, "must be a mapping with a `name`")
                continue
            name = block if named else str(block["name"])
            if name in names:
                self.document.say(at, f'a second engine called "{name}"')
            names.append(name)
            specs.append(block if named else self.made(at, EngineSpec.parse, block))
        return [spec for spec in specs if spec is not None]

    def steps(self, data: Any, at: At) -> list[Any]:
        """Of one item or several; those that are wrong are left out."""
        if not isinstance(data, list):
            made = [self.item(data, at)]
        else:
            made = [self.item(item, (*at, position)) for position, item in enumerate(data)]
        return [one for one in made if one is not None]

    def item(self, data: Any, at: At) -> Any:
        if isinstance(data, list) and not self.document.fits(at):
            self.steps([one if self.document.fits((*at, i)) else {} for i, one in enumerate(data)], at)
            return None
        if not self.document.fits(at):
            return None
        if isinstance(data, list):
            return self.steps(data, at)
        if isinstance(data, str):
            return self.reference({"step": data}, at)
        kind = str(kind_of(data))
        fields = {key: value for key, value in data.items() if key != "takes"}
        node = _ITEMS[kind](self, fields, at)
        source = data.get("takes")
        return node if source is None or node is None else Taking(node, source)

    def reference(self, data: dict[str, Any], at: At) -> Any:
        written = data["step"]
        if not is_reference(written):
            self.document.say(at, f'"{written}" is no step', "module:name, ./file.py:name, or a mapping")
            return None
        found = self.symbol(written, at)
        if found is None or isinstance(found, DECLARED) or _is_group(found):
            return found
        is_model = isinstance(found, type) and issubclass(found, BaseModel)
        plain = callable(found) and not is_model
        kind = "model" if is_model else "class" if isinstance(found, type) else type(found).__name__
        hint = f"apply: {written}" if plain else "a Step, apply, Branch, Chain or control flow"
        self.document.say(at, f'"{written}" is a {kind}, not a step', hint)
        return None

    def step(self, data: dict[str, Any], at: At) -> Any:
        name = _title(data["id"])
        fields = dict(data)
        for key, role in (("input_model", "Input"), ("output_model", "Output")):
            fields |= self.type(data, key, at, f"{name}{role}")
        if "sampling" in data:
            fields["sampling"] = self.made((*at, "sampling"), SamplingParams, **_texts(data["sampling"]))
        if any(fields[key] is None for key in ("input_model", "output_model")) or fields.get("sampling", 0) is None:
            return None
        return self.made(at, Step, **fields)

    def apply(self, data: dict[str, Any], at: At) -> Any:
        fields = dict(data)
        fn = self.symbol(fields.pop("apply"), (*at, "apply"))
        bound = fields.pop("bind", None)
        name = _title(str(data.get("id") or getattr(fn, "__name__", "apply")))
        for key, role in (("input_model", "Input"), ("output_model", "Output")):
            fields |= self.type(data, key, at, f"{name}{role}")
        if fn is None or any(key in data and fields[key] is None for key in ("input_model", "output_model")):
            return None
        if bound:
            try:
                inspect.signature(fn).bind_partial(**bound)
            except TypeError as error:
                self.document.say((*at, "bind"), f"{error}")
                return None
            except ValueError:  # a builtin that tells nothing of itself
                pass
            fn = functools.partial(fn, **bound)
        return self.made(at, apply, fn, **fields)

    def branch(self, data: dict[str, Any], at: At) -> Any:
        name, alias = data["branch"], data.get("join")
        steps = self.steps(data["steps"], (*at, "steps"))
        missing = data.get("missing", "fail")
        return self.made(at, Branch, name, steps, alias=name if alias is True else alias, missing=missing)

    def inner(self, data: dict[str, Any], at: At) -> Any:
        fields = {"name" if key == "chain" else key: value for key, value in data.items()}
        return self.chain(fields, at, f"{_title(data['chain'])}Input")

    def asked(self, written: str, at: At) -> Any:
        """A predicate or key: a function, or the name of a field."""
        if is_reference(written):
            return self.symbol(written, at)
        if not written.isidentifier():
            self.document.say(
                at, f'"{written}" is neither a field nor a function', "a field's name, or module:function"
            )
            return None
        return written

    def cond(self, data: dict[str, Any], at: At) -> Any:
        fields = data | self.type(data, "output_model", at, f"{_title(data.get('id') or 'cond')}Output")
        pred = self.asked(fields.pop("cond"), (*at, "cond"))
        then = self.steps(fields.pop("then"), (*at, "then"))
        otherwise = self.steps(fields.pop("otherwise", []), (*at, "otherwise"))
        return None if pred is None else self.made(at, cond, pred, then, otherwise, **fields)

    def switch(self, data: dict[str, Any], at: At) -> Any:
        fields = data | self.type(data, "output_model", at, f"{_title(data.get('id') or 'switch')}Output")
        key = self.asked(fields.pop("switch"), (*at, "switch"))
        cases = fields.pop("cases")
        made = {case: self.steps(steps, (*at, "cases", case)) for case, steps in cases.items()}
        default = fields.pop("default", None)
        default = None if default is None else self.steps(default, (*at, "default"))
        return None if key is None else self.made(at, switch, key, made, default, **fields)

    def while_loop(self, data: dict[str, Any], at: At) -> Any:
        fields = dict(data)
        steps = self.steps(fields.pop("while_loop"), (*at, "while_loop"))
        until = self.asked(fields.pop("until"), (*at, "until"))
        return None if until is None else self.made(at, while_loop, steps, until, **fields)

    def scan(self, data: dict[str, Any], at: At) -> Any:
        fields = dict(data)
        written, init = fields.pop("scan"), fields.pop("init")
        before = len(self.document.problems)
        body = self.symbol(written, (*at, "scan")) if is_reference(written) else self.steps(written, (*at, "scan"))
        first = self.first(init, (*at, "init"))
        if len(self.document.problems) > before:
            return None
        return self.made(at, scan, body, fields.pop("over"), first, **fields)

    def first(self, written: Any, at: At) -> Any:
        """The carry that a scan begins with."""
        if is_reference(written):
            return self.symbol(written, at)
        if not isinstance(written, dict):
            return written
        if written.get("model") is None:
            return written["value"]
        type_ = self.types.type_of(written["model"], (*at, "model"), "Carry")
        if type_ is None:
            return None
        try:
            return TypeAdapter(type_).validate_python(written["value"])
        except ValidationError as error:
            for one in error.errors(include_url=False):
                self.document.say((*at, "value", *one["loc"]), f"{one['msg']}")
            return None

    def delay(self, data: dict[str, Any], at: At) -> Any:
        return self.made(at, delay, data["delay"], **{key: data[key] for key in data if key != "delay"})

    def gather(self, data: dict[str, Any], at: At) -> Any:
        return self.made(at, gather, data["gather"], **{key: data[key] for key in data if key != "gather"})


_ITEMS: dict[str, Callable[[_Reader, dict[str, Any], At], Any]] = {
    "inline": _Reader.step,
    "step": _Reader.reference,
    "apply": _Reader.apply,
    "branch": _Reader.branch,
    "chain": _Reader.inner,
    "cond": _Reader.cond,
    "switch": _Reader.switch,
    "while_loop": _Reader.while_loop,
    "scan": _Reader.scan,
    "delay": _Reader.delay,
    "gather": _Reader.gather,
}


def _is_group(found: Any) -> bool:
    return isinstance(found, list | tuple) and bool(found) and all(isinstance(one, Branch) for one in found)


def _texts(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in mapping.items()}


def _title(id: str) -> str:
    """`extract-info` as the beginning of a model's name: `ExtractInfo`."""
    words = [word for word in re.split(r"[\W_]+", id) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name.isidentifier() else f"Step{name}"
