"""The client of an OpenAI-compatible endpoint, against the scripted server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import orjson
import pytest

from chainette.engine import CallError, openai
from chainette.engine.endpoint import EndpointEngine
from chainette.engine.replies import read_answer, retry_after_s
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.errors import EngineError
from chainette.specs import EngineSpec, SamplingParams
from tests.engine.conftest import SCHEMA, ask

pytestmark = pytest.mark.anyio

EVERY_FIELD = SamplingParams(
    n=2,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    min_p=0.1,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    repetition_penalty=1.1,
    seed=7,
    stop=["END"],
    stop_token_ids=[1],
    include_stop_str_in_output=True,
    bad_words=["no"],
    ignore_eos=True,
    max_tokens=50,
    min_tokens=2,
    prompt_logprobs=1,
    allowed_token_ids=[5],
    skip_special_tokens=False,
    spaces_between_special_tokens=True,
    truncate_prompt_tokens=100,
)


async def test_an_answer_carries_text_usage_finish_reason_and_times(connect):
    before = time.time()
    with scripted_server(Script(answers={"kettle": {"product": "kettle"}}, service_mean_s=0.01)) as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(None, SamplingParams()), ask("a kettle"))
    assert answer.choices[0].text == '{"product":"kettle"}'
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.prompt_tokens, answer.completion_tokens, answer.sent) == (2, 1, 1)
    assert before <= answer.started_s <= time.time()
    assert 0.01 <= answer.seconds < 10


async def test_every_sampling_field_is_sent_under_its_own_name(connect):
    with scripted_server(Script(capture=1)) as server:
        engine = connect(server.url)
        await engine.call(engine.prepare(None, EVERY_FIELD), ask("?"))
        body = server.stats.captured[0]
    assert EVERY_FIELD.given().items() <= body.items()
    assert body["model"] == "some-model"
    assert body["stream"] is False


async def test_log_probabilities_and_bias_and_extra_fields_are_sent_as_openai_spells_them(connect):
    sampling = SamplingParams(logprobs=3, logit_bias={17: -1.5}, extra_args={"reasoning_effort": "low"})
    with scripted_server(Script(capture=1)) as server:
        engine = connect(server.url)
        await engine.call(engine.prepare(None, sampling), ask("?"))
        body = server.stats.captured[0]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert body["logit_bias"] == {"17": -1.5}
    assert body["reasoning_effort"] == "low"


async def test_two_steps_that_share_sampling_keep_their_own_schemas(connect):
    sampling = SamplingParams(temperature=0)
    other = {"title": "Other", "type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}
    with scripted_server(Script(capture=2)) as server:
        engine = connect(server.url)
        first, second = engine.prepare(SCHEMA, sampling), engine.prepare(other, sampling)
        one = await engine.call(first, ask("?"))
        two = await engine.call(second, ask("?"))
        sent = [body["response_format"]["json_schema"] for body in server.stats.captured]
    assert [s["name"] for s in sent] == ["Extract", "Other"]
    assert sent[0] == {"name": "Extract", "schema": SCHEMA, "strict": True}
    assert set(orjson.loads(one.choices[0].text)) == {"product", "rating"}
    assert orjson.loads(two.choices[0].text) == {"x": 1}


async def test_a_body_of_several_megabytes_is_sent(connect):
    with scripted_server() as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(None, SamplingParams()), ask("word " * 500_000))
    assert answer.prompt_tokens > 500_000


async def test_reasoning_is_kept_apart_from_the_text(connect):
    with scripted_server(Script(reasoning="because", echo=True)) as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(None, SamplingParams(n=2)), ask("hello"))
    assert [(c.text, c.reasoning) for c in answer.choices] == [("hello", "because")] * 2


async def test_the_older_spelling_of_reasoning_and_cached_tokens_are_read():
    message = {"content": "x", "reasoning_content": "old"}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
    answer = read_answer(body)
    assert (answer.choices[0].reasoning, answer.cached_tokens) == ("old", 8)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("garbage", "http", "no JSON"),
        ("error_body", "http", "the backend is on fire"),
        ("no_choices", "http", "without any choice"),
        ("context_length", "context_length", "maximum context length is 16 tokens"),
        ("decline", "refused", "I can't help with that"),
        ("filter", "refused", "content filter"),
    ],
)
async def test_a_reply_that_is_no_answer_fails_at_once_with_its_kind(connect, fault, kind, said):
    with scripted_server(Script(faults=(Fault(kind=fault),))) as server:
        engine = connect(server.url)
        with pytest.raises(CallError, match=said) as caught:
            await engine.call(engine.prepare(SCHEMA, SamplingParams()), ask("?"))
        assert server.stats.calls == 1
    assert caught.value.kind == kind


async def test_garbage_is_kept_up_to_2000_characters(connect):
    with scripted_server(Script(faults=(Fault(kind="garbage"),))) as server:
        engine = connect(server.url)
        with pytest.raises(CallError) as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
    assert caught.value.raw == "<html><body>proxy error</body></html>"


async def test_a_truncated_answer_is_handed_on_with_its_finish_reason(connect):
    with scripted_server(Script(faults=(Fault(kind="truncate"),))) as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(SCHEMA, SamplingParams()), ask("?"))
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_a_refusal_for_now_is_sent_again_until_it_is_answered(connect, status):
    fault = Fault(kind="refuse", status=status, attempts=2, retry_after_s=0)
    with scripted_server(Script(faults=(fault,))) as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
        assert server.stats.statuses == {status: 2, 200: 1}
    assert answer.sent == 3


async def test_a_cut_line_is_sent_again(connect):
    with scripted_server(Script(faults=(Fault(kind="cut", attempts=1),))) as server:
        engine = connect(server.url)
        answer = await engine.call(engine.prepare(SCHEMA, SamplingParams()), ask("?"))
    assert answer.sent == 2


async def test_a_request_limit_that_ends_a_later_try_is_called_by_its_name(connect):
    faults = (Fault(kind="cut", attempts=1), Fault(kind="hang"))
    with scripted_server(Script(faults=faults)) as server:
        engine = connect(server.url, request_timeout_s=0.05)
        with pytest.raises(CallError, match=r"no answer within 0\.05 s \(request_timeout_s\)"):
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=600)


async def test_when_the_tries_are_spent_the_failure_says_how_often_and_what_came(connect):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=503),))) as server:
        engine = connect(server.url, max_retries=2)
        with pytest.raises(CallError, match=r"503: the script refuses with 503; sent 3 times") as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
        assert server.stats.calls == 3
    assert (caught.value.kind, caught.value.sent) == ("http", 3)


async def test_a_failure_after_a_retry_counts_both_requests(connect):
    faults = (Fault(kind="refuse", attempts=1, retry_after_s=0), Fault(kind="context_length"))
    with scripted_server(Script(faults=faults)) as server:
        engine = connect(server.url)
        with pytest.raises(CallError) as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
    assert (caught.value.kind, caught.value.sent) == ("context_length", 2)


async def test_a_missing_key_names_the_variable_to_set(connect):
    with scripted_server(Script(api_key="sesame")) as server:
        engine = connect(server.url, api_key_env="MY_KEY")
        with pytest.raises(EngineError, match=r"401.*set the environment variable MY_KEY"):
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))


async def test_the_key_of_the_environment_is_sent(connect, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame")
    with scripted_server(Script(api_key="sesame")) as server:
        engine = connect(server.url, api_key_env="MY_KEY")
        assert await engine.call(engine.prepare(None, SamplingParams()), ask("?"))


async def test_a_key_the_endpoint_repeats_is_not_in_the_message_nor_in_any_repr(connect):
    with scripted_server(Script(api_key="sesame")) as server:
        engine = connect(server.url, api_key="very-secret", headers={"X-Team": "also-secret"})
        prepared = engine.prepare(SCHEMA, SamplingParams())
        with pytest.raises(EngineError) as caught:
            await engine.call(prepared, ask("?"))
    shown = f"{caught.value} {caught.value!r} {engine!r} {prepared!r}"
    assert "Incorrect API key provided: ***" in shown
    assert "very-secret" not in shown
    assert "also-secret" not in shown


async def test_an_unknown_model_is_named(connect):
    with scripted_server(Script(model="another")) as server:
        engine = connect(server.url)
        with pytest.raises(EngineError, match=r'404.*is "some-model" the model'):
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))


async def test_no_answer_in_time_is_a_timeout_that_says_the_engines_limit(connect):
    with scripted_server(Script(faults=(Fault(kind="hang"),))) as server:
        engine = connect(server.url, request_timeout_s=0.05)
        with pytest.raises(CallError, match=r"no answer within 0\.05 s \(request_timeout_s\)") as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"))
    assert caught.value.kind == "timeout"


async def test_what_a_row_had_left_of_its_time_is_not_in_the_message(connect):
    with scripted_server(Script(faults=(Fault(kind="hang"),))) as server:
        engine = connect(server.url)
        with pytest.raises(CallError) as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=0.0497195)
    assert str(caught.value) == "the endpoint gave no answer within the row's time"


async def test_the_timeout_covers_the_retries(connect):
    faults = (Fault(kind="cut", attempts=1), Fault(kind="hang"))
    with scripted_server(Script(faults=faults)) as server:
        engine = connect(server.url)
        with pytest.raises(CallError, match="no answer within the row's time") as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=0.2)
    assert (caught.value.kind, caught.value.sent) == ("timeout", 2)


async def test_a_retry_after_beyond_the_timeout_is_not_waited_for(connect):
    with scripted_server(Script(faults=(Fault(kind="refuse", retry_after_s=3600),))) as server:
        engine = connect(server.url)
        with pytest.raises(CallError) as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("?"), timeout_s=60)
    assert caught.value.kind == "timeout"
    assert str(caught.value) == (
        "no time is left to send it again; the last: the endpoint answered 429: the script refuses with 429"
    )


async def test_a_wait_between_tries_ends_when_the_call_is_cancelled(connect, until):
    with scripted_server(Script(faults=(Fault(kind="refuse", retry_after_s=3600),))) as server:
        engine = connect(server.url)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(engine.call, engine.prepare(None, SamplingParams()), ask("?"))
                await until(lambda: server.stats.calls == 1 and server.stats.in_flight == 0)
                group.cancel_scope.cancel()


async def test_a_prompt_that_is_no_valid_utf_8_fails_as_prompt_before_anything_is_sent(connect):
    with scripted_server() as server:
        engine = connect(server.url)
        with pytest.raises(CallError, match="the prompt is no valid UTF-8") as caught:
            await engine.call(engine.prepare(None, SamplingParams()), ask("a \ud800"))
        with pytest.raises(CallError, match="the prompt is no valid UTF-8"):
            await engine.agenerate(["a \ud800"])
        assert server.stats.calls == 0
    assert (caught.value.kind, caught.value.sent) == ("prompt", 0)


async def test_a_prompt_with_a_value_that_json_does_not_know_fails_as_prompt(connect):
    engine = connect("http://127.0.0.1:9/v1")
    with pytest.raises(CallError, match="cannot be sent as JSON: Type is not JSON serializable: object"):
        await engine.call(engine.prepare(None, SamplingParams()), [{"role": "user", "content": object()}])


async def test_a_cancelled_call_hangs_up(connect, until):
    with scripted_server(Script(faults=(Fault(kind="hang"),))) as server:
        engine = connect(server.url)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.call, engine.prepare(None, SamplingParams()), ask("?"))
            await until(lambda: server.stats.in_flight == 1)
            group.cancel_scope.cancel()
        await until(lambda: server.stats.abandoned == 1)


async def test_texts_come_back_in_the_order_of_the_prompts(connect):
    script = Script(echo=True, service_mean_s=0.01, service_sigma=1)
    with scripted_server(script) as server:
        engine = connect(server.url, max_concurrency=4)
        prompts = [f"prompt {n}" for n in range(30)]
        assert await engine.agenerate(prompts) == prompts
        assert server.stats.in_flight_max == 4


async def test_the_blocking_form_says_what_to_use_inside_an_event_loop(connect):
    engine = connect("http://127.0.0.1:9/v1")
    with pytest.raises(RuntimeError, match="agenerate"):
        engine.generate(["?"])


def test_the_blocking_form_raises_what_the_call_raised():
    with scripted_server(Script(faults=(Fault(kind="context_length"),))) as server:
        spec = EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": server.url})
        with pytest.raises(CallError, match="maximum context length"):
            EndpointEngine(spec).generate(["?"])


def test_one_engine_serves_several_event_loops_one_after_the_other():
    async def once(engine: EndpointEngine) -> str:
        answer = await engine.call(engine.prepare(None, SamplingParams()), ask("hello"))
        await engine.aclose()
        return answer.choices[0].text

    with scripted_server(Script(echo=True)) as server:
        engine = EndpointEngine(
            EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": server.url})
        )
        assert [asyncio.run(once(engine)) for _ in range(2)] == ["hello", "hello"]
        assert engine.generate(["hi"]) == ["hi"]


def test_retry_after_is_read_as_seconds_milliseconds_or_a_date():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s({"Retry-After": "7"}) == 7
    assert retry_after_s({"retry-after-ms": "250", "Retry-After": "7"}) == 0.25
    assert 20 < (retry_after_s({"Retry-After": soon}) or 0) <= 30
    assert retry_after_s({"Retry-After": "soon"}) is None
    assert retry_after_s({}) is None


@pytest.mark.parametrize("value", ["61", "86400", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_endpoint_makes_a_call_wait_for_more_than_a_minute(value):
    assert retry_after_s({"Retry-After": value}) == 60


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e999", "Fri, 31 Dec 0001 23:59:59 -9999"])
def test_a_retry_after_that_is_no_time_is_ignored(value):
    assert retry_after_s({"Retry-After": value}) is None


def test_openai_itself_gets_strict_only_for_schemas_it_takes():
    spec = EngineSpec.parse({"name": "o", "backend": "openai", "model": "gpt"})
    open_schema = {**SCHEMA, "required": ["product"]}
    strict = [
        openai.body(spec, schema, SamplingParams())["response_format"]["json_schema"]["strict"]
        for schema in (SCHEMA, open_schema)
    ]
    assert strict == [True, False]


def test_openai_itself_gets_max_tokens_under_its_newer_name():
    spec = EngineSpec.parse({"name": "o", "backend": "openai", "model": "gpt"})
    body = openai.body(spec, None, SamplingParams(max_tokens=9))
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("endpoint", "called"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("https://u:p@h/x?api-version=1", "https://h/x/chat/completions"),
    ],
)
def test_messages_show_the_endpoint_without_password_and_query(endpoint, called):
    spec = EngineSpec.parse({"name": "e", "backend": "openai", "model": "m", "endpoint": endpoint})
    assert repr(EndpointEngine(spec)) == f"<EndpointEngine e at {called}>"
