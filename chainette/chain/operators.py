"""What every node can: be called, on handles or on values, and be put together with `>>` and `|`. Runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from chainette.chain.handle import handles_in, is_handle
from chainette.chain.tracing_places import users_place
from chainette.errors import ChainError, Problem

if TYPE_CHECKING:
    from chainette.chain.chain import Chain


class Operators:
    """`a >> b`: one after the other. `a | b`: side by side, each joined under its id unless it is a `Branch`."""

    __slots__ = ()

    def __rshift__(self, other: Any) -> Line:
        return Line([*_items(self, ">>"), *_items(other, ">>")])

    def __rrshift__(self, other: Any) -> Line:
        return Line([*_items(other, ">>"), *_items(self, ">>")])

    def __or__(self, other: Any) -> Line:
        return Line([(*_branches(self), *_branches(other))])

    def __ror__(self, other: Any) -> Line:
        return Line([(*_branches(other), *_branches(self))])


class Composable(Operators):
    """A node."""

    __slots__ = ()

    def __call__(self, *row: Any, id: Any = None, **fields: Any) -> Any:
        """On a handle, within a `@chain` function: the handle of this node's rows. On a value: what becomes of it.

        Several inputs go by keyword, each a field of what the node takes: `agg(fr=fr, es=es)`. With handles, `id`
        names this use of the node, so that it may be used twice.

        On a value (a model, or what makes one) the node runs, with engines as in `Chain.run` and without a run folder
        that stays: returns the output, a list of them where one row becomes several, None where it was dropped. Inside
        an event loop it returns an awaitable of that.

        Raises:
            ChainError: handles and values mixed, or a handle where there can be none.
            RowFailedError: the row failed.
            InputError, PlanError, EngineError: see `Chain.run`.
        """
        if id is not None and not isinstance(id, str):  # a field that is called so
            fields, id = {"id": id, **fields}, None
        from chainette.chain.tracing import current_trace, record

        if current_trace() is not None or any(handles_in(value) for value in (*row, *fields.values())):
            return record(self, row, fields, id)
        if id is not None:
            raise ChainError(Problem(users_place(), "id= names a node while a chain is traced"))
        return _run(self, row, fields)


class Line(Composable, Sequence[Any]):
    """Nodes one after the other, made by `>>` and `|`. Stands wherever steps stand."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    @property
    def steps(self) -> tuple[Any, ...]:
        return self._items

    def to_chain(self, name: str, **fields: Any) -> Chain:
        """The chain of these steps; `fields` are those of `Chain`."""
        from chainette.chain.chain import Chain

        return Chain(name=name, steps=self, **fields)

    def __repr__(self) -> str:
        return f"Line({', '.join(repr(list(item) if isinstance(item, tuple) else item) for item in self._items)})"


def flat(steps: Sequence[Any]) -> tuple[Any, ...]:
    """The items of `steps`, those of lines among them in place of the line."""
    found: list[Any] = []
    for item in steps:
        found += flat(item) if isinstance(item, Line) else [item]
    return tuple(found)


def node_name(node: Any) -> str:
    """The id of a step, apply or construct, the name of a chain."""
    from chainette.chain.chain import Chain

    if isinstance(node, Line):
        last = node[-1]
        return "_".join(branch.alias or branch.name for branch in last) if isinstance(last, tuple) else node_name(last)
    return str(node.name if isinstance(node, Chain) else node.id)


def as_alias(name: str) -> str:
    """The name by which templates reach it."""
    alias = re.sub(r"\W", "_", name).lstrip("_")
    return alias if alias.isidentifier() else f"row_{alias}"


def _items(value: Any, operator: str) -> Sequence[Any]:
    from chainette.chain.branch import Branch

    if isinstance(value, Line):
        return value.steps
    if isinstance(value, Branch):
        return [(value,)]
    if isinstance(value, Composable):
        return [value]
    if isinstance(value, list | tuple) and value and all(isinstance(one, Branch) for one in value):
        return [tuple(value)]
    raise ChainError(Problem(users_place(), f"{_short(value)} cannot stand beside {operator}", _hint(value)))


def _branches(value: Any) -> Sequence[Any]:
    from chainette.chain.branch import Branch

    if isinstance(value, Branch):
        return [value]
    if isinstance(value, Line) and len(value) == 1 and isinstance(value[0], tuple):
        return tuple(value[0])
    items = _items(value, "|")
    if not isinstance(value, Composable):
        return tuple(items[0])
    name = node_name(value)
    return [Branch(name=name, steps=items).join(as_alias(name))]


def _hint(value: Any) -> str:
    if is_handle(value):
        return "within a @chain function nodes are called: step(row)"
    if callable(value):
        return f"apply({getattr(value, '__name__', 'fn')})"
    return "steps, applies, control flow, chains and branches can"


def _short(value: Any) -> str:
    name = getattr(value, "__name__", None) if callable(value) else None
    text = str(name) if isinstance(name, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def params_hint(node: Any, fields: Mapping[str, Any]) -> str:
    """Where what was given by keyword are parameters of a traced chain."""
    params = getattr(node, "_others", {})
    said = ", ".join(f"{name}=…" for name in fields)
    return f"{node.name}.with_params({said})(row)" if fields and fields.keys() <= set(params) else ""


def _run(node: Any, row: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    from chainette.chain.apply import Apply
    from chainette.chain.chain import Chain

    name = node_name(node)
    if len(row) + bool(fields) != 1:
        message = f'"{name}" works on one row, or on its fields by keyword; it got {len(row)} rows'
        raise ChainError(Problem(users_place(), message + (" and fields" if fields else ""), params_hint(node, fields)))
    chain = node if isinstance(node, Chain) else Chain(name=name, steps=[node])
    takes_list = isinstance(node, Apply) and node.shape.takes == "list"
    return chain._call(dict(fields) if fields else row[0], takes_list=takes_list)
