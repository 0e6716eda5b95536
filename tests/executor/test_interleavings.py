"""Whatever call ends first, and wherever the run is cut off, the files are the same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainette import Chain, ScanItem, scan
from chainette.engine.protocol import Answer, Engine
from chainette.engine.scripted import ScriptedEngine
from chainette.errors import EngineDiedError
from chainette.executor import Executor, ExecutorOptions, Outcome
from chainette.executor.past import Past
from chainette.files import NodeOutput, RunFolder
from chainette.files.call_index import CallIndex
from chainette.files.inputs import open_input
from chainette.files.validate import RowValidator
from chainette.graph import INPUT_ID
from chainette.run import Checked, RunOptions, check
from chainette.specs import EngineSpec, default_registry
from tests.folders import IN_MEMORY, derived, made_once
from tests.models import step
from tests.run.looping import PLAIN, Final, Sum, every_construct, tasks
from tests.run.pipeline import ANSWERS, FAULTS, chain, items

IN_LOOPS = [{"kind": "mismatch", "containing": text} for text in ("in turn 2", "page 3.1", "vote on task 2 ", "then é")]
SPEC = EngineSpec.parse(
    {
        "name": "stand_in",
        "backend": "scripted",
        "model": "m",
        "script": {"answers": ANSWERS, "faults": [*FAULTS, *IN_LOOPS]},
    }
)


def with_a_story() -> Chain:
    """Every construct, and a carry through the rows that come out, one by one."""
    body = step("digest", ScanItem[Sum, Final], Sum, "{{ carry.summary }} then {{ item.text }}", **PLAIN)
    return Chain("story", [every_construct(), scan([body], over=None, init=Sum(summary="once"), id="story")])


Work = tuple[list[Any], Checked]
"""Rows, and the chain for them, looked at."""


class AnyOrder:
    """Answers as the stand-in does, each call after some turns of the loop; dies after so many calls."""

    def __init__(self, window: int, random: Random, dies_after: int) -> None:
        self.spec = SPEC
        self.window = window
        self.held_by = ""
        self._inner = ScriptedEngine(SPEC)
        self._random = random
        self._left = dies_after

    def follow(self, changed: Any) -> None:
        """Its window stays."""

    async def attend(self) -> None:
        """Nothing needs looking after."""

    def prepare(self, schema: Any, sampling: Any, adapter: Any = None) -> Any:
        return self._inner.prepare(schema, sampling, adapter)

    async def call(self, prepared: Any, messages: list[dict[str, Any]], timeout_s: float | None = None) -> Answer:
        for _ in range(self._random.randrange(12)):
            await anyio.lowlevel.checkpoint()
        if not self._left:
            raise EngineDiedError("as it was told")
        self._left -= 1
        return await self._inner.call(prepared, messages, timeout_s)

    @asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[Engine]:
        yield self  # type: ignore[misc]

    def next_stage(self, now: Any, later: Any, placements: Any) -> None:
        pass


class Played:
    """The pipeline in a folder, by an engine and an executor and nothing else."""

    def __init__(self, path: Path, work: Work, chunk_size: int, max_lines: int) -> None:
        self.path = path
        self._rows, self._checked = work
        self._chunk_size = chunk_size
        self._max_lines = max_lines

    def play(self, engine: AnyOrder, open_rows: int) -> None:
        """
        Raises:
            EngineDiedError: the folder is as a clean stop leaves it.
        """
        is_new = not (self.path / "commits.jsonl").exists() and not (self.path / "calls").exists()
        folder = RunFolder.create(self.path, "c") if is_new else RunFolder.reopen(self.path, "c")
        graph = self._checked.graph
        columns = [INPUT_ID, *(node.id for node in graph.nodes if node.written)]
        folder.configure(
            [NodeOutput(node.id, node.output_type, node.written) for node in graph.shown],
            max_lines_per_file=self._max_lines,
            input_type=graph.input_type,
            flat_columns=columns,
        )
        past = None if is_new else Past(own=CallIndex.of(self.path, since=folder.before.floor))
        try:
            anyio.run(self._run, folder, engine, open_rows, past)
        except* EngineDiedError:
            raise EngineDiedError("as it was told") from None
        finally:
            folder.close(seal=True)

    async def _run(self, folder: RunFolder, engine: AnyOrder, open_rows: int, past: Past | None) -> None:
        checked = self._checked
        before = folder.before.count
        executor = Executor(
            checked.graph,
            checked.plan,
            checked.prompts,
            folder,
            engine,
            ExecutorOptions(open_rows=open_rows),
            outcome=Outcome(before, rows_read=before.rows),
            past=past,
        )
        validate = RowValidator(checked.graph.input_type)
        source = open_input(self._rows, columns=None, model_fields=[], limit=None)

        def chunks() -> Any:
            for index, raw in enumerate(source.chunks(self._chunk_size, before.rows), folder.before.chunk + 1):
                chunk = validate.chunk(raw, index)
                folder.add_inputs(chunk)
                yield chunk

        await executor.run(chunks())


@pytest.fixture(scope="module", params=["straight", "every construct"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Work:
    before = default_registry.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))  # no engines.yml here
        default_registry.add(SPEC)
        found = check(chain() if request.param == "straight" else with_a_story(), RunOptions())
    default_registry.replace(before)
    found.require()
    return (items(12) if request.param == "straight" else tasks(12)), found


@pytest.fixture(scope="module")
def expected(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, bytes]]:
    """The files with so many lines a part, made row by row."""
    known: dict[int, dict[str, bytes]] = {}

    def files(max_lines: int) -> dict[str, bytes]:
        if max_lines not in known:
            path = tmp_path_factory.mktemp("expected") / "run"
            Played(path, work, 1, max_lines).play(AnyOrder(1, Random(0), 10_000), 1)
            known[max_lines] = derived(path)
        return known[max_lines]

    return files


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chunk_size=st.integers(1, 13),
    window=st.integers(1, 9),
    open_rows=st.integers(1, 20),
    max_lines=st.sampled_from([1, 2, 3, 5, 100]),
    seed=st.integers(0, 10_000),
    ends=st.lists(st.integers(0, 90), max_size=3),
)
def test_neither_order_nor_window_nor_chunks_nor_cuts_change_a_byte(
    work: Work,
    expected: Callable[[int], dict[str, bytes]],
    chunk_size: int,
    window: int,
    open_rows: int,
    max_lines: int,
    seed: int,
    ends: list[int],
) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        played = Played(Path(place) / "run", work, chunk_size, max_lines)
        for dies_after in (*ends, 10_000):
            try:
                played.play(AnyOrder(window, random, dies_after), open_rows)
            except EngineDiedError:
                continue
            break
        assert derived(played.path) == expected(max_lines)
        assert made_once(played.path)
