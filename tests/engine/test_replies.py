"""What a reply with status 200 is read as, however odd."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette.engine import CallError
from chainette.engine.replies import Place, read_answer, refuse

HERE = Place("e", "http://e", "m", "")


def body(*, usage=None, finish_reason="stop", **message):
    message = {"content": "x", **message}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage})


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "12", "completion_tokens": {}, "prompt_tokens_details": [1]},
        {"prompt_tokens": -1, "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": "8"}},
        {"prompt_tokens": 1e300, "completion_tokens": [], "prompt_tokens_details": 3},
        [1, 2],
        "12",
    ],
)
def test_a_token_count_that_is_no_number_of_tokens_counts_nothing(usage):
    answer = read_answer(body(usage=usage), HERE)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (0, 0, 0)


@pytest.mark.parametrize("said", ["length", "LENGTH", "max_tokens", "MAX_TOKENS"])
def test_an_answer_that_was_too_long_is_known_by_any_spelling(said):
    assert read_answer(body(finish_reason=said), HERE).choices[0].finish_reason == "length"


@pytest.mark.parametrize(("said", "read"), [(None, "stop"), ("tool_calls", "tool_calls"), (5, "5"), ({"a": 1}, str)])
def test_any_other_finish_reason_is_a_text(said, read):
    reason = read_answer(body(finish_reason=said), HERE).choices[0].finish_reason
    assert isinstance(reason, str) if read is str else reason == read


def test_an_answer_that_broke_off_with_an_error_is_none():
    choice = {"message": {"content": "ha"}, "finish_reason": "error", "error": {"message": "the GPU fell off"}}
    with pytest.raises(CallError, match="broke off with an error: the GPU fell off") as caught:
        read_answer(orjson.dumps({"choices": [choice]}), HERE)
    assert caught.value.kind == "http"


def test_a_byte_order_mark_does_no_harm():
    assert read_answer(b"\xef\xbb\xbf" + body(), HERE).choices[0].text == "x"


@pytest.mark.parametrize("sent", [b'data: {"choices": []}\n\n', b"<html>proxy</html>", b"Bad gateway", b"", b"\xff"])
def test_a_reply_that_is_no_json_is_called_that(sent):
    with pytest.raises(CallError, match="answered 200 with something that is no JSON"):
        read_answer(sent, HERE)


def test_reasoning_that_is_no_text_is_left_out():
    assert read_answer(body(reasoning={"steps": []}), HERE).choices[0].reasoning is None


def test_log_probabilities_that_could_not_be_written_are_left_out():
    deep = b"[" * 260 + b"]" * 260
    sent = b'{"choices": [{"message": {"content": "x"}, "logprobs": %s}]}' % deep
    assert read_answer(sent, HERE).choices[0].logprobs is None


def test_a_filtered_prompt_is_refused_whichever_status_says_so():
    said = b'{"error": {"message": "Your chosen model requires moderation and your input was flagged"}}'
    failure = refuse(403, {}, said, HERE)
    assert isinstance(failure, CallError)
    assert failure.kind == "refused"


KEYS = "choices message content finish_reason refusal usage prompt_tokens type text error reasoning".split()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "text", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
CHOICES = st.fixed_dictionaries(
    {"message": VALUES | st.fixed_dictionaries({"content": VALUES}), "finish_reason": VALUES}
)
REPLIES = VALUES | st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=2), "usage": VALUES})


@given(REPLIES)
def test_whatever_json_comes_is_an_answer_that_can_be_written_or_a_call_error(reply):
    sent = json.dumps(reply).encode()
    try:
        answer = read_answer(sent, HERE)
    except CallError:
        return
    assert all(isinstance(choice.text, str) for choice in answer.choices)
    assert orjson.dumps([answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens])


@given(st.integers(300, 599), VALUES)
def test_whatever_json_comes_with_another_status_is_a_failure(status, reply):
    assert isinstance(refuse(status, {}, json.dumps(reply).encode(), HERE), Exception)
