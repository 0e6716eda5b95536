"""A call as `calls/` holds it, there and back."""

from __future__ import annotations

from chainette.engine.protocol import Answer, CallError, Choice
from chainette.executor.call_record import error_record, is_whole, outcome_of, record_of, reused_record


def test_what_an_answer_took_comes_back_as_it_was():
    answer = Answer([Choice("x", "stop")], 7, 3, cached_tokens=5, seconds=0.5, queue_s=0.1, first_token_s=0.2)
    record = record_of("0", "k", 1, answer, ())
    assert (record["queue_s"], record["first_token_s"]) == (0.1, 0.2)
    assert is_whole(record)
    assert outcome_of(record) == answer


def test_a_record_from_before_these_figures_is_whole():
    record = {"_id": "0", "key": "k", "attempt": 1, "text": "x", "finish_reason": "stop", "usage": {"prompt_tokens": 7}}
    assert is_whole(record)
    outcome = outcome_of(record)
    assert isinstance(outcome, Answer)
    assert (outcome.cached_tokens, outcome.queue_s, outcome.first_token_s) == (0, None, None)


def test_a_call_in_a_loop_says_its_turn_and_one_that_is_taken_over_its_own():
    answer = Answer([Choice("x", "stop")], 7, 3)
    record = record_of("0", "k", 1, answer, (), turns=(2,))
    assert list(record)[:4] == ["_id", "key", "attempt", "turn"]
    assert record["turn"] == 2
    assert error_record("0", "k", 1, CallError("http", "no"), turns=(2, 1))["turn"] == [2, 1]
    assert reused_record(record, "5", "run", turns=(3,)) == {**record, "_id": "5", "turn": 3} | {
        "reused": {"run": "run", "_id": "0"}
    }
    assert "turn" not in reused_record(record, "5", "run")
    assert is_whole(record)
    assert outcome_of(record) == answer
