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
    answer = read_answer(body(usage=usage))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (0, 0, 0)


def timed(metrics):
    answer = read_answer(body()[:-1] + b',"metrics":' + orjson.dumps(metrics) + b"}")
    return answer.queue_s, answer.first_token_s


@pytest.mark.parametrize(
    ("metrics", "times"),
    [
        ({"queue_time_ms": 500, "time_to_first_token_ms": 250.0}, (0.5, 0.75)),  # from the request's arrival on
        ({"queue_time_ms": 500, "time_to_first_token_ms": None}, (0.5, None)),
        ({"queue_time_ms": None, "time_to_first_token_ms": 250.0}, (None, None)),
        ({"queue_time_ms": "500", "time_to_first_token_ms": -1}, (None, None)),
        ({}, (None, None)),
        (None, (None, None)),
        ([1], (None, None)),
    ],
)
def test_queue_and_first_token_are_read_where_a_server_tells_them(metrics, times):
    assert timed(metrics) == times


@pytest.mark.parametrize(
    ("status", "headers", "error", "crowded"),
    [
        (429, {}, {}, True),
        (529, {}, {}, True),
        (503, {"Retry-After": "1"}, {}, True),
        (503, {}, {}, False),
        (500, {"Retry-After": "1"}, {}, False),
        (408, {}, {}, False),
        (429, {}, {"code": "insufficient_quota"}, False),
    ],
)
def test_what_says_that_there_are_too_many_requests(status, headers, error, crowded):
    assert refuse(status, headers, orjson.dumps({"error": error}), HERE).crowded is crowded


@pytest.mark.parametrize("said", ["length", "LENGTH", "max_tokens", "MAX_TOKENS"])
def test_an_answer_that_was_too_long_is_known_by_any_spelling(said):
    assert read_answer(body(finish_reason=said)).choices[0].finish_reason == "length"


@pytest.mark.parametrize(("said", "read"), [(None, "stop"), ("tool_calls", "tool_calls"), (5, "5"), ({"a": 1}, str)])
def test_any_other_finish_reason_is_a_text(said, read):
    reason = read_answer(body(finish_reason=said)).choices[0].finish_reason
    assert isinstance(reason, str) if read is str else reason == read


def test_an_answer_that_broke_off_with_an_error_is_none():
    choice = {"message": {"content": "ha"}, "finish_reason": "error", "error": {"message": "the GPU fell off"}}
    with pytest.raises(CallError, match="broke off with an error: the GPU fell off") as caught:
        read_answer(orjson.dumps({"choices": [choice]}))
    assert caught.value.kind == "http"


def test_a_byte_order_mark_does_no_harm():
    assert read_answer(b"\xef\xbb\xbf" + body()).choices[0].text == "x"


@pytest.mark.parametrize("sent", [b'data: {"choices": []}\n\n', b"<html>proxy</html>", b"Bad gateway", b"", b"\xff"])
def test_a_reply_that_is_no_json_is_called_that(sent):
    with pytest.raises(CallError, match="answered 200 with something that is no JSON"):
        read_answer(sent)


def test_reasoning_that_is_no_text_is_left_out():
    assert read_answer(body(reasoning={"steps": []})).choices[0].reasoning is None


def test_log_probabilities_that_could_not_be_written_are_left_out():
    deep = b"[" * 260 + b"]" * 260
    sent = b'{"choices": [{"message": {"content": "x"}, "logprobs": %s}]}' % deep
    assert read_answer(sent).choices[0].logprobs is None


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
        answer = read_answer(sent)
    except CallError:
        return
    assert all(isinstance(choice.text, str) for choice in answer.choices)
    assert orjson.dumps([answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens])


@given(st.integers(300, 599), VALUES)
def test_whatever_json_comes_with_another_status_is_a_failure(status, reply):
    assert isinstance(refuse(status, {}, json.dumps(reply).encode(), HERE), Exception)


def body_of(message, **error):
    return orjson.dumps({"error": {"message": message, **error}})


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, body_of("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.")),
        (400, body_of("This model's maximum context length is 2048 tokens. However, your request has 8 input tokens")),
        (400, body_of("The decoder prompt (length 9000) is longer than the maximum model length of 8192.")),
        (400, body_of("Please reduce the length of the messages.", code="context_length_exceeded")),
        (400, body_of("Your input exceeds the context window of this model.")),
        (400, body_of("request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it")),
        (400, body_of("try increasing it", type="exceed_context_size_error", n_prompt_tokens=9, n_ctx=4)),
        (500, body_of("Context size has been exceeded.", type="server_error")),
        (500, body_of("the input length exceeds the context length")),
        (400, body_of("prompt is too long: 214850 tokens > 200000 maximum")),
        (400, body_of("input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000")),
        (400, body_of("Input is too long for requested model.")),
        (400, body_of("This model's maximum prompt length is 131072 but the request contains 140000 tokens.")),
        (400, body_of("The input token count (1234567) exceeds the maximum number of tokens allowed (1048576).")),
        (400, body_of("Prompt contains 40000 tokens, too large for model with 32768 maximum context length")),
        (400, body_of("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]")),
        (422, b'{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1168"}'),
        (422, b'{"error":"`inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 and 1024"}'),
        (400, b'{"object":"error","message":"This model\'s maximum context length is 6048 tokens.","code":400}'),
        (413, b'[{"error":{"message":"The input token count exceeds the maximum number of tokens allowed"}}]'),
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_the_words_of_any_server(status, sent):
    failure = refuse(status, {}, sent, HERE)
    assert isinstance(failure, CallError)
    assert failure.kind == "context_length"


def test_a_prompt_that_is_too_long_is_known_although_the_status_says_200():
    sent = body_of("the request exceeds the available context size", type="exceed_context_size_error", code=400)
    with pytest.raises(CallError) as caught:
        read_answer(sent)
    assert caught.value.kind == "context_length"


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (
            400,
            body_of("The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
        ),
        (400, body_of("The response was filtered", code="content_filter")),
        (400, body_of("?", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (400, body_of("Invalid prompt: your prompt was flagged as potentially violating our usage policy.")),
        (400, body_of("Your request was rejected as a result of our safety system.")),
        (400, body_of("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain x")),
        (400, body_of("Input data may contain inappropriate content.", code="data_inspection_failed")),
    ],
)
def test_a_declined_prompt_is_known_by_the_words_of_any_server(status, sent):
    failure = refuse(status, {}, sent, HERE)
    assert isinstance(failure, CallError)
    assert failure.kind == "refused"


def test_what_an_error_repeats_of_the_prompt_decides_nothing():
    sent = body_of("1 validation error", input="write about our content policy and the context length of models")
    failure = refuse(400, {}, sent, HERE)
    assert isinstance(failure, CallError)
    assert failure.kind == "http"


@pytest.mark.parametrize(
    "said", ["content_filter", "SAFETY", "RECITATION", "content_filter: PROHIBITED_CONTENT", "sensitive", "refusal"]
)
def test_a_filtered_answer_is_known_by_any_spelling(said):
    with pytest.raises(CallError) as caught:
        read_answer(body(finish_reason=said))
    assert caught.value.kind == "refused"


def choice_of(index, text, finish_reason="stop"):
    return {"index": index, "message": {"content": text}, "finish_reason": finish_reason}


def test_of_several_choices_only_those_that_were_filtered_are_declined():
    sent = orjson.dumps({"choices": [choice_of(0, "a"), choice_of(1, "b", "content_filter"), choice_of(2, "c")]})
    choices = read_answer(sent).choices
    assert [choice.text for choice in choices] == ["a", "b", "c"]
    assert [choice.declined for choice in choices] == [None, "the endpoint's content filter cut the answer", None]


def test_choices_come_in_the_order_of_their_numbers():
    sent = orjson.dumps({"choices": [choice_of(2, "c"), choice_of(0, "a"), choice_of(1, "b")]})
    assert [choice.text for choice in read_answer(sent).choices] == ["a", "b", "c"]
