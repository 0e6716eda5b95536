"""What engines are charged with: money by tokens, device time by the time of calls."""

from __future__ import annotations

import pytest

from chainette import Chain, register_engine
from chainette.events import EngineCount, NodeCount
from chainette.run import check
from chainette.run.costs import Costs, cost_of
from chainette.specs.engine_spec import Prices
from tests.models import Answer, Question, Summary, step

QA = step("qa", Question, Answer)
SUM_UP = step("sum_up", Answer, Summary, prompt="{{ answer }}")
COUNTS = {"qa": NodeCount(calls=3, seconds=6.0), "sum_up": NodeCount(calls=3, seconds=2.0)}


def costs(status=None, **engine):
    register_engine("served", backend="openai", model="m", endpoint="http://here/v1", **engine)
    checked = check(Chain(name="c", steps=[QA, SUM_UP]))
    checked.require()
    return Costs(checked.graph, checked.plan, status or {})


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ({"prompt": 2, "completion": 10}, 2.0 + 5.0),
        ({"prompt": 2, "completion": 10, "cached": 0.5}, 1.2 + 0.2 + 5.0),
        ({"prompt": 2, "completion": 10, "cached": 0}, 1.2 + 5.0),
        ({"prompt": 0, "completion": 0}, 0.0),
    ],
)
def test_cached_tokens_have_a_price_of_their_own_where_it_is_said(prices, cost):
    count = NodeCount(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=500_000)
    assert cost_of(count, Prices(**prices)) == pytest.approx(cost)


def test_device_time_is_live_time_by_devices_shared_by_the_time_of_calls():
    engines = {"served": EngineCount(devices=2, up_s=10.0)}
    said = costs()
    assert said.engines(COUNTS, engines)["served"]["gpu_seconds"] == 20
    assert [said.nodes(COUNTS, engines)[id]["gpu_seconds"] for id in ("qa", "sum_up")] == [15, 5]


def test_device_time_of_the_processes_before_is_kept():
    before = {"engines": {"served": {"up_s": 5.0, "gpu_seconds": 10.0}}}
    said = costs(before).engines(COUNTS, {"served": EngineCount(devices=1, up_s=2.0)})["served"]
    assert (said["up_s"], said["gpu_seconds"]) == (7.0, 12.0)


@pytest.mark.parametrize("status", [{}, {"engines": None}, {"engines": {"served": None}}, {"nodes": {"qa": {}}}])
def test_the_status_of_an_older_run_will_do(status):
    said = costs(status)
    assert said.engines(COUNTS, {})["served"]["up_s"] == 0
    assert said.cost(COUNTS) is None


def test_an_engine_without_devices_says_nothing_of_them_at_its_steps():
    assert costs().nodes(COUNTS, {"served": EngineCount(up_s=9.0)}) == {"qa": {}, "sum_up": {}}
