"""Records which node is called on which handle. Knows neither graphs nor how the record becomes one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from chainette.chain.apply import Apply
from chainette.chain.branch import Branch
from chainette.chain.chain import Chain
from chainette.chain.control import Control, Loop, Scan, Switch
from chainette.chain.handle import Handle, handles_in, is_handle
from chainette.chain.operators import Line, node_name, params_hint
from chainette.chain.step import Step
from chainette.chain.taking import Taking
from chainette.chain.tracing_places import users_place
from chainette.errors import ChainError, Problem, nearest

_SEVERAL = "several inputs go by keyword, each a field of what the node takes: agg(fr=fr, es=es)"


@dataclass(frozen=True, slots=True)
class Call:
    """One node called on handles."""

    node: Any
    """None: the chain's input."""
    inputs: tuple[tuple[str | None, int], ...]
    """(field, position of the call whose rows it takes); the field is None where the row itself is taken."""
    place: str

    @property
    def sources(self) -> set[int]:
        return {source for _, source in self.inputs}


class Trace:
    """What one run of a `@chain` function called."""

    def __init__(self, name: str, function: Any, place: str) -> None:
        self.name = name
        self.function = function
        self.calls: list[Call] = [Call(None, (), place)]
        self.handles: list[Handle] = []
        self.open = True
        self._names: dict[str, str] = {}

    def handle(self, what: str, place: str) -> Handle:
        """The handle of the last call's rows."""
        handle = Handle(self, len(self.calls) - 1, what, place)
        self.handles.append(handle)
        return handle

    def take_name(self, node: Any, kind: str, place: str) -> None:
        if isinstance(node, Apply | Control) and not node.named:
            return
        name = node_name(node)
        if name in self._names:
            how = f'{kind}(row, id="second")'
            hint = f'name the second: {how}, or step.with_(id="…")' if isinstance(node, Step) else f"name it: {how}"
            message = f'"{name}" is used a second time; the first is {self._names[name]}'
            raise ChainError(Problem(place, message, hint))
        self._names[name] = place

    def result_of(self, value: Any) -> int:
        """The call whose rows are the result.

        Raises:
            ChainError: `value` is no handle of this trace, or the input's; or a function in the chain holds a handle.
        """
        where = self.calls[0].place
        if not is_handle(value):
            several = " Several results: return the row of a step that takes them by keyword" * bool(handles_in(value))
            message = f'chain "{self.name}" must return the row of a step, not {_short(value)}.{several}'
            raise ChainError(Problem(where, message.rstrip(".")))
        if value._trace is not self:
            raise ChainError(Problem(where, f'chain "{self.name}" returns {value!r}, which is not of its own tracing'))
        if value._index == 0:
            raise ChainError(Problem(where, f'chain "{self.name}" returns its input as it is', "call a step on it"))
        for call in self.calls[1:]:
            _check_captured(call)
        return int(value._index)


_traces: ContextVar[tuple[Trace, ...]] = ContextVar("chainette_traces", default=())
"""The functions that are being traced here, the innermost last."""


def current_trace() -> Trace | None:
    """The innermost function that is being traced here."""
    traces = _traces.get()
    return traces[-1] if traces else None


@contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    token = _traces.set((*_traces.get(), trace))
    try:
        yield
    finally:
        trace.open = False
        _traces.reset(token)


def traced_now(function: Any) -> bool:
    """Whether `function` is being traced here, directly or further out."""
    return any(trace.function is function for trace in _traces.get())


def record(node: Any, row: Sequence[Any], fields: Mapping[str, Any], id: str | None) -> Handle:
    """Notes `node(row)` or `node(field=row, …)`.

    Raises:
        ChainError: the inputs are not all handles of the function that is being traced, or do not go together so.
    """
    place = users_place()
    if isinstance(node, Line):
        raise ChainError(Problem(place, "a line of steps is no node", 'line.to_chain("name")(row)'))
    kind = _kind(node)
    what = f'{kind} "{id or node_name(node)}"'
    said = params_hint(node, {name: value for name, value in fields.items() if not handles_in(value)})
    _check_values(what, row, fields, place, said)
    trace = _check_trace(what, [*row, *fields.values()], place)
    _check_fields(node, what, fields, place)
    node = node if id is None else _named(node, id, place)
    if isinstance(node, Chain):
        _ = node.steps  # a traced chain is traced here, where what is wrong with it was called
    for step in (inner for inner in _within(node) if isinstance(inner, Step)):
        _check_prompts(step, place)
    trace.take_name(node, kind, place)
    inputs = [(None, handle._index) for handle in row] + [(name, handle._index) for name, handle in fields.items()]
    trace.calls.append(Call(node, tuple(inputs), place))
    return trace.handle(what, place)


def _check_values(what: str, row: Sequence[Any], fields: Mapping[str, Any], place: str, said: str) -> None:
    given = [*row, *fields.values()]
    values = [value for value in given if not is_handle(value)]
    trace = current_trace()
    if any(handles_in(value) for value in values):
        raise ChainError(Problem(place, f"{what} got rows inside a {type(values[0]).__name__}", _SEVERAL))
    if values and len(values) < len(given):
        message = f"{what} got rows that are not there yet and a value at once: {_short(values[0])}"
        hint = said or "all of one sort; apply(fn)(row) puts a value beside a row"
        raise ChainError(Problem(place, message, hint))
    if values:
        name = trace.name if trace is not None else ""
        message = f'{what} got a value while "{name}" is traced: {_short(values[0])}'
        raise ChainError(Problem(place, message, "call it on a row of the function, or run it outside of it"))
    if not given:
        raise ChainError(Problem(place, f"{what} got no row", "step(row)"))
    if len(row) > 1 or (row and fields):
        raise ChainError(Problem(place, f"{what} got {len(given)} rows, and not each by keyword", _SEVERAL))


def _check_trace(what: str, handles: Sequence[Handle], place: str) -> Trace:
    trace = current_trace()
    for handle in handles:
        if handle._trace is trace and trace is not None:
            continue
        if handle._trace.open:
            why = "which belongs to another function that is being traced, or to another thread"
            raise ChainError(Problem(place, f"{what} got {handle!r}, {why}", "pass it as the function's own input"))
        why = f'but the tracing of "{handle._trace.name}" is over'
        raise ChainError(Problem(place, f"{what} got {handle!r}, {why}", "a row lives within its function only"))
    assert trace is not None
    return trace


def _check_fields(node: Any, what: str, fields: Mapping[str, Any], place: str) -> None:
    if not fields:
        return
    if isinstance(node, Control):
        raise ChainError(Problem(place, f"{what} takes one row", "make one of them: a step or apply by keyword"))
    model = node.shape.input_type if isinstance(node, Apply) else node.input_model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    for name in fields:
        aliases = [field.alias for field in model.model_fields.values() if field.alias]
        if name not in model.model_fields and name not in aliases and model.model_config.get("extra") != "allow":
            message = f"{what} takes {model.__name__}, which has no field {name}"
            raise ChainError(Problem(place, message, nearest(name, model.model_fields)))


def _named(node: Any, id: str, place: str) -> Any:
    if isinstance(node, Chain):
        return node.with_(name=id)
    if isinstance(node, Step):
        return node.with_(id=id)
    return dataclasses.replace(node, id=id, named=True)


def _check_prompts(step: Step, place: str) -> None:
    """`repr` of a handle works, for debuggers; in a prompt it would be sent to the model."""
    prompts = repr((step.user_prompt, step.system_prompt, step.output_format_instruction))
    for handle in (handle for trace in _traces.get() for handle in trace.handles):
        if repr(handle)[1:-1].replace('"', "") in prompts.replace('"', "").replace("\\", ""):
            message = f'a prompt of step "{step.id}" has {handle!r} in it'
            raise ChainError(Problem(place, message, 'a template says it: "{{ text }}", "{{ qa.answer }}"'))


def _check_captured(call: Call) -> None:
    """A function that closes over a handle would meet it when it runs, long after the tracing."""
    for node in _within(call.node):
        for handle in (handle for value in _carried(node) for handle in handles_in(value)):
            message = f'{_kind(node)} "{node_name(node)}" has {handle!r} in its function'
            raise ChainError(Problem(call.place, message, f'{_SEVERAL}; or chainette.context().steps["…"]'))


def _carried(node: Any) -> list[Any]:
    """What the node's functions have with them: closures, defaults, bound arguments, an object's own fields."""
    functions: list[Any] = []
    match node:
        case Apply():
            functions = [node.fn]
        case Switch():
            functions = [node.key]
        case Loop():
            functions = [node.until]
        case Scan():
            functions = [node.function, node.init]
    carried: list[Any] = [*functions]
    for function in functions:
        while isinstance(function, functools.partial):
            carried += [*function.args, *function.keywords.values()]
            function = function.func
        carried += [*(getattr(function, "__defaults__", None) or ())]
        carried += [*(getattr(function, "__kwdefaults__", None) or {}).values()]
        owner = getattr(function, "__self__", function)
        carried += (
            []
            if isinstance(owner, type | ModuleType) or is_handle(owner)
            else [*getattr(owner, "__dict__", {}).values()]
        )
        for cell in getattr(function, "__closure__", None) or ():
            try:
                carried.append(cell.cell_contents)
            except ValueError:  # not filled
                continue
    return carried


def _within(item: Any) -> Iterator[Any]:
    """`item` and the nodes inside it. A traced chain has looked at its own."""
    inner: Iterable[Any] = ()
    match item:
        case Switch():
            inner = [*item.cases.values(), item.default]
        case Branch() | Loop():
            inner = item.steps
        case Chain() if type(item) is Chain:
            inner = item.steps
        case Scan():
            inner = item.body
        case Taking():
            inner = [item.node]
        case list() | tuple() | Line():
            inner = item
    if isinstance(item, Step | Apply | Control):
        yield item
    for one in inner:
        yield from _within(one)


def _kind(node: Any) -> str:
    if isinstance(node, Control):
        return node.kind
    return "step" if isinstance(node, Step) else "apply" if isinstance(node, Apply) else "chain"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
