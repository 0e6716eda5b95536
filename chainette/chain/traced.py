"""The traced form: `@chain` makes a chain of a plain function by calling it once on handles.

`chainette.chain` is this package and the decorator too: the package can be called (see `chain/__init__.py`), so that
`from chainette import chain` and `from chainette.chain import Step` mean what they say, in whatever order.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, overload

from pydantic import BaseModel, TypeAdapter, ValidationError

from chainette.chain.apply import Apply
from chainette.chain.chain import Chain
from chainette.chain.step import Step
from chainette.chain.tracing import Trace, current_trace, traced_now, tracing
from chainette.chain.tracing_places import place_of, users_frame, users_place
from chainette.chain.weaving import weave
from chainette.errors import ChainError, ChainetteError, Problem, nearest


class TracedChain(Chain):
    """A chain whose steps are what a function calls. Made by `@chain`.

    The function is called once, when the steps are first asked for. Its first parameter is the row; the others are
    parameters of the chain, real values within the function: see `with_params`.
    """

    function: Callable[..., Any]
    params: Mapping[str, Any]
    """The parameters that have a value: what was said, else the default."""
    _given: Mapping[str, Any]
    _first: str
    _others: Mapping[str, inspect.Parameter]
    _namespace: Mapping[str, Any]

    def __init__(
        self,
        function: Callable[..., Any],
        fields: Mapping[str, Any],
        params: Mapping[str, Any],
        namespace: Mapping[str, Any],
    ) -> None:
        plain = Chain(name=fields["name"], steps=(), **{k: v for k, v in fields.items() if k != "name"})
        first, others = _parameters(function, plain.name)
        defaults = {p.name: p.default for p in others.values() if p.default is not p.empty}
        for name, value in {
            "name": plain.name,
            "chunk_size": plain.chunk_size,
            "deadline_s": plain.deadline_s,
            "metadata": plain.metadata,
            "function": function,
            "params": MappingProxyType({**defaults, **params}),
            "_given": dict(params),
            "_first": first,
            "_others": others,
            "_namespace": namespace,
            "__doc__": function.__doc__,
            "__wrapped__": function,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def steps(self) -> Sequence[Any]:
        """
        Raises:
            ChainError: the function cannot be traced; names its line.
        """
        return self._traced

    @property
    def input_model(self) -> Any:
        """The annotation of the function's first parameter."""
        hints = self._hints
        if self._first not in hints:
            message = f"the row, parameter {self._first}, has no annotation"
            raise ChainError(Problem(self._where, message, f"def {self.name}({self._first}: Model) -> …"))
        return hints[self._first]

    def with_params(self, **params: Any) -> TracedChain:
        """This chain with these parameters of its function, cast to their annotations.

        Raises:
            ChainError: the function has no such parameter, or the value does not fit.
        """
        unknown = sorted(set(params) - set(self._others))
        if unknown:
            known = nearest(unknown[0], self._others) or "it takes none"
            raise ChainError(Problem(self._where, f"no parameter {unknown[0]}", known))
        cast = {name: self._cast(name, value) for name, value in params.items()}
        return TracedChain(self.function, self._fields(), {**self._given, **cast}, self._namespace)

    def for_params(self, params: Mapping[str, Any]) -> Chain:
        taken = {name: value for name, value in params.items() if name in self._others}
        return self.with_params(**taken) if taken else self

    def with_(self, **changes: Any) -> Chain:
        known = self._fields()
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ChainError(Problem(self._where, f'cannot change "{unknown[0]}"', nearest(unknown[0], known)))
        return TracedChain(self.function, {**known, **changes}, self._given, self._namespace)

    def __repr__(self) -> str:
        said = "".join(f", {name}={value!r}" for name, value in self._given.items())
        return f"TracedChain({self.name!r}{said})"

    @functools.cached_property
    def _traced(self) -> tuple[Any, ...]:
        wanting = [name for name in self._others if name not in self.params]
        if wanting:
            message, hint = f"parameter {wanting[0]} has no value", f"{self.name}.with_params({wanting[0]}=…)"
            if current_trace() is not None:  # parameters of the run are the outermost function's
                raise ChainError(Problem(users_place(), f'chain "{self.name}": {message}', f"{hint}(row)"))
            raise ChainError(Problem(self._where, message, f"--param {wanting[0]}=…, or {hint}"))
        if traced_now(self.function):
            hint = "while_loop(steps, until, …)(row) repeats steps"
            raise ChainError(Problem(users_place(), f'chain "{self.name}" calls itself', hint))
        _ = self.input_model  # says what is wrong with it before the function is called
        hints = self._hints
        trace = Trace(self.name, self.function, self._place)
        handle = trace.handle(f'input "{self._first}"', self._place)
        signature = inspect.signature(self.function)
        bound = signature.bind_partial(handle)
        bound.arguments.update({name: self.params[name] for name in self._others})
        with tracing(trace):
            try:
                returned = self.function(*bound.args, **bound.kwargs)
            except ChainetteError:
                raise
            except Exception as error:
                raise self._raised(error) from error
        result = trace.result_of(returned)
        self._check_annotation(hints.get("return", Any), trace.calls[result].node)
        return weave(trace.calls, result)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        function = self.function
        try:
            around: Mapping[str, Any] = inspect.getclosurevars(function).nonlocals
        except (TypeError, ValueError):  # a cell that is not filled
            around = {}
        try:
            names = {**self._namespace, **around, **getattr(function, "__globals__", {})}
            return typing.get_type_hints(function, localns=names, include_extras=True)
        except Exception as error:  # a string annotation is code of the user's
            message = f"an annotation cannot be read: {type(error).__name__}: {error}"
            raise ChainError(Problem(self._where, message, "define the models at the top of the module")) from None

    @property
    def _place(self) -> str:
        code = self.function.__code__
        return place_of(code.co_filename, code.co_firstlineno)

    @property
    def _where(self) -> str:
        return f'chain "{self.name}" ({self._place})'

    def _fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "chunk_size": self.chunk_size,
            "deadline_s": self.deadline_s,
            "metadata": self.metadata,
        }

    def _cast(self, name: str, value: Any) -> Any:
        annotation = self._hints.get(name, Any)
        try:
            adapter = TypeAdapter(annotation)
        except Exception:  # a type pydantic knows nothing of: taken as it is
            return value
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            if isinstance(value, str):  # the command line has texts only
                try:
                    return adapter.validate_json(value)
                except ValidationError:
                    pass
            message = f"parameter {name} cannot be {value!r}: {error.errors()[0]['msg']}"
            raise ChainError(Problem(self._where, message)) from None

    def _check_annotation(self, wanted: Any, node: Any) -> None:
        """Only where it is plain that the function gives something else than it says."""
        given: Any = None
        if isinstance(node, Step):
            given = node.output_model
        elif isinstance(node, Apply) and node.shape.declared:
            given = node.shape.output_type
        models = [isinstance(one, type) and issubclass(one, BaseModel) for one in (wanted, given)]
        if all(models) and not issubclass(given, wanted):
            message = f"says it gives {wanted.__name__}, but returns the row of {node!r}"
            raise ChainError(Problem(self._where, message, f"-> {given.__name__}"))

    def _raised(self, error: Exception) -> ChainError:
        line, frames = self._place, error.__traceback__
        while frames is not None:
            if frames.tb_frame.f_code is self.function.__code__:
                line = place_of(frames.tb_frame.f_code.co_filename, frames.tb_lineno)
            frames = frames.tb_next
        message = f'chain "{self.name}" raised {type(error).__name__} while it was traced: {error}'
        return ChainError(Problem(line, message, "rows are not there yet; apply(fn)(row) works with their values"))


@overload
def chain(function: Callable[..., Any], /) -> TracedChain: ...
@overload
def chain(
    *,
    name: str | None = None,
    chunk_size: int | None = None,
    deadline_s: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], TracedChain]: ...
def chain(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    chunk_size: int | None = None,
    deadline_s: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> TracedChain | Callable[[Callable[..., Any]], TracedChain]:
    """A chain of a plain function whose body calls steps, applies, control flow and chains on its row.

    ```python
    @chain
    def pipeline(doc: Document, tone: str = "plain") -> Report:
        facts = extract(doc)
        return report(facts=facts, fr=french(doc))
    ```

    The first parameter is the row, and its annotation the chain's input model; further ones are parameters of the
    chain, given by `with_params`, `--param` or `run(params=...)`. Fields are those of `Chain`; the name is the
    function's.

    Raises:
        ChainError: no function, or one without a parameter for the row. What is wrong in its body is found when its
            steps are first asked for.
    """
    namespace = users_frame().f_locals

    def decorate(function: Callable[..., Any]) -> TracedChain:
        if not inspect.isfunction(function):
            raise ChainError(Problem("@chain", f"needs a function, not {function!r}", "Chain(name=…, steps=[…])"))
        fields = {
            "name": function.__name__ if name is None else name,
            "chunk_size": chunk_size,
            "deadline_s": deadline_s,
            "metadata": metadata or {},
        }
        return TracedChain(function, fields, {}, {} if namespace is function.__globals__ else namespace)

    return decorate if function is None else decorate(function)


def _parameters(function: Callable[..., Any], name: str) -> tuple[str, dict[str, inspect.Parameter]]:
    """The row's name, and the parameters of the chain."""
    where = f'chain "{name}"'
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ChainError(Problem(where, "must be a plain function: def, without await and yield"))
    if inspect.isasyncgenfunction(function):
        raise ChainError(Problem(where, "must be a plain function: def, without await and yield"))
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise ChainError(Problem(where, "has no parameter for the row", f"def {name}(row: Model) -> …"))
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ChainError(Problem(where, f"cannot take {parameter}", "name each parameter"))
    return parameters[0].name, {parameter.name: parameter for parameter in parameters[1:]}
