"""`kill -9` while failed rows are healed: the old files, or the new ones, and in the end the new ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash import disk
from tests.crash.conftest import KILLS
from tests.crash.moments import Moment, later
from tests.crash.play import FAILED_ROWS, Layout, Played, Stage
from tests.crash.said import wrongly_said
from tests.crash.server import Server, changed_script

pytestmark = pytest.mark.crash

LAYOUTS = [Layout(), Layout("jsonl", 100), Layout("parquet", 120)]
SHORT = [(2, LAYOUTS[2], 2)]
LONG = [(seed, LAYOUTS[seed % 3], 1 + seed % 4) for seed in range(100, 100 + KILLS // 10)]


@pytest.fixture(scope="module")
def flawless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers as the other one, and never badly."""
    server = Server(changed_script(tmp_path_factory.mktemp("flawless"), faults=[]))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def flawless_stage(flawless: Server, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("healed") / "stage", flawless, 600)


@pytest.mark.parametrize(("seed", "layout", "kills"), LONG or SHORT)
def test_a_killed_retry_ends_with_the_files_of_a_run_without_bad_answers(
    small_stage: Stage, flawless_stage: Stage, flawless: Server, seed: int, layout: Layout, kills: int
) -> None:
    random = Random(seed)
    old, _ = small_stage.undisturbed(layout)
    new, _ = flawless_stage.undisturbed(layout)
    played = Played(small_stage.fresh(), layout)
    shutil.copytree(old, played.run)
    stage = small_stage.at(flawless)
    for _ in range(kills):
        _kill_retry(stage, played, _moment(random, played.run))
        if random.random() < 0.4:  # what one does who does not know what it was that died
            stage.finish(played)
    program = stage.retry(played)
    assert program.end() in (FAILED_ROWS, 0), program.said()
    program.leaves_no_process()
    assert disk.derived_differ(new, played.run) == [], stage.story(played)
    assert wrongly_said(played.run) == [], stage.story(played)


def _kill_retry(stage: Stage, played: Played, moment: Moment) -> None:
    program = stage.retry(played)
    if program.until(lambda: moment.reached(program), moment.words):
        program.kill()
        played.moments.append(moment.words)
    program.leaves_no_process()


def _moment(random: Random, run: Path) -> Moment:
    before = disk.sizes(run)
    beginnings = {
        "the first change of a file": lambda: disk.sizes(run) != before,
        "new files beside the old ones": lambda: any(name.startswith(".healing/") for name in disk.files(run)),
        "the swap of new and old files": lambda: (run / ".healing" / "ready.json").exists(),
    }
    words = random.choice(list(beginnings))
    return later(words, beginnings[words], random.randrange(8 if "swap" in words else 60))
