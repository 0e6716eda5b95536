"""Time limits of steps and chains, against a server on a real socket."""

from __future__ import annotations

import threading

import pytest

from chainette import Chain, register_engine
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.errors import EngineDiedError
from chainette.events import ChunkCommitted
from chainette.run import RunOptions, run
from tests.models import Answer, Question, Summary, step

QA = step("qa", Question, Answer, output_format_instruction="", retries=0)
HANGS = Fault(kind="hang", containing="slow")


def rows(*texts):
    return [Question(text=text) for text in texts]


def the_timeout(result):
    (failure,) = result.failed
    assert failure.kind == "timeout"
    return failure


def test_when_a_rows_time_is_up_its_request_is_cancelled_at_the_server(served):
    server = served(HANGS)
    result = Chain(name="c", steps=[QA.with_(timeout_s=0.8)]).run(rows("a", "slow", "b"))
    assert server.wait_until(lambda stats: stats.in_flight == 0)
    assert (server.stats.abandoned, server.stats.answered) == (1, 2)
    assert result.outputs.ids == ["0", "2"]
    failure = the_timeout(result)
    assert (failure.row_id, failure.attempts, failure.message) == (
        "1",
        1,
        "the endpoint gave no answer within the row's time",
    )


@pytest.mark.parametrize(("timeout_s", "deadline_s"), [(0.2, 3600), (3600, 0.2), (None, 0.2), (0.2, None)])
def test_of_two_limits_the_smaller_counts(served, timeout_s, deadline_s):
    served(HANGS)
    chain = Chain(name="c", steps=[QA.with_(timeout_s=timeout_s)], deadline_s=deadline_s)
    assert the_timeout(chain.run(rows("slow"))).row_id == "0"


def test_an_invalid_answer_leaves_less_time_for_the_next_call(served):
    server = served(Fault(kind="mismatch", containing="slow", attempts=1), HANGS)
    result = Chain(name="c", steps=[QA.with_(timeout_s=0.8, retries=5)]).run(rows("slow"))
    assert the_timeout(result).attempts == 2
    assert server.stats.calls == 2


def test_a_wait_that_the_server_asks_for_counts_into_the_rows_time(served):
    server = served(Fault(kind="refuse", containing="slow", retry_after_s=3600))
    result = Chain(name="c", steps=[QA.with_(timeout_s=30)]).run(rows("slow", "a"))
    assert the_timeout(result).message == (
        "no time is left to send it again; the last: the endpoint answered 429: the script refuses with 429"
    )
    assert server.stats.calls == 2


def test_waiting_for_the_engine_counts_into_the_rows_time(served):
    served(HANGS, engine={"max_concurrency": 1})
    result = Chain(name="c", steps=[QA.with_(timeout_s=0.2)]).run(rows("slow", "a", "b"))
    assert [(f.row_id, f.kind) for f in result.failed] == [("0", "timeout"), ("1", "timeout"), ("2", "timeout")]
    assert {f.message for f in result.failed} == {"the endpoint gave no answer within the row's time"}


def test_a_chains_deadline_goes_on_from_one_step_to_the_next(served):
    server = served(Fault(kind="hang", containing="again"))
    second = step("second", Answer, Summary, "again {{ answer }}", timeout_s=3600)
    result = Chain(name="c", steps=[QA.with_(timeout_s=3600), second], deadline_s=0.8).run(rows("a"))
    assert the_timeout(result).node_id == "second"
    assert server.stats.answered == 1


def test_a_slow_row_delays_neither_the_calls_of_others_nor_the_files_of_rows_before_it(tmp_path):
    texts = [*(str(n) for n in range(5)), "slow", *(str(n) for n in range(5, 40))]
    ended = []
    committed = threading.Event()

    def watch(event):
        if isinstance(event, ChunkCommitted) and event.rows_committed == 5:
            committed.set()

    def start():
        options = RunOptions(output_dir=tmp_path / "run")
        with pytest.raises(EngineDiedError) as caught:
            run(Chain(name="c", steps=[QA], chunk_size=1), rows(*texts), options, watch)
        ended.append(caught.value)

    thread = threading.Thread(target=start)
    with scripted_server(Script(faults=(HANGS,))) as server:
        register_engine("served", backend="openai", model="m", endpoint=server.url, max_concurrency=4, max_retries=0)
        thread.start()
        assert server.wait_until(lambda stats: stats.answered == 40)
        assert committed.wait(20)
        assert server.stats.in_flight == 1
    thread.join()  # with its server the slow call ends, and the run
    assert "is gone" in str(ended[0])
