"""A declared chain to the text of a chain file. Imports nothing and runs nothing; the reverse of `yaml_reader`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from chainette.chain.apply import Apply, apply
from chainette.chain.branch import Branch
from chainette.chain.chain import Chain
from chainette.chain.control import Control, Delay, Gather, Loop, Scan, Switch
from chainette.chain.operators import Line, flat
from chainette.chain.shape import Shape
from chainette.chain.step import Step
from chainette.chain.taking import Taking
from chainette.chain.yaml_dump import Flow, FlowList, dumped
from chainette.chain.yaml_names import Names
from chainette.chain.yaml_types import is_reference
from chainette.errors import ChainError, Problem
from chainette.specs import EngineSpec

_LINE = 80
"""Letters of a mapping that is written on one line."""


def to_yaml(chain: Chain, folder: str | os.PathLike[str] = ".") -> str:
    """The text of a chain file that declares the same graph. `folder` is where the file will lie.

    Steps are written out; functions and models by `module:name`, or with the fields where a chain file made them. Keys
    and headers of engines are secrets and left out.

    Raises:
        ChainError: with every node whose function, model or value cannot be written, and what to do about it.
    """
    writer = _Writer(Names(Path(folder).resolve()))
    data = writer.chain(chain, "name")
    if writer.problems:
        raise ChainError(dict.fromkeys(writer.problems))
    head: dict[str, Any] = {}
    if writer.names.models:
        head["models"] = {
            name: fields if isinstance(fields, str) else writer.fields(fields)
            for name, fields in writer.names.models.items()
        }
    engines = [engine if isinstance(engine, str) else _engine(engine) for engine in chain.engines]
    if engines:
        head["engines"] = engines
    steps = data.pop("steps")
    return dumped({**data, **head, "steps": steps})


class _Writer:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.problems: list[Problem] = []

    def called(self, make: Callable[[Any], str], value: Any, where: str, role: str) -> str:
        """A name for `value`; a problem that tells the node and the role where it has none."""
        try:
            return make(value)
        except ChainError as error:
            for problem in error.problems:
                self.problems.append(Problem(where, f"{role}: {problem.message}", problem.hint))
            return ""

    def reference(self, value: Any, where: str, role: str) -> str:
        return self.called(self.names.reference, value, where, role)

    def type(self, value: Any, where: str, role: str) -> str:
        return self.called(self.names.written, value, where, role)

    def plain(self, value: Any, where: str, role: str) -> Any:
        """Data that YAML can hold, as it is."""
        if value is None or type(value) in (str, int, float, bool):
            return value
        if isinstance(value, Mapping):
            return {self.plain(key, where, role): self.plain(inner, where, role) for key, inner in value.items()}
        if type(value) in (list, tuple):
            return [self.plain(inner, where, role) for inner in value]
        self.problems.append(Problem(where, f"{role}: {value!r} is no plain data", "texts, numbers, lists, mappings"))
        return None

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _short(dict(one)) if isinstance(one, Mapping) else one for name, one in fields.items()}

    def chain(self, chain: Chain, key: str) -> dict[str, Any]:
        where = f'chain "{chain.name}"'
        data: dict[str, Any] = {key: chain.name}
        if chain.input_model is not None:
            data["input_model"] = self.type(chain.input_model, where, "input_model")
        for name in ("chunk_size", "deadline_s"):
            if getattr(chain, name) is not None:
                data[name] = getattr(chain, name)
        if chain.metadata:
            data["metadata"] = _short(self.plain(chain.metadata, where, "metadata"))
        data["steps"] = self.steps(chain.steps)
        return data

    def steps(self, steps: Sequence[Any]) -> list[Any]:
        return [self.item(item) for item in flat(steps)]

    def item(self, item: Any) -> Any:
        if isinstance(item, Line | list | tuple):
            return self.steps(item)
        if isinstance(item, Taking):
            written = self.item(item.node)
            source = item.source if isinstance(item.source, str) else Flow(item.source)
            return {**written, "takes": source} if isinstance(written, dict) else written
        if isinstance(item, Branch):
            return self.branch(item)
        if isinstance(item, Step):
            return self.step(item)
        if isinstance(item, Apply):
            return self.apply(item)
        if isinstance(item, Chain):
            return self.chain(item, "chain")
        write = _CONTROL.get(type(item))
        if write is None:
            self.problems.append(
                Problem("steps", f"{item!r} is no step", "steps hold Step, apply(…), [Branch…], Chain")
            )
            return None
        return write(self, item)

    def branch(self, branch: Branch) -> dict[str, Any]:
        data: dict[str, Any] = {"branch": branch.name}
        if branch.alias is not None:
            data["join"] = True if branch.alias == branch.name else branch.alias
        if branch.missing != "fail":
            data["missing"] = branch.missing
        return {**data, "steps": self.steps(branch.steps)}

    def step(self, step: Step) -> dict[str, Any]:
        where = f'step "{step.id}"'
        data: dict[str, Any] = {}
        for field in dataclasses.fields(step):
            value = getattr(step, field.name)
            if field.name in ("input_model", "output_model"):
                data[field.name] = self.type(value, where, field.name)
            elif field.name == "sampling":
                if given := value.given():
                    data["sampling"] = _short(self.plain(given, where, "sampling"))
            elif field.name == "user_prompt":
                data["user_prompt"] = value if isinstance(value, str) else [dict(message) for message in value]
            elif _is_said(field, value):
                data[field.name] = _short(self.plain(value, where, field.name))
        return {"id": data.pop("id"), **({"name": data.pop("name")} if "name" in data else {}), **data}

    def apply(self, node: Apply) -> dict[str, Any]:
        where = f'apply "{node.id}"'
        data: dict[str, Any] = {}
        fn, bound = self.function(node.fn, where)
        data["apply"] = fn
        if bound:
            data["bind"] = _short(self.plain(bound, where, "bind"))
        if node.named:
            data["id"] = node.id
        said, plain = _arguments(node)
        for key, value in said.items():
            data[key] = self.type(value, where, key) if key.endswith("_model") else value
        for name in inspect.signature(apply).parameters:
            if name in ("fn", "id", "input_model", "output_model", "shape") or not hasattr(node, name):
                continue
            if getattr(node, name) != getattr(plain, name):
                data[name] = _short(self.plain(getattr(node, name), where, name))
        return data

    def function(self, fn: Any, where: str) -> tuple[str, dict[str, Any]]:
        """The name of a function, and the keyword arguments that are bound to it."""
        if isinstance(fn, functools.partial) and not fn.args:
            try:
                return self.names.reference(fn), {}
            except ChainError:
                inner, bound = self.function(fn.func, where)
                return inner, {**bound, **fn.keywords}
        return self.reference(fn, where, "function"), {}

    def control(self, node: Control, head: dict[str, Any]) -> dict[str, Any]:
        """What all control flow may say, after what it is."""
        if node.named:
            head["id"] = node.id
        for name in ("name", "emoji"):
            if getattr(node, name):
                head[name] = getattr(node, name)
        if node.metadata:
            head["metadata"] = _short(self.plain(node.metadata, node.where, "metadata"))
        return head

    def asked(self, value: Any, where: str, role: str) -> str:
        return value if isinstance(value, str) else self.reference(value, where, role)

    def switch(self, node: Switch) -> dict[str, Any]:
        data = self.control(node, {node.kind: self.asked(node.key, node.where, "pred" if node.is_cond else "key")})
        if node.output_model is not None:
            data["output_model"] = self.type(node.output_model, node.where, "output_model")
        cases = {case: self.steps(steps) for case, steps in node.cases.items()}
        if node.is_cond:
            data["then"] = cases[True]
            return {**data, "otherwise": cases[False]} if cases[False] else data
        data["cases"] = {self.plain(case, node.where, "case"): steps for case, steps in cases.items()}
        if node.default is not None:
            data["default"] = self.steps(node.default)
        return data

    def loop(self, node: Loop) -> dict[str, Any]:
        head: dict[str, Any] = {
            "while_loop": self.steps(node.steps),
            "until": self.asked(node.until, node.where, "until"),
        }
        head["max_iterations"] = node.max_iterations
        return self.control(node, {**head, **_said(node, "at_least_once", "feed", "keep")})

    def scan(self, node: Scan) -> dict[str, Any]:
        body: Any = self.steps(node.body)
        if node.function is not None:
            body = self.reference(node.function, node.where, "body")
        head = {"scan": body, "over": node.over, "init": self.first(node.init, node.where)}
        return self.control(node, {**head, **_said(node, "keep")})

    def first(self, init: Any, where: str) -> Any:
        if callable(init):
            return self.reference(init, where, "init")
        if isinstance(init, BaseModel):
            try:
                return self.names.reference(init)
            except ChainError:
                value = self.plain(init.model_dump(mode="json"), where, "init")
                return {"model": self.type(type(init), where, "init"), "value": value}
        value = self.plain(init, where, "init")
        return {"value": value} if isinstance(value, dict) or is_reference(value) else value

    def delay(self, node: Delay) -> dict[str, Any]:
        return self.control(node, {"delay": node.seconds})

    def gather(self, node: Gather) -> dict[str, Any]:
        return self.control(node, {"gather": node.alias, **_said(node, "missing")})


_CONTROL: dict[type, Callable[[_Writer, Any], dict[str, Any]]] = {
    Switch: _Writer.switch,
    Loop: _Writer.loop,
    Scan: _Writer.scan,
    Delay: _Writer.delay,
    Gather: _Writer.gather,
}


def _said(node: Any, *names: str) -> dict[str, Any]:
    """The fields that are not what they are by default."""
    fields = {field.name: field for field in dataclasses.fields(node)}
    return {name: getattr(node, name) for name in names if _is_said(fields[name], getattr(node, name))}


def _is_said(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value != field.default)
    return bool(value) if field.default_factory is not dataclasses.MISSING else True


def _arguments(node: Apply) -> tuple[dict[str, Any], Apply]:
    """The fewest arguments about types with which `apply` gives the same shape, and the apply that they give.

    What was said is not kept, and need not be: only what comes of it counts.
    """
    models: list[dict[str, Any]] = [
        {},
        {"input_model": node.shape.input_type},
        {"output_model": node.shape.output_type},
        {"input_model": node.shape.input_type, "output_model": node.shape.output_type},
    ]
    for shape in (None, "map", "list", "expand"):
        for said in models:
            told = said if shape is None else {**said, "shape": shape}
            try:
                made = apply(node.fn, **told)
            except ChainError:
                continue
            if _alike(made.shape, node.shape):
                return told, made
    return {}, node


def _alike(one: Shape, other: Shape) -> bool:
    return one == other and one.words == other.words


def _short(value: Any) -> Any:
    """A mapping or list of plain values on one line, where it fits."""
    if isinstance(value, dict):
        inner = {key: _short(one) for key, one in value.items()}
        held = [one for one in inner.values() if not isinstance(one, FlowList)]
        return Flow(inner) if _is_line(held) and _fits(value) else inner
    if isinstance(value, list):
        return FlowList(value) if _is_line(value) and _fits(value) else value
    return value


def _is_line(values: list[Any]) -> bool:
    return not any(isinstance(one, dict | list) for one in values)


def _fits(value: Any) -> bool:
    text = str(value)
    return len(text) <= _LINE and "\\n" not in text


def _engine(spec: EngineSpec) -> dict[str, Any]:
    shown = spec.model_dump(mode="json", exclude_defaults=True, exclude={"api_key", "headers"})
    arguments = shown.pop("vllm_args", {})
    if spec.endpoint is not None:
        shown["endpoint"] = re.sub(r"//[^/@]*@", "//", spec.endpoint)
    return {"name": spec.name, "backend": spec.backend, **shown, **arguments}
