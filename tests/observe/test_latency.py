"""Lines of `calls/` as columns, and what is typical of them."""

from __future__ import annotations

import math

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from chainette.observe.latency import CallReader, Latencies, Spread

HEAD = {"_id": "17", "key": "0" * 32, "attempt": 1}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "cached_tokens": 4}
TIMES = {"started_s": 1.7e9, "seconds": 2.0, "replica": 1, "sent": 1}


def read(*lines: bytes, step: str = "a") -> CallReader:
    reader = CallReader([step])
    reader.add(step, lines)
    return reader


def test_a_call_is_read_with_its_tokens_times_and_replica() -> None:
    line = orjson.dumps({**HEAD, "text": "x", "usage": USAGE, **TIMES, "queue_s": 0.5, "first_token_s": 1.0})
    calls = read(line).calls()
    told = {name: column[0].item() for name, column in calls.columns.items()}
    assert (told["seconds"], told["queue_s"], told["first_token_s"], told["replica"]) == (2.0, 0.5, 1.0, 1)
    assert (told["prompt_tokens"], told["completion_tokens"], told["cached_tokens"]) == (9, 3, 4)
    assert calls.made.tolist() == [True]


def test_times_that_were_not_told_are_not_zero() -> None:
    calls = read(orjson.dumps({**HEAD, "text": "x", "usage": USAGE, **TIMES})).calls()
    assert math.isnan(calls["queue_s"][0])
    times = Latencies.of(calls, calls.of_steps(["a"]))
    assert times.queue is None
    assert times.total is not None


def test_an_answer_that_looks_like_a_record_is_not_taken_for_one() -> None:
    text = orjson.dumps({**HEAD, "text": "x", "usage": USAGE, **TIMES}).decode() + ',"usage":{"prompt_tokens":7}'
    calls = read(orjson.dumps({**HEAD, "text": text, "usage": USAGE, **TIMES, "refused": [text]})).calls()
    assert (len(calls), calls["prompt_tokens"][0]) == (1, 9)


def test_calls_without_an_answer_and_of_other_runs_have_no_times_of_this_run() -> None:
    error = {**HEAD, "error": {"kind": "timeout", "message": "late"}, "sent": 3}
    reused = {**HEAD, "text": "x", "usage": USAGE, **TIMES, "reused": {"run": "other", "_id": "3"}}
    calls = read(orjson.dumps(error), orjson.dumps(reused)).calls()
    times = Latencies.of(calls, calls.of_steps(["a"]))
    assert (times.total, times.unanswered, times.untimed) == (None, 1, 1)
    assert calls["error"].tolist() == [True, False]


def test_what_python_steps_keep_is_no_call_and_half_a_line_is_counted() -> None:
    kept = orjson.dumps({**HEAD, "made": [1], "drops": [], "seconds": 3.0})
    reader = read(kept, b'{"_id":"1","key":', orjson.dumps({**HEAD, "text": "x", "usage": USAGE, **TIMES}))
    assert (len(reader.calls()), reader.damaged) == (1, 1)


def test_values_that_no_call_has_are_told_as_not_told() -> None:
    strange = {**TIMES, "seconds": "long", "replica": "http://127.0.0.1", "queue_s": 1e300}
    calls = read(orjson.dumps({**HEAD, "text": "x", "usage": {"prompt_tokens": None}, **strange})).calls()
    assert math.isnan(calls["seconds"][0])
    assert math.isnan(calls["queue_s"][0])
    assert (calls["replica"][0], calls["prompt_tokens"][0], calls.made.tolist()) == (-1, 0, [False])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_times_that_were_measured(times: list[float]) -> None:
    spread = Spread.of(np.array(times))
    assert spread is not None
    ordered = sorted(times)
    for share, value in ((0.5, spread.p50), (0.95, spread.p95), (0.99, spread.p99)):
        assert value == ordered[math.ceil(share * len(times) - 1e-9) - 1]
    assert spread.most == ordered[-1]
