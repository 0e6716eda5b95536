"""A run folder as a crash left it: what is whole is kept, and the run ends as an undisturbed one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from chainette import Chain, apply
from chainette.files import NodeOutput, RunFolder
from chainette.files.recovery import survey
from chainette.rows import Failure, InputChunk, NodeChunk
from chainette.specs import EngineSpec, default_registry
from tests.folders import IN_MEMORY, as_killed, counts, derived, made_once
from tests.models import Number
from tests.run.pipeline import ANSWERS, FAULTS, chain, items

ROWS = 14
LAYOUTS: dict[str, dict[str, Any]] = {
    "jsonl": {"chunk_size": 3, "max_lines_per_file": 4},
    "parquet": {"chunk_size": 2, "max_lines_per_file": 5, "format": "parquet"},
    "csv": {"chunk_size": 4, "max_lines_per_file": 3, "format": "csv"},
}
WHOLE = ("graph.json", "status.json", ".lock")
"""Replaced by a rename, so that they are there as they are."""


def register() -> None:
    script = {"answers": ANSWERS, "faults": FAULTS}
    default_registry.add(EngineSpec.parse({"name": "stand_in", "backend": "scripted", "script": script}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole run in each layout."""
    before = default_registry.copy()
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)  # no engines.yml here
        register()
        runs = {name: chain().run(items(ROWS), place / name, **layout).folder for name, layout in LAYOUTS.items()}
    default_registry.replace(before)
    return runs


@pytest.fixture
def image(finished: dict[str, Path], tmp_path: Path) -> Path:
    register()
    shutil.copytree(finished["jsonl"], tmp_path / "image")
    return as_killed(tmp_path / "image")


def growing(run: Path) -> list[Path]:
    """The files that a crash may leave cut: all but those that appear whole."""
    found = sorted(path for path in run.rglob("*") if path.is_file() and path.name not in WHOLE)
    return [path for path in found if path.suffix == ".jsonl"]


def goes_on(run: Path, whole: Path) -> None:
    result = chain().run(items(ROWS), resume=run)
    assert result.state == "done"
    assert derived(run) == derived(whole)
    assert counts(run) == counts(whole)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("name", LAYOUTS)
def test_from_any_prefix_of_every_file_a_run_ends_as_an_undisturbed_one(
    finished: dict[str, Path], name: str, data: st.DataObject
) -> None:
    register()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        run = as_killed(Path(shutil.copytree(finished[name], Path(place) / "run")))
        files = growing(run)
        cut = data.draw(st.sets(st.sampled_from(range(len(files))), max_size=len(files)), "files")
        for number in cut:
            size = files[number].stat().st_size
            os.truncate(files[number], data.draw(st.integers(0, size), files[number].relative_to(run).as_posix()))
        goes_on(run, finished[name])


@pytest.mark.parametrize(
    "lost",
    [
        ["commits.jsonl"],
        ["events.jsonl"],
        ["calls"],
        ["inputs"],
        ["steps"],
        ["flattened/001.jsonl"],
        ["inputs/001.jsonl"],
        ["failed/note.jsonl"],
        ["steps/note/000.jsonl", "steps/last/001.jsonl"],
        ["commits.jsonl", "steps/split/002.jsonl", "inputs/000.jsonl"],
    ],
    ids=" ".join,
)
def test_what_is_missing_is_made_again(image: Path, finished: dict[str, Path], lost: list[str]) -> None:
    for name in lost:
        shutil.rmtree(image / name) if (image / name).is_dir() else (image / name).unlink()
    goes_on(image, finished["jsonl"])


@pytest.mark.parametrize("tail", [b"\0" * 300, b'{"_id":"9', b'{"_id":"99","text":"beyond"}\n' * 3, b"\n\n"])
@pytest.mark.parametrize("below", ["steps/*", "flattened", "failed"])
def test_what_stands_behind_the_last_commit_is_cut_off(
    image: Path, finished: dict[str, Path], below: str, tail: bytes
) -> None:
    for folder in image.glob(below):
        path = max(folder.glob("*.jsonl"))
        path.write_bytes(path.read_bytes() + tail)
    goes_on(image, finished["jsonl"])


@pytest.mark.parametrize("tail", [b"\0" * 300, b'{"_id":"9'])
def test_half_a_record_at_the_end_of_the_logs_is_cut_off(image: Path, finished: dict[str, Path], tail: bytes) -> None:
    for path in [*image.glob("calls/*/*.jsonl"), *image.glob("inputs/*.jsonl"), *image.glob("*.jsonl")]:
        path.write_bytes(path.read_bytes() + tail)
    goes_on(image, finished["jsonl"])
    assert made_once(image)
    for path in image.rglob("*.jsonl"):
        assert path.read_bytes().endswith(b"}\n")


def test_empty_files_are_no_rows(image: Path, finished: dict[str, Path]) -> None:
    for path in growing(image):
        os.truncate(path, 0)
    goes_on(image, finished["jsonl"])


def test_files_that_were_about_to_take_the_place_of_others_are_swept_out(
    image: Path, finished: dict[str, Path]
) -> None:
    for name in ("steps/note/.002.parquet.tmp", "flattened/.000.jsonl.tmp", "steps/gone/000.jsonl"):
        (image / name).parent.mkdir(exist_ok=True)
        (image / name).write_bytes(b"PAR1 half")
    goes_on(image, finished["jsonl"])


def test_calls_made_after_the_log_was_cut_are_found_by_the_next_resume(image: Path, finished: dict[str, Path]) -> None:
    """Where the calls of an unfinished chunk begin is told by counts, which the cut log falls behind."""
    for path in image.glob("calls/*/*.jsonl"):
        os.truncate(path, 0)
    for last in (2, -2):
        lines = (image / "commits.jsonl").read_bytes().splitlines(keepends=True)
        closing = [number for number, line in enumerate(lines) if b'"rows_out"' in line]
        (image / "commits.jsonl").write_bytes(b"".join(lines[: closing[last] + 1]))
        goes_on(as_killed(image), finished["jsonl"])
        assert made_once(image)


def test_a_first_chunk_that_nothing_came_of_is_whole_all_the_same(tmp_path: Path) -> None:
    def none(number: Number) -> Number | None:
        return None

    run = Chain(name="c", steps=[apply(none)]).run([Number(value=1)] * 4, tmp_path / "run", chunk_size=2).folder
    found, _ = survey(run, 100_000)
    assert (found.chunk, found.count.rows) == (1, 4)


class Inner(BaseModel):
    whole: int | None = None
    shares: list[float] = []


class Rich(BaseModel):
    """Values whose text is another once they were in Parquet or CSV."""

    model_config = ConfigDict(extra="allow")

    text: str
    share: float
    at: datetime
    price: Decimal
    anything: Any = None
    maybe: int | None = None
    inner: list[Inner] = []
    table: dict[str, Any] = {}
    raw: bytes = b""
    took: timedelta = timedelta(seconds=90)


def rich(number: Number) -> Rich:
    n = number.value
    more = {"beyond": n} if n % 2 else {}
    return Rich(
        text=["a", 'q"x\n,', "é", ""][n % 4],
        share=[1.0, 1e300, -0.0, float("nan")][n % 4],
        at=datetime(2026, 1, 1, n, tzinfo=UTC),
        price=Decimal("1.50"),
        anything=[None, 1, "1", [1, {"x": 2.0}]][n % 4],
        maybe=n if n % 3 else None,
        inner=[Inner(), Inner(whole=1, shares=[1.0, 2.5])][: n % 3],
        table={"b": 1, "a": [1.0, None]},
        raw=[b"abc", b"\xff\x00"][n % 2],
        **more,
    )


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_sealed_part_grows_again_where_a_run_was_cut_back_into_it(tmp_path: Path, format: str, chunks: int) -> None:
    of, rows = Chain(name="c", steps=[apply(rich)]), [Number(value=n) for n in range(14)]
    options = {"chunk_size": 2, "max_lines_per_file": 5, "format": format}
    whole = of.run(rows, tmp_path / "whole", **options).folder
    run = as_killed(Path(shutil.copytree(whole, tmp_path / "run")))
    lines = (run / "commits.jsonl").read_bytes().splitlines(keepends=True)
    closing = [number for number, line in enumerate(lines) if b'"rows_out"' in line]
    (run / "commits.jsonl").write_bytes(b"".join(lines[: closing[chunks - 1] + 1]))

    def some(count: int) -> Iterator[Number]:
        yield from rows[:count]
        raise ValueError("gone")

    # Twice more the run ends in the middle of a part, which is sealed each time.
    for count in (2 * chunks + 1, 2 * chunks + 3):
        with pytest.raises(ValueError, match="gone"):
            of.run(some(count), resume=run)
    of.run(rows, resume=run)
    assert derived(run) == derived(whole)
    assert counts(run) == counts(whole)


@pytest.mark.parametrize("until", ["opened", "told"])
def test_an_opening_that_was_killed_while_it_opened_a_sealed_part_is_done_again(tmp_path: Path, until: str) -> None:
    of, rows = Chain(name="c", steps=[apply(rich)]), [Number(value=n) for n in range(9)]
    options = {"chunk_size": 2, "max_lines_per_file": 50, "format": "parquet"}
    whole = of.run(rows, tmp_path / "whole", **options).folder
    run = as_killed(Path(shutil.copytree(whole, tmp_path / "run")))
    sealed = {name: (run / name).read_bytes() for name in ("steps/rich/000.parquet", "flattened/000.parquet")}
    commits = (run / "commits.jsonl").read_bytes()
    folder = RunFolder.reopen(run, "r")
    folder.configure(
        [NodeOutput("rich", Rich)], format="parquet", max_lines_per_file=50, input_type=Number, flat_columns=["rich"]
    )
    folder.close(seal=False)
    for name, data in sealed.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(data)
    if until == "opened":
        (run / "commits.jsonl").write_bytes(commits)
    of.run(rows, resume=run)
    assert derived(run) == derived(whole)


def chunk(index: int, first: int, count: int) -> InputChunk:
    ids = [str(first + n) for n in range(count)]
    return InputChunk(index, first, ids, [Number(value=int(id)) for id in ids], [{"value": int(id)} for id in ids])


def write(folder: RunFolder, chunks: list[InputChunk]) -> None:
    folder.configure([NodeOutput("n", Number)], format="parquet", max_lines_per_file=3, flat_columns=["n"])
    for one in chunks[folder.before.chunk + 1 :]:
        folder.add_inputs(one)
        bad = [Failure(one.ids[-1], "n", "apply", "no")]
        made = NodeChunk("n", one.ids[:-1], one.values[:-1], bad)
        folder.add_chunk(one.index, [made], one.ids[:-1], {"n": range(len(one.ids) - 1)}, one)


@pytest.mark.parametrize("synced", [0, 1, 3, 5])
def test_open_parts_of_a_killed_run_are_gone_on_with(tmp_path: Path, synced: int) -> None:
    """What a kill leaves: whole chunks that were made durable, and rows behind them that were not."""
    chunks = [chunk(n, 3 * n, 3) for n in range(6)]
    whole = RunFolder.create(tmp_path / "whole", "c")
    write(whole, chunks)
    whole.close(seal=True)
    killed = RunFolder.create(tmp_path / "run", "c")
    write(killed, chunks[:synced])
    killed.sync()
    held = chunks[synced]
    killed.add_inputs(held)
    killed.add_chunk(held.index, [NodeChunk("n", held.ids, held.values)], held.ids, {"n": range(3)}, held, whole=False)
    image = Path(shutil.copytree(tmp_path / "run", tmp_path / "image", ignore=shutil.ignore_patterns(".lock")))
    killed.close(seal=False)
    again = RunFolder.reopen(image, "c")
    write(again, chunks)
    assert again.before.chunk == synced - 1
    again.close(seal=True)
    assert derived(image) == derived(tmp_path / "whole")
