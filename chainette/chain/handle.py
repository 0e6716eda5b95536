"""`Handle`: a row that is not there yet. Refuses whatever would need its value; does not know what records it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from chainette.chain.tracing_places import asked_by_user, users_place
from chainette.errors import ChainError, Problem

if TYPE_CHECKING:
    from chainette.chain.tracing import Trace

_BRANCH = "cond(pred, then, otherwise)(row) or switch(…)(row) sends rows different ways, while_loop(…)(row) repeats"
_LIST = "scan(body, over=…)(row) goes through a list, apply(fn)(row) with T -> list[U] makes rows of it"
_TEXT = 'a template says it: Step(user_prompt="{{ text }}"), with earlier steps by id: "{{ qa.answer }}"'
_VALUE = "apply(fn)(row) computes with values"
_FIELD = 'a template takes a field ("{{ qa.answer }}"), or apply(fn)(row); a step takes the whole row'


class Handle:
    """Stands for the rows of one node while a `@chain` function is traced."""

    __slots__ = ("_index", "_place", "_trace", "_what")

    def __init__(self, trace: Trace, index: int, what: str, place: str) -> None:
        for name, value in (("_trace", trace), ("_index", index), ("_what", what), ("_place", place)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<the row of {self._what}, {self._place}>"

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # debuggers, copy and notebooks ask for these
            raise AttributeError(f"a row that is not there yet has no {name}")
        _refuse(self, f"has no field .{name} while the chain is traced", _FIELD)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        _refuse(self, f"cannot be given a field .{name}", _VALUE)

    def __str__(self) -> str:
        _refuse(self, "has no text while the chain is traced", _TEXT)

    def __format__(self, spec: str) -> str:
        _refuse(self, "has no text while the chain is traced", _TEXT)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        _refuse(self, "cannot be copied or pickled", "use the handle itself")

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            if asked_by_user():
                _refuse(self, "has no type that Python could look at (isinstance, match)", _BRANCH)
            return Handle


def _refuse(handle: Handle, what: str, hint: str) -> NoReturn:
    raise ChainError(Problem(users_place(), f"{handle!r} {what}", hint))


def _refusal(what: str, hint: str) -> Callable[..., NoReturn]:
    def refuse(self: Handle, *_: Any) -> NoReturn:
        _refuse(self, what, hint)

    return refuse


_REFUSED = {
    ("bool",): ("is neither true nor false while the chain is traced", _BRANCH),
    ("eq", "ne", "lt", "le", "gt", "ge"): ("cannot be compared while the chain is traced", _BRANCH),
    ("iter", "next", "reversed", "aiter", "anext"): ("cannot be gone through while the chain is traced", _LIST),
    ("len",): ("has no length while the chain is traced", f"{_VALUE}; {_LIST}"),
    ("getitem", "setitem", "delitem", "delattr"): ("has no parts while the chain is traced", _FIELD),
    ("contains",): ("cannot be looked into while the chain is traced", _BRANCH),
    ("await",): ("is nothing to wait for", "call steps without await; an async function is for real values"),
    ("enter", "exit", "aenter", "aexit"): ("cannot stand in a `with`", _VALUE),
    ("call",): ("cannot be called", "step(row), not row(step)"),
    tuple(
        f"{side}{name}"
        for name in "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor".split()
        for side in ("", "r", "i")
    ): ("has no value to compute with while the chain is traced", _VALUE),
    tuple("neg pos abs invert int float complex index round trunc floor ceil bytes fspath".split()): (
        "has no value to compute with while the chain is traced",
        _VALUE,
    ),
}
for _names, (_what, _hint) in _REFUSED.items():
    for _name in _names:
        if _name != "call":  # `callable(row)` must stay false
            setattr(Handle, f"__{_name}__", _refusal(_what, _hint))


def is_handle(value: Any) -> bool:
    return type(value) is Handle


def handles_in(value: Any, depth: int = 3) -> list[Handle]:
    """The handles in lists, tuples, sets and dicts."""
    if is_handle(value):
        return [value]
    if depth and isinstance(value, dict):
        value = list(value.values())
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [handle for part in value for handle in handles_in(part, depth - 1)]
    return []
