"""One server and one place for all disturbed runs, and the table that the long pass ends with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from tests.crash.play import Played, Stage
from tests.crash.server import Server

KILLS = int(os.environ.get("CHAINETTE_KILLS") or 0)
"""Of the long pass; 0 is the short one."""
_TALLY = pytest.StashKey[list[tuple[Played, int]]]()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _stages(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, Stage]:
    place = tmp_path_factory.mktemp("crash")
    return Stage(place / "2000", server, 2000), Stage(place / "600", server, 600)


@pytest.fixture
def stage(_stages: tuple[Stage, Stage]) -> Iterator[Stage]:
    """Where runs of 2,000 rows are killed. A test that fails leaves no process to the next."""
    with _stages[0].emptied():
        yield _stages[0]


@pytest.fixture
def small_stage(_stages: tuple[Stage, Stage]) -> Iterator[Stage]:
    """Runs of 600 rows, for what does not depend on how many there are."""
    with _stages[1].emptied():
        yield _stages[1]


@pytest.fixture(scope="session")
def _construct_stages(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, Stage]:
    place, file = tmp_path_factory.mktemp("constructs"), Path(__file__).with_name("constructs.py")
    return Stage(place / "chain", server, 200, f"{file}:chain"), Stage(place / "mix", server, 200, f"{file}:shuffling")


@pytest.fixture
def construct_stage(_construct_stages: tuple[Stage, Stage]) -> Iterator[Stage]:
    """Runs of 200 rows through every construct."""
    with _construct_stages[0].emptied():
        yield _construct_stages[0]


@pytest.fixture
def shuffling_stage(_construct_stages: tuple[Stage, Stage]) -> Iterator[Stage]:
    """The same with rows that go on in another order each time."""
    with _construct_stages[1].emptied():
        yield _construct_stages[1]


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> list[tuple[Played, int]]:
    """Each run with its kills, and how many differences it had."""
    return pytestconfig.stash.setdefault(_TALLY, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash.get(_TALLY, [])
    if not KILLS or not tally:
        return
    write = terminalreporter.write_line
    terminalreporter.section("kills")
    write(f"{'layout':<18} {'runs':>5} {'kills':>6} {'differences':>12}   calls made twice, a kill: mean, most")
    rows = {
        layout: [(p, d) for p, d in tally if p.layout == layout] for layout in dict.fromkeys(p.layout for p, _ in tally)
    }
    for layout, played in [*rows.items(), (None, tally)]:
        name = "all" if layout is None else f"{layout.format} {layout.max_lines or ''}".strip()
        twice = [lost for run, _ in played for lost in run.unlogged]
        write(
            f"{name:<18} {len(played):>5} {len(twice):>6} {sum(d for _, d in played):>12}   "
            f"{mean(twice or [0]):.0f}, {max(twice, default=0)}"
        )
