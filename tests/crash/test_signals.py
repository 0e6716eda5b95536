"""SIGTERM, Ctrl-C and a server that dies: each leaves a folder that goes on, and no process."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import KILLS
from tests.crash.play import INTERRUPTED, STOPPED, Layout, Played, Stage
from tests.crash.program import pause
from tests.crash.server import Server, changed_script

pytestmark = pytest.mark.crash

TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
ENDS = {
    "sigterm": ([TERM], INTERRUPTED),
    "ctrl-c": ([INT], INTERRUPTED),
    "ctrl-c twice": ([INT, INT], INTERRUPTED),
    "sigterm and then kill": ([TERM, KILL], -KILL),
}
LAYOUTS = [Layout(), Layout("parquet", 120)]


@pytest.mark.parametrize("layout", LAYOUTS if KILLS else LAYOUTS[:1], ids=str)
@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_is_told_to_end_goes_on_later(small_stage: Stage, end: str, layout: Layout) -> None:
    signals, exit_code = ENDS[end]
    played = Played(small_stage.fresh(), layout)
    program = small_stage.begin_and_do(1 / 3, played)
    for number in signals:
        program.send(number)
        pause(0.003)  # two signals of a kind that come together are one
    assert program.end() in ({exit_code, INTERRUPTED} if KILL in signals else {exit_code}), program.said()
    program.leaves_no_process()
    if KILL not in signals:
        assert json.loads((played.run / "status.json").read_bytes())["state"] == "interrupted"
    small_stage.finish(played)
    assert small_stage.same(played) == [], small_stage.story(played)


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[Server]:
    """Answers as the other one, so slowly that there is time for a second program."""
    server = Server(changed_script(tmp_path, service_mean_s=0.1))
    server.start()
    yield server
    server.stop()


def test_a_cancelled_run_goes_on_later(small_stage: Stage, slow_server: Server) -> None:
    played = Played(small_stage.fresh(), Layout())
    program = small_stage.at(slow_server).begin_and_do(0.1, played)
    cancel = small_stage.cancel(played)
    assert program.end() == INTERRUPTED, program.said()
    assert cancel.end() == 0, cancel.said()
    program.leaves_no_process()
    small_stage.finish(played)
    assert small_stage.same(played) == [], small_stage.story(played)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that may die without taking the other tests' with it."""
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_stage(small_stage: Stage, own_server: Server) -> Stage:
    return small_stage.at(own_server)


def test_a_run_whose_server_dies_stops_and_goes_on_when_it_is_back(own_stage: Stage, own_server: Server) -> None:
    played = Played(own_stage.fresh(), Layout())
    program = own_stage.begin_and_do(1 / 2, played)
    own_server.kill()
    assert program.end() == STOPPED, program.said()
    program.leaves_no_process()
    assert "chainette resume" in program.said()
    own_server.start()
    own_stage.finish(played)
    assert own_stage.same(played) == [], own_stage.story(played)


def test_a_server_that_is_back_while_calls_are_tried_again_is_not_noticed(own_stage: Stage, own_server: Server) -> None:
    played = Played(own_stage.fresh(), Layout())
    own_stage.write_engines(max_retries=20, retry_wait_s=0.1)
    program = own_stage.begin_and_do(1 / 2, played)
    own_server.kill()
    own_server.start()
    program.end()
    assert own_stage.same(played) == [], own_stage.story(played)
