"""`kill -9` in the midst of every construct: the files at the end are those of a run that nobody disturbed."""

from __future__ import annotations

from random import Random

import pytest

from tests.crash import disk
from tests.crash.conftest import KILLS
from tests.crash.play import Layout, Played, Stage, disturb

pytestmark = pytest.mark.crash

WHOLE = Layout()
SMALL_PARTS = Layout("parquet", 60)
LAYOUTS = [WHOLE, WHOLE, Layout("jsonl", 40), SMALL_PARTS]
CHUNK_SIZES = [1, 7, 16, 32, 64, 500]
SHORT = [(12, SMALL_PARTS, 16, 3)]


def _long(kills: int) -> list[tuple[int, Layout, int, int]]:
    cases = []
    for seed in range(4000, 4000 + kills):
        random = Random(seed)
        count = min(kills, random.choice([1, 2, 2, 3, 4]))
        cases.append((seed, random.choice(LAYOUTS), random.choice(CHUNK_SIZES), count))
        kills -= count
        if kills <= 0:
            break
    return cases


@pytest.mark.parametrize(("seed", "layout", "chunk_size", "kills"), _long(KILLS // 2) if KILLS else SHORT)
def test_a_run_killed_in_the_midst_of_control_flow_ends_with_the_files_of_an_undisturbed_one(
    construct_stage: Stage, tally: list[tuple[Played, int]], seed: int, layout: Layout, chunk_size: int, kills: int
) -> None:
    tally.extend(disturb(construct_stage, seed, layout, chunk_size, kills))


@pytest.mark.parametrize("seed", range(6000, 6000 + KILLS // 20) if KILLS else [1])
def test_an_order_that_is_different_each_time_is_the_same_after_a_kill(
    shuffling_stage: Stage, tally: list[tuple[Played, int]], seed: int
) -> None:
    for played, differences in disturb(shuffling_stage, seed, WHOLE, 16, 2, disk.differences_but_for_order):
        tally.append((played, differences))
        before = disk.ids(played.run, "echo")
        order = [before[place] for place in disk.recorded_order(played.run, "shuffled")]
        assert disk.ids(played.run, "shuffled") == order, shuffling_stage.story(played)
        left = set(disk.ids(played.run, "last"))
        assert disk.ids(played.run, "last") == [id for id in order if id in left]
