"""What a run uses and costs: tokens, times and money in the files, and limits that hold over all of a chain."""

from __future__ import annotations

import json

import pytest

from chainette import Branch, Chain, register_engine
from chainette.cli.summary import plain_summary
from chainette.cli.wording import PLAIN
from chainette.engine.scripted import Fault
from chainette.errors import EngineDiedError
from chainette.events import RunFinished
from chainette.run import RunOptions, run
from tests.models import Answer, Question, Summary, step

QA = step("qa", Question, Answer, output_format_instruction="", retries=0)
SUM_UP = step("sum_up", Answer, Summary, output_format_instruction="", retries=0)
ANSWERS = {"Q ": {"answer": "A B", "confidence": 1}, "A B": {"summary": "T"}}
PRICES = {"prompt": 1_000, "completion": 10_000, "cached": 100}


def rows(count):
    return [Question(text=f"Q {number}") for number in range(count)]


def chain():
    return Chain(name="c", steps=[QA.with_(user_prompt="{{ text }}"), SUM_UP.with_(user_prompt="{{ answer }}")])


def status_of(result):
    return json.loads((result.folder / "status.json").read_text(encoding="utf-8"))


def calls_of(result, id="qa"):
    return [json.loads(line) for line in (result.folder / "calls" / id / "000.jsonl").read_text().splitlines()]


def test_tokens_are_summed_per_step_and_per_engine_those_from_the_cache_too(served):
    served(answers=ANSWERS, cached_share=0.5)
    status = status_of(chain().run(rows(4)))
    calls = [status["nodes"][id] for id in ("qa", "sum_up")]
    assert [node["cached_tokens"] for node in calls] == [4, 4]
    engine = status["engines"]["served"]
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "calls"):
        assert engine[name] == sum(node[name] for node in calls)
    assert engine["cached_tokens"] == status["cached_tokens"] == 8


def test_prices_make_a_cost_per_step_per_engine_and_for_the_run(served):
    served(engine={"prices": PRICES}, answers=ANSWERS, cached_share=0.5)
    status = status_of(chain().run(rows(4)))
    for node in (status["nodes"]["qa"], status["nodes"]["sum_up"]):
        fresh = node["prompt_tokens"] - node["cached_tokens"]
        worth = fresh * 1_000 + node["cached_tokens"] * 100 + node["completion_tokens"] * 10_000
        assert node["cost"] == pytest.approx(worth / 1e6)
    whole = status["nodes"]["qa"]["cost"] + status["nodes"]["sum_up"]["cost"]
    assert status["cost"] == status["engines"]["served"]["cost"] == pytest.approx(whole)


def test_without_prices_nothing_is_said_of_costs(served):
    served(answers=ANSWERS)
    status = status_of(chain().run(rows(2)))
    assert "cost" not in json.dumps(status)


def test_the_summary_says_what_the_run_cost(served):
    served(engine={"prices": {"prompt": 0, "completion": 250_000}}, answers=ANSWERS)
    said = []
    run(chain(), rows(2), RunOptions(), said.append)
    [finished] = [event for event in said if isinstance(event, RunFinished)]
    tokens = sum(node.completion_tokens for node in finished.nodes.values())
    assert finished.cost == tokens / 4
    assert f"cost {tokens / 4:.2f}" in plain_summary(finished, PLAIN, 200)
    assert finished.engines["served"].cost == finished.cost


def test_calls_that_are_reused_cost_nothing(served):
    served(engine={"prices": PRICES}, answers=ANSWERS)
    first = chain().run(rows(3))
    assert status_of(first)["cost"] > 0
    assert status_of(chain().run(rows(3), reuse=first.folder))["cost"] == 0


def test_a_resumed_run_costs_what_an_undisturbed_one_costs(engine, tmp_path):
    def stand_in(**script):
        register_engine("stand_in", backend="scripted", prices=PRICES, script={"answers": ANSWERS, **script})

    stand_in(die_after=5)
    with pytest.raises(EngineDiedError):
        chain().run(rows(6), tmp_path / "run", chunk_size=2)
    stand_in()
    resumed = chain().run(rows(6), resume=tmp_path / "run")
    whole = chain().run(rows(6))
    assert status_of(resumed)["cost"] == status_of(whole)["cost"]


def test_calls_tell_queue_and_first_token_where_the_server_does(served):
    served(answers=ANSWERS, metrics=True, service_mean_s=0.01, slots=1)
    calls = calls_of(chain().run(rows(3)))
    assert max(call["queue_s"] for call in calls) > 0.005
    assert all(call["first_token_s"] >= call["queue_s"] + 0.0009 for call in calls)
    assert all(call["seconds"] >= call["first_token_s"] for call in calls)


def test_calls_say_nothing_of_times_the_server_keeps_to_itself(served):
    served(answers=ANSWERS)
    assert not {"queue_s", "first_token_s"} & calls_of(chain().run(rows(1)))[0].keys()


def test_one_request_limit_holds_over_the_steps_of_a_chain(served):
    server = served(engine={"requests_per_minute": 2}, answers=ANSWERS)
    steps = [QA.with_(user_prompt="{{ text }}", timeout_s=0.2), SUM_UP.with_(user_prompt="{{ answer }}", timeout_s=0.2)]
    result = Chain(name="c", steps=steps).run(rows(1))
    assert server.stats.calls == 1
    assert [(failure.node_id, failure.kind) for failure in result.failed] == [("sum_up", "timeout")]


def test_one_request_limit_holds_over_branches(served):
    server = served(engine={"requests_per_minute": 2}, answers=ANSWERS)
    branches = [
        Branch(name=name, steps=[QA.with_(id=name, user_prompt=f"{{{{ text }}}} {name}", timeout_s=0.2)])
        for name in ("fr", "es")
    ]
    result = Chain(name="c", steps=[branches]).run(rows(1))
    assert server.stats.calls == 1
    assert [failure.kind for failure in result.failed] == ["timeout"]


def test_a_storm_of_429_costs_time_and_no_row(served):
    server = served(
        engine={"retry_wait_s": 0.005, "max_concurrency": 64}, answers=ANSWERS, most_in_flight=6, service_mean_s=0.002
    )
    result = chain().run(rows(200))
    assert (len(result.outputs), len(result.failed)) == (200, 0)
    assert server.stats.statuses[429] > 0


def test_a_row_refused_by_4xx_fails_after_one_call(served):
    server = served(answers=ANSWERS, faults=[Fault(kind="refuse", status=422, containing="Q 1")])
    result = chain().run(rows(3))
    assert [(failure.row_id, failure.kind) for failure in result.failed] == [("1", "http")]
    assert server.stats.statuses[422] == 1
