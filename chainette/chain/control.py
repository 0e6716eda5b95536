"""Control flow as declared: ways that rows take, one by one. Knows neither types around it nor how rows move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from chainette.chain.apply import Apply
from chainette.chain.asking import takes_carry, takes_context
from chainette.chain.operators import Composable, flat
from chainette.chain.step import is_duration
from chainette.errors import ChainError, Problem

Keep = Literal["last", "all"]
Feed = Literal["result", "input"]
Missing = Literal["fail", "skip"]
Steps = Sequence[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Control(Composable):
    """What all control flow has in common."""

    id: str
    named: bool = True
    """False: the id is the construct's own name, and is numbered when it occurs twice."""
    name: str = ""
    emoji: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.strip():
            raise ChainError(Problem(self.kind, "needs an `id` that is not blank"))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @property
    def where(self) -> str:
        return f'{self.kind} "{self.id}"'

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Switch(Control):
    """Each row takes the way its key names. Made by `switch` and `cond`."""

    key: Callable[..., Any] | str
    """A function of (row) or (row, context), or the name of a field."""
    cases: Mapping[Any, Steps]
    """Case -> steps; an empty list lets the row pass as it is."""
    default: Steps | None = None
    """None: a row whose key is no case fails."""
    output_model: Any = None
    """The type of what comes out, where the cases differ: their union, say."""
    is_cond: bool = False

    @property
    def kind(self) -> str:
        return "cond" if self.is_cond else "switch"

    @property
    def ways(self) -> list[tuple[str, Steps]]:
        """(name, steps) in order, the default last."""
        names = {True: "then", False: "otherwise"} if self.is_cond else {}
        listed = [(str(names.get(case, case)), steps) for case, steps in self.cases.items()]
        return listed if self.default is None else [*listed, ("default", self.default)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Loop(Control):
    """Steps that a row goes through until it is done. Made by `while_loop`."""

    steps: Steps
    until: Callable[..., Any] | str
    max_iterations: int
    at_least_once: bool = False
    feed: Feed = "result"
    keep: Keep = "last"

    @property
    def kind(self) -> str:
        return "while_loop"


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan(Control):
    """A carry on its way through a list of each row, or through the rows. Made by `scan`."""

    body: Steps
    over: str | None
    init: Any
    """The first carry, or a function of (row) or (row, context) that gives it."""
    keep: Keep = "last"
    function: Callable[..., Any] | None = None
    """The body where it is a function of (carry, item)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Delay(Control):
    """Rows wait here. Made by `delay`."""

    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Control):
    """The children of a row back to one. Made by `gather`."""

    alias: str | None = None
    missing: Missing = "fail"


def cond(
    pred: Callable[..., Any] | str,
    then: Any,
    otherwise: Any = (),
    *,
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    output_model: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> Switch:
    """Rows for which `pred` holds go through `then`, the others through `otherwise`, or pass as they are.

    `pred` is a function of (row) or (row, context), plain or async, or the name of a field. What comes out of the two
    sides must be of one type, or of the union declared as `output_model`.

    Raises:
        ChainError: a predicate that cannot be called so.
    """
    where = f'cond "{id or "cond"}"'
    return Switch(
        **_shared("cond", id, name, emoji, metadata),
        key=_asked(pred, where, "pred"),
        cases={True: steps_of(then), False: steps_of(otherwise)},
        output_model=output_model,
        is_cond=True,
    )


def switch(
    key: Callable[..., Any] | str,
    cases: Mapping[Any, Any],
    default: Any = None,
    *,
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    output_model: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> Switch:
    """Each row goes through the steps of the case its key names; a row whose key is no case goes through `default`, and
    fails with kind `route` where there is none.

    `key` is a function of (row) or (row, context), plain or async, or the name of a field.

    Raises:
        ChainError: no cases, two that read alike, or a key that cannot be called so.
    """
    where = f'switch "{id or "switch"}"'
    if not isinstance(cases, Mapping) or not cases:
        raise ChainError(Problem(where, "needs a mapping from case to steps", 'switch("lang", {"fr": [...]})'))
    texts = [str(case) for case in cases]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ChainError(Problem(where, f"cases that read alike: {', '.join(twice)}"))
    return Switch(
        **_shared("switch", id, name, emoji, metadata),
        key=_asked(key, where, "key"),
        cases=MappingProxyType({case: steps_of(steps) for case, steps in cases.items()}),
        default=None if default is None else steps_of(default),
        output_model=output_model,
    )


def while_loop(
    steps: Any,
    until: Callable[..., Any] | str,
    max_iterations: int = 3,
    *,
    at_least_once: bool = False,
    feed: Feed = "result",
    keep: Keep = "last",
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Loop:
    """Each row goes through `steps` again and again until `until` holds of it; asked before the first turn too, unless
    `at_least_once`. A row for which it does not hold after `max_iterations` turns fails with kind `max_iterations`.

    A turn begins with what the former one gave (`feed="result"`) or with the row that entered the loop
    (`feed="input"`); templates reach what the loop's steps made in the former turn by their ids (None in the first) and
    the number of the turn, from 1, as `turn`. `keep` says whether a step's file has the last turn of each row or all.

    Raises:
        ChainError: a predicate that cannot be called with (row) or (row, context), or `max_iterations` below 1.
    """
    where = f'while_loop "{id or "loop"}"'
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise ChainError(Problem(where, f"max_iterations must be a whole number from 1, not {max_iterations!r}"))
    _one_of(feed, ("result", "input"), where, "feed")
    _one_of(keep, ("last", "all"), where, "keep")
    return Loop(
        **_shared("loop", id, name, emoji, metadata),
        steps=steps_of(steps),
        until=_asked(until, where, "until"),
        max_iterations=max_iterations,
        at_least_once=bool(at_least_once),
        feed=feed,
        keep=keep,
    )


def scan(
    body: Any,
    over: str | None,
    init: Any,
    *,
    keep: Keep = "last",
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Scan:
    """A carry on its way through the list in field `over` of each row; with `over=None` through the rows themselves, in
    input order, across chunks.

    `body` is a function `(carry, item) -> carry` or `(carry, item) -> tuple[carry, output]`, or steps whose first takes
    a `ScanItem` (fields `carry` and `item`) and whose last gives the new carry. `init` is the first carry, or a
    function of the row. Out comes a `Scanned` (fields `carry`, `outputs`); with `over=None` each row's output.

    Raises:
        ChainError: a body or `over` that cannot be used so.
    """
    where = f'scan "{id or "scan"}"'
    if over is not None and not (isinstance(over, str) and over.strip()):
        raise ChainError(Problem(where, f"over must be the name of a field, or None for the rows, not {over!r}"))
    _one_of(keep, ("last", "all"), where, "keep")
    function = body if callable(body) and not isinstance(body, Control | Apply) and not _is_declared(body) else None
    if function is not None:
        takes_carry(function, where)
    if callable(init) and not isinstance(init, type | Composable):
        takes_context(init, where, "init")
    return Scan(
        **_shared("scan", id, name, emoji, metadata),
        body=() if function is not None else steps_of(body),
        over=over,
        init=init,
        keep=keep,
        function=function,
    )


def delay(seconds: float, *, id: str | None = None, name: str = "", emoji: str = "") -> Delay:
    """Each row waits here for `seconds`; the others go on, and no thread or engine is held.

    Raises:
        ChainError: no positive number of seconds.
    """
    if seconds is None or not is_duration(seconds):
        raise ChainError(Problem("delay", f"seconds must be a positive number, not {seconds!r}"))
    return Delay(id=id or "delay", named=id is not None, name=name, emoji=emoji, seconds=seconds)


def gather(
    alias: str | None = None,
    *,
    missing: Missing = "fail",
    id: str | None = None,
    name: str = "",
    emoji: str = "",
) -> Gather:
    """Undoes the nearest expand, or the nearest step with several samples: the children of a row back to one.

    Without an alias the list of the children's values, in order, is the row; with one the row is that from before the
    expand, and the list is there under the alias for every later template. `missing` says what a failed child means:
    its parent fails too (kind `upstream`), or the list does without. A child that was filtered out is not in the list,
    and a row without children gives an empty one.
    """
    where = f'gather "{id or "gather"}"'
    if alias is not None and not (isinstance(alias, str) and alias.isidentifier() and not alias.startswith("_")):
        raise ChainError(Problem(where, f"alias {alias!r} cannot be used in a template", "letters, digits, _"))
    _one_of(missing, ("fail", "skip"), where, "missing")
    return Gather(id=id or "gather", named=id is not None, name=name, emoji=emoji, alias=alias, missing=missing)


def _shared(word: str, id: str | None, name: str, emoji: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of `Control`; `word` is the id where none is given."""
    return {"id": id or word, "named": id is not None, "name": name, "emoji": emoji, "metadata": metadata or {}}


def steps_of(value: Any) -> Steps:
    """One step or several as a tuple; what is in it is looked at when the graph is built."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return flat(value)
    return (value,)


def _is_declared(value: Any) -> bool:
    """Whether it is a node and only happens to be callable."""
    return hasattr(value, "with_") or hasattr(value, "steps") or hasattr(value, "shape")


def _asked(asked: Any, where: str, role: str) -> Any:
    if isinstance(asked, str):
        if not asked.strip():
            raise ChainError(Problem(where, f"{role} is blank; it names a field"))
        return asked
    if not callable(asked) or isinstance(asked, Composable):
        raise ChainError(Problem(where, f"{role} must be a function or the name of a field, not {asked!r}"))
    takes_context(asked, where, role)
    return asked


def _one_of(value: Any, known: Sequence[str], where: str, name: str) -> None:
    if value not in known:
        words = " or ".join(f'"{one}"' for one in known)
        raise ChainError(Problem(where, f"{name} must be {words}, not {value!r}"))
