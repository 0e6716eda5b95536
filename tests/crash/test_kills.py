"""`kill -9` at random moments: the files at the end are those of a run that nobody disturbed."""

from __future__ import annotations

from random import Random

import pytest

from tests.crash import disk
from tests.crash.conftest import KILLS
from tests.crash.moments import commit
from tests.crash.play import Layout, Played, Stage, disturb, strike

pytestmark = pytest.mark.crash

WHOLE = Layout()
SMALL_PARTS = Layout("parquet", 250)
LAYOUTS = [WHOLE, WHOLE, Layout("jsonl", 150), SMALL_PARTS, SMALL_PARTS, Layout("csv", 200)]
CHUNK_SIZES = [1, 7, 32, 128, 128, 500, 5000]
SHORT = [(1, WHOLE, 7, 3), (30, SMALL_PARTS, 32, 3), (3, WHOLE, 128, 3), (29, SMALL_PARTS, 500, 3)]


def _long(kills: int) -> list[tuple[int, Layout, int, int]]:
    cases = []
    seed = 1000
    while kills > 0:
        random = Random(seed)
        count = min(kills, random.choice([1, 1, 2, 2, 3]))
        cases.append((seed, random.choice(LAYOUTS), random.choice(CHUNK_SIZES), count))
        kills -= count
        seed += 1
    return cases


@pytest.mark.parametrize(("seed", "layout", "chunk_size", "kills"), _long(KILLS) if KILLS else SHORT)
def test_a_killed_run_ends_with_the_files_of_an_undisturbed_one(
    stage: Stage, tally: list[tuple[Played, int]], seed: int, layout: Layout, chunk_size: int, kills: int
) -> None:
    tally.extend(disturb(stage, seed, layout, chunk_size, kills))


def test_a_killed_run_that_takes_its_calls_from_another_makes_none_when_it_goes_on(small_stage: Stage) -> None:
    old, _ = small_stage.undisturbed(WHOLE)
    played = Played(small_stage.fresh(), WHOLE, ["--reuse", str(old), "--chunk-size", "16"])
    before = small_stage.server.calls()
    for _ in range(2):
        strike(small_stage, played, commit(played.run))
    small_stage.finish(played)
    assert small_stage.server.calls() == before
    assert disk.derived_differ(old, played.run) == [], small_stage.story(played)
