"""Chains played over stages: by an executor, a house of engines and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from pydantic import BaseModel

from chainette import Chain, Step
from chainette.engine.protocol import Answer, Engine
from chainette.engine.scripted import ScriptedEngine
from chainette.errors import EngineDiedError, InputError
from chainette.executor import Executor, ExecutorOptions, Outcome
from chainette.executor.past import Past
from chainette.files import NodeOutput, RunFolder
from chainette.files.call_index import CallIndex
from chainette.files.inputs import open_input
from chainette.files.validate import RowValidator
from chainette.graph import INPUT_ID, Graph
from chainette.plan import Plan
from chainette.plan.plan import Stage
from chainette.run import Checked, RunOptions, check
from chainette.specs import EngineSpec, default_registry

NAMES = ("a", "b", "c")


class Item(BaseModel):
    text: str


def ask(id: str, engine: str, **fields: Any) -> Step:
    """`text` to a `text` that the stand-in makes of it."""
    prompt = fields.pop("prompt", f"{id}: {{{{ text }}}}")
    return Step(
        id=id,
        input_model=Item,
        output_model=Item,
        engine_name=engine,
        output_format_instruction="",
        user_prompt=prompt,
        **fields,
    )


def checked_chain(chain: Chain, *, lazy: bool = True, **script: Any) -> Checked:
    """Looked at with the engines of `NAMES`, which all follow the script."""
    for name in NAMES:
        fields = {"name": name, "backend": "scripted", "model": "m", "lazy": lazy, "script": script}
        default_registry.add(EngineSpec.parse(fields))
    found = check(chain, RunOptions())
    found.require()
    return found


def staged(plan: Plan, graph: Graph, turn_of: Mapping[str, int]) -> Plan:
    """The plan in stages: each step not before its turn (by its id), nor before what it is made of; a loop in one."""
    stage_of: dict[int, int] = {}
    for node in graph.nodes:
        ways = graph.nodes[node.head].ways if node.kind == "merge" else ()
        sources = {node.parent, *(branch.last for branch in node.branches), *(way.last for way in ways)} - {-1}
        outermost = node.loops[0] if node.loops else node.index
        together = {node.id, *(inner.id for inner in graph.nodes if inner.loops[:1] == (outermost,))}
        before = max((stage_of[source] for source in sources), default=0)
        stage_of[node.index] = max(before, *(turn_of.get(id, 0) for id in together))
    stages = []
    for number in range(max(stage_of.values()) + 1):
        engines = dict.fromkeys(plan.engine_of[node.index] for node in graph.steps if stage_of[node.index] == number)
        stages.append(Stage(nodes=(), engines=tuple(engines), placements={}))
    return replace(plan, stages=tuple(stages), stage_of=stage_of)


class Stand:
    """A stand-in that takes some turns of the loop for each call."""

    devices = 1

    def __init__(self, spec: EngineSpec, house: House) -> None:
        self.spec = spec
        self._inner = ScriptedEngine(spec)
        self._house = house
        self._changed: list[Callable[[], None]] = []
        self.window = house.window
        self.held_by = ""
        self.running = 0

    def follow(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def resize(self, window: int) -> None:
        self.window = window
        for changed in self._changed:
            changed()

    async def attend(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._house.said.append(f"looked after {self.spec.name}")

    def prepare(self, schema: Any, sampling: Any, adapter: Any = None) -> Any:
        return self._inner.prepare(schema, sampling, adapter)

    async def call(self, prepared: Any, messages: list[dict[str, Any]], timeout_s: float | None = None) -> Answer:
        house = self._house
        self.running += 1
        house.on_call(self)
        try:
            for _ in range(house.random.randrange(6)):
                await anyio.lowlevel.checkpoint()
            if not house.left:
                raise EngineDiedError("as it was told")
            house.left -= 1
            house.calls.append((self.spec.name, messages[-1]["content"]))
            return await self._inner.call(prepared, messages, timeout_s)
        finally:
            self.running -= 1


class House:
    """Where engines come from in these tests; notes down what happens in it."""

    def __init__(self, plan: Plan, *, window: int = 4, seed: int = 0, dies_after: int = 1 << 30) -> None:
        self.window = window
        self.random = Random(seed)
        self.left = dies_after
        self.said: list[str] = []
        """`+a` and `-a` for the leases of `a`, `later: b c`, in order."""
        self.calls: list[tuple[str, str]] = []
        self.on_call: Callable[[Stand], None] = lambda stand: None
        self.on_lease: Callable[[list[str]], None] = lambda leases: None
        self.stands = {name: Stand(spec, self) for name, spec in plan.engines.items()}

    @asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[Engine]:
        self.said.append(f"+{name}")
        try:
            yield self.stands[name]  # type: ignore[misc]
        finally:
            self.said.append(f"-{name}")
            self.on_lease(self.leases)

    def next_stage(self, now: Sequence[str], later: Sequence[str], placements: Mapping[str, Any]) -> None:
        self.said.append(" ".join(["later:", *sorted(later)]))

    @property
    def leases(self) -> list[str]:
        return [word for word in self.said if word[0] in "+-"]


class Play:
    """One chain in one folder, as often as it is begun."""

    def __init__(self, path: Path, checked: Checked, plan: Plan, rows: Sequence[Any], *, chunk_size: int = 3) -> None:
        self.path = path
        self.plan = plan
        self.executor: Executor
        self.warnings: list[str] = []
        self._checked = checked
        self._rows = rows
        self._chunk_size = chunk_size

    def go(self, house: House, open_rows: int = 8, other: Path | None = None, **options: Any) -> Outcome:
        """`breaks_after` so many chunks the input raises an error.

        Raises:
            EngineDiedError: the folder is as a clean stop leaves it.
        """
        is_new = not (self.path / "commits.jsonl").exists() and not (self.path / "calls").exists()
        folder = RunFolder.create(self.path, "c") if is_new else RunFolder.reopen(self.path, "c")
        graph = self._checked.graph
        folder.configure(
            [NodeOutput(node.id, node.output_type, node.written) for node in graph.shown],
            input_type=graph.input_type,
            flat_columns=[INPUT_ID, *(node.id for node in graph.nodes if node.written)],
        )
        past = None
        if other is not None:
            past = Past(other=CallIndex.of(other), other_run="other")
        elif not is_new:
            past = Past(own=CallIndex.of(self.path, since=folder.before.floor))
        try:
            return anyio.run(self._run, folder, house, open_rows, past, options)
        except* EngineDiedError:
            raise EngineDiedError("as it was told") from None
        finally:
            folder.close(seal=True)

    async def _run(
        self, folder: RunFolder, house: House, open_rows: int, past: Past | None, options: dict[str, Any]
    ) -> Outcome:
        before = folder.before.count
        keys = ("max_failed", "max_failed_share", "rows_total")
        settings = {key: options.pop(key) for key in keys if key in options}
        breaks_after = options.pop("breaks_after", None)
        self.executor = Executor(
            self._checked.graph,
            self.plan,
            self._checked.prompts,
            folder,
            house,
            ExecutorOptions(open_rows=open_rows, **settings),
            self._listen,
            outcome=Outcome(before, rows_read=before.rows),
            past=past,
            **options,
        )
        validate = RowValidator(self._checked.graph.input_type)
        source = open_input(list(self._rows), columns=None, model_fields=[], limit=None)

        def chunks() -> Any:
            for index, raw in enumerate(source.chunks(self._chunk_size, before.rows), folder.before.chunk + 1):
                if index == breaks_after:
                    raise InputError("line 7 is no row")
                chunk = validate.chunk(raw, index)
                folder.add_inputs(chunk)
                yield chunk

        return await self.executor.run(chunks())

    def _listen(self, event: Any) -> None:
        if type(event).__name__ == "Warned":
            self.warnings.append(event.message)
