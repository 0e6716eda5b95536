"""`Chain`: what runs after what. Pure data, but for the methods that hand it to `chainette.run`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chainette.chain.apply import Apply
from chainette.chain.branch import Branch
from chainette.chain.operators import Composable, flat
from chainette.chain.step import Step, is_duration
from chainette.errors import ChainError, Problem, nearest
from chainette.specs import EngineSpec

if TYPE_CHECKING:
    from chainette.run import RunResult, Stream


@dataclass(frozen=True, eq=False)
class Chain(Composable):
    """Steps, applies, chains and groups of branches, in order."""

    name: str
    steps: Sequence[Any]
    input_model: Any = None
    """The type of a row as it comes in. None: what the first node takes."""
    chunk_size: int | None = None
    """Rows that are read, given to list functions and committed together. None: 128, without LLM steps 1,024."""
    deadline_s: float | None = None
    """For one row, from its first call to its last."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    engines: Sequence[EngineSpec | str] = ()
    """Engines that the chain brings along; they come before those of `engines.yml`, after those of a file that is
    named (`-f`). A name alone is an engine that must be there. A step that names none takes the only one."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ChainError(Problem("chain", "needs a `name` that is not blank"))
        if isinstance(self.steps, (str, Step, Apply, Branch, Chain)) or not isinstance(self.steps, Sequence):
            raise ChainError(Problem(f'chain "{self.name}"', "steps must be a list", "steps=[step]"))
        if self.chunk_size is not None and not (isinstance(self.chunk_size, int) and self.chunk_size >= 1):
            raise ChainError(
                Problem(f'chain "{self.name}"', f"chunk_size must be a whole number from 1, not {self.chunk_size!r}")
            )
        if not is_duration(self.deadline_s):
            message = f"deadline_s must be a positive number of seconds, not {self.deadline_s!r}"
            raise ChainError(Problem(f'chain "{self.name}"', message))
        if not isinstance(self.metadata, Mapping):
            raise ChainError(Problem(f'chain "{self.name}"', f"metadata must be a mapping, not {self.metadata!r}"))
        if isinstance(self.engines, str) or not all(isinstance(one, EngineSpec | str) for one in self.engines):
            message = f"engines must be a list of EngineSpec or names, not {self.engines!r}"
            raise ChainError(Problem(f'chain "{self.name}"', message))
        object.__setattr__(self, "steps", flat(self.steps))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        object.__setattr__(self, "engines", tuple(self.engines))

    @classmethod
    def from_yaml(cls, file: str | os.PathLike[str]) -> Chain:
        """The chain that a YAML file declares. Modules are looked for in its folder first, then where Python looks.

        Raises:
            ChainError: with all that is wrong, each with line and place: `chain.yml:12 steps[0][1].join`.
        """
        from chainette.chain.yaml_reader import read_chain

        return read_chain(file)

    def run(self, inputs: Any, output_dir: Any = None, **options: Any) -> RunResult:
        """Runs the whole of `inputs`; blocks until the last row is on disk.

        `inputs` is an iterable of models or dicts, or anything `chainette run -i` takes. `options` are the fields of
        `chainette.run.RunOptions`.

        Raises:
            ChainError: the chain, an engine name or an option is wrong; no engine was started.
            InputError: a row does not fit; names its place and field.
            EngineError: an engine did not start, or died; what was finished is in the folder.

        Too many failed rows (`max_failed`) do not raise: see `RunResult.state` and `RunResult.message`.
        """
        from chainette.run import run_chain

        return run_chain(self, inputs, output_dir=output_dir, **options)

    async def arun(self, inputs: Any, output_dir: Any = None, **options: Any) -> RunResult:
        """`run` for code that has an event loop."""
        from chainette.run import arun_chain

        return await arun_chain(self, inputs, output_dir=output_dir, **options)

    def stream(self, inputs: Any, output_dir: Any = None, **options: Any) -> Stream:
        """The last node's models as they come, in input order, or as they finish with `as_completed=True`.

        For `async for`, or `async with` around it. With `with_ids=True` pairs of (row id, model). Failed rows are left
        out; they are in the folder. Leaving the loop cancels the calls in flight and leaves valid files.
        """
        from chainette.run import stream_chain

        return stream_chain(self, inputs, output_dir=output_dir, **options)

    def with_(self, **changes: Any) -> Chain:
        """A copy with these fields changed; this chain stays as it is."""
        known = {f.name for f in dataclasses.fields(Chain)}
        unknown = sorted(set(changes) - known)
        if unknown:
            where = f'chain "{self.name}"'
            raise ChainError([Problem(where, f'has no field "{name}"', nearest(name, known)) for name in unknown])
        return dataclasses.replace(self, **changes)

    def for_params(self, params: Mapping[str, Any]) -> Chain:
        """The chain that a run with these `params` runs. A traced chain takes those that its function has."""
        return self

    def _call(self, value: Any, *, takes_list: bool = False) -> Any:
        """What becomes of one row; see `Composable.__call__`."""
        from chainette.run import call_chain

        return call_chain(self, value, takes_list=takes_list)

    def __repr__(self) -> str:
        return f"Chain({self.name!r}, {len(self.steps)} steps)"
