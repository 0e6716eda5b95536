"""`apply`: Python in the chain. Reads annotations; does not know the types around the function and calls nothing."""

from __future__ import annotations

import collections.abc
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from chainette.chain.operators import Composable
from chainette.chain.shape import Shape, class_of, read_shape
from chainette.chain.source import innermost
from chainette.chain.step import is_duration
from chainette.errors import ChainError, Problem

ShapeName = Literal["list", "map", "expand"]
Scope = Literal["chunk", "run"]
Workers = Literal["thread", "process"]


@dataclass(frozen=True, eq=False)
class Apply(Composable):
    """A function as a node. Made by `apply(fn)`."""

    fn: Callable[..., Any]
    """A function, or a class (with or without arguments bound to it) that is built once per worker."""
    id: str
    named: bool
    """False: the id is the function's name, and is numbered when it occurs twice."""
    shape: Shape
    name: str = ""
    emoji: str = ""
    yield_output: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    scope: Scope = "chunk"
    workers: Workers = "thread"
    replicas: int | None = None
    """Workers there are; None: what fits the kind of workers."""
    gpus: int = 0
    """Devices each worker has for itself."""
    retries: int = 0
    timeout_s: float | None = None
    durable: bool = False
    version: str | None = None

    @property
    def built(self) -> type | None:
        """The class that each worker builds, where it is one."""
        return class_of(self.fn)

    def __repr__(self) -> str:
        return f"Apply({self.id!r}, {self.shape.words})"


def apply(
    fn: Callable[..., Any],
    *,
    id: str | None = None,
    name: str = "",
    emoji: str = "",
    input_model: Any = None,
    output_model: Any = None,
    shape: ShapeName | None = None,
    yield_output: bool = True,
    metadata: Mapping[str, Any] | None = None,
    scope: Scope = "chunk",
    workers: Workers | None = None,
    replicas: int | None = None,
    gpus: int = 0,
    retries: int = 0,
    timeout_s: float | None = None,
    durable: bool = False,
    version: str | int | None = None,
) -> Apply:
    """A Python function as a node of the chain.

    The annotations say the shape: `list[T] -> list[U]` works on a chunk, `T -> U` on a row, `T -> U | None` and
    `T -> U | Drop` filter, `T -> list[U]` or a generator expands; without annotations it gets the chunk as a list.
    `async def` runs concurrently within a chunk, a plain function in a thread. A function may be called again on rows
    it has seen (after a crash, or to learn which row came from which), so it should not count on being called once.

    A class, or `functools.partial(SomeClass, ...)`, is built once per worker and its instance called; `setup()` is
    called before the first row and `close()` after the last, where it has them.

    `input_model` and `output_model` stand in for annotations that are not there. `shape="map"` promises that a list
    function gives one row for each it got, in order (an embedder, say).

    `scope="run"` shows the function all rows at once. `workers="process"` runs it in processes, `replicas` of them
    (a class: one; a function: one per CPU), each with `gpus` devices for itself. A row of which it raises is tried
    `retries` times more; a row that takes longer than `timeout_s` fails, or is tried again. `durable=True` keeps the
    results in `calls/`, so that resume, `--reuse` and retry take them from there. They are found again by the row's
    value, the function's source and what is bound to it; with a `version` that stands for the source, so that
    reformatting costs nothing and a change is only seen when the version changes too.

    Raises:
        ChainError: the function cannot be called with one argument, its annotations say nothing usable, or options
            that do not go together.
    """
    if not callable(fn) or isinstance(fn, Composable):
        hint = "it stands in the chain as it is" if isinstance(fn, Composable) else ""
        raise ChainError(Problem("apply", f"needs a function, not {fn!r}", hint))
    where = f'apply "{id or _name_of(fn)}"'
    # Models made inside a function are found where the apply stands, as pydantic does for its fields.
    namespace = sys._getframe(1).f_locals
    made = Apply(
        fn=fn,
        id=id or _name_of(fn),
        named=id is not None,
        shape=read_shape(fn, where, input_model, output_model, shape, namespace),
        name=name,
        emoji=emoji,
        yield_output=yield_output,
        metadata=MappingProxyType(dict(metadata or {})),
        scope=scope,
        workers=workers if workers is not None else "thread" if class_of(fn) is None else "process",
        replicas=replicas,
        gpus=gpus,
        retries=retries,
        timeout_s=timeout_s,
        durable=durable,
        version=None if version is None else str(version),
    )
    problems = [Problem(where, message, hint) for message, hint in _wrong(made, version)]
    if problems:
        raise ChainError(problems)
    return made


def _wrong(made: Apply, version: Any) -> list[tuple[str, str]]:
    """What of the options is not usable, each as a message and a hint."""
    found = []
    if made.scope not in ("chunk", "run"):
        found.append((f'scope must be "chunk" or "run", not {made.scope!r}', ""))
    if made.workers not in ("thread", "process"):
        found.append((f'workers must be "thread" or "process", not {made.workers!r}', ""))
    if made.replicas is not None and not _whole(made.replicas, 1):
        found.append((f"replicas must be a whole number from 1, not {made.replicas!r}", ""))
    if not _whole(made.gpus, 0):
        found.append((f"gpus must be a whole number from 0, not {made.gpus!r}", ""))
    if not _whole(made.retries, 0):
        found.append((f"retries must be a whole number from 0, not {made.retries!r}", ""))
    if not is_duration(made.timeout_s):
        found.append((f"timeout_s must be a positive number of seconds, not {made.timeout_s!r}", ""))
    if not isinstance(made.durable, bool):
        found.append((f"durable must be True or False, not {made.durable!r}", ""))
    if isinstance(version, bool) or not isinstance(version, str | int | None) or version == "":
        found.append((f"version must be a text or a whole number, not {version!r}", ""))
    return found or [*_at_odds(made), *_at_odds_with_shape(made)]


def _at_odds(made: Apply) -> list[tuple[str, str]]:
    """Options that do not go together."""
    found = []
    in_processes = made.workers == "process"
    if made.scope == "run":
        for name, given in (
            ('workers="process"', in_processes and made.built is None),
            ("a class", made.built is not None),
            ("durable", made.durable),
            ("retries", made.retries > 0),
            ("timeout_s", made.timeout_s is not None),
        ):
            if given:
                found.append((f'scope="run" and {name} do not go together', "it is called once, with all rows"))
    if made.built is not None and not in_processes:
        found.append(("a class is built in worker processes", 'workers="process", or apply(SomeClass(...))'))
    for name, given in (("replicas", made.replicas is not None), ("gpus", made.gpus > 0)):
        if given and not in_processes:
            found.append((f"{name} is for worker processes", 'workers="process"'))
    if made.version is not None and not made.durable:
        found.append(("version is for results that are kept", "durable=True"))
    return found


def _at_odds_with_shape(made: Apply) -> list[tuple[str, str]]:
    shape = made.shape
    found = []
    if made.workers == "process" and shape.is_async:
        hint = "without workers it runs on the event loop, concurrently within a chunk"
        found.append(("async def does not go with worker processes", hint))
    if made.durable and shape.takes == "list" and not shape.one_for_one:
        message = "durable results are kept row by row, and a function on lists may look across them"
        found.append((message, 'annotate it as T -> U, or promise one for each, in order: shape="map"'))
    if made.scope == "run" and shape.takes != "list":
        found.append(('scope="run" is for a function that gets all rows', "list[T] -> ..., or Iterator[T] -> ..."))
    if made.scope != "run" and (typing.get_origin(shape.taken) or shape.taken) is collections.abc.Iterator:
        found.append(("an iterator over the rows of a chunk is not what it gets", 'list[T], or scope="run"'))
    if made.timeout_s is not None and shape.takes == "list":
        found.append(("timeout_s is for a row, and the function gets a list of them", "annotate it as T -> U"))
    return found


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _name_of(fn: Any) -> str:
    fn = innermost(fn)
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return "apply" if name == "<lambda>" else str(name)
