"""What a real vLLM of ours answers: valid rows, under its key only, with adapters, reasoning and times."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from pydantic import BaseModel, Field

from chainette import Chain, SamplingParams, Step, apply, gather, while_loop
from tests.vllm.conftest import session

END, THINK_END = 0, 4097
"""Tokens of the toy models."""


class Review(BaseModel):
    text: str


class Facts(BaseModel):
    rating: int = Field(ge=1, le=5)
    product: str = Field(max_length=12)


ROWS = [Review(text=f"Kettle number {n} leaks, and the lid came off.") for n in range(40)]


def facts(engine_name, **more):
    fields = {"sampling": SamplingParams(max_tokens=120, seed=1), **more}
    step = Step(
        id="facts",
        input_model=Review,
        output_model=Facts,
        engine_name=engine_name,
        user_prompt="Facts of: {{ text }}",
        **fields,
    )
    return Chain(name="reviews", steps=[step])


def calls(result):
    return [
        json.loads(line)
        for part in sorted((result.folder / "calls" / "facts").glob("*.jsonl"))
        for line in part.read_text().splitlines()
    ]


def ask(served, path="/chat/completions", key=None, **fields):
    body = {"model": served.spec.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **fields}
    request = urllib.request.Request(
        served.url + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key or served.key}"},
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def test_a_chain_on_a_server_that_it_starts_gives_a_valid_row_for_each(vllm_engine):
    vllm_engine()
    result = facts("toy").run(ROWS)
    assert (result.state, result.rows_out, result.rows_failed) == ("done", len(ROWS), 0)
    assert all(isinstance(row, Facts) for row in result.outputs)
    usage = [call["usage"] for call in calls(result)]
    assert all(counts["prompt_tokens"] > 0 and counts["completion_tokens"] > 0 for counts in usage)


def test_nobody_is_answered_without_the_key(served):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(served, key="another")
    refused.value.close()
    assert refused.value.code == 401


def test_the_key_stands_on_no_command_line(served):
    tree = session(served.pid)
    assert len(tree) >= 3
    assert not any(served.key in word for process in tree for word in process.cmdline())


def test_a_reply_tells_how_long_the_call_waited_and_took(served):
    reply = ask(served)
    assert {"queue_time_ms", "time_to_first_token_ms"} <= set(reply["metrics"])
    assert "cached_tokens" in reply["usage"]["prompt_tokens_details"]


def test_a_step_with_an_adapter_is_answered_by_it(served):
    served.engine(chat_template_kwargs={"enable_thinking": False})
    greedy = SamplingParams(max_tokens=120, temperature=0)
    plain = facts("served", sampling=greedy).run(ROWS[:4])
    adapted = facts("served", sampling=greedy, lora="adapter").run(ROWS[:4])
    assert plain.rows_failed == adapted.rows_failed == 0
    assert list(plain.outputs) != list(adapted.outputs)


def test_reasoning_is_kept_apart_from_the_answer(served):
    served.engine(chat_template_kwargs={"enable_thinking": True})
    # Random weights would think until their tokens are gone: the end of thinking is made likely, the end of text not.
    sampling = SamplingParams(max_tokens=300, seed=3, logit_bias={THINK_END: 6, END: -100})
    result = facts("served", sampling=sampling).run(ROWS[:10])
    assert result.rows_failed == 0
    assert any(call["reasoning"] for call in calls(result))
    assert all(set(json.loads(call["text"])) == {"rating", "product"} for call in calls(result))


def test_without_reasoning_there_is_only_the_answer(served):
    served.engine(chat_template_kwargs={"enable_thinking": False})
    result = facts("served").run(ROWS[:4])
    assert result.rows_failed == 0
    assert not any(call["reasoning"] for call in calls(result))


def test_samples_and_log_probabilities_come_back(served):
    reply = ask(
        served, n=3, logprobs=True, top_logprobs=2, chat_template_kwargs={"enable_thinking": False}, temperature=1
    )
    assert len(reply["choices"]) == 3
    assert len(reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_rows_go_round_a_loop_and_samples_are_gathered(served):
    served.engine(chat_template_kwargs={"enable_thinking": False})
    sampling = SamplingParams(max_tokens=120, temperature=1)
    step = facts("served", sampling=sampling, n=3).steps[0]
    loop = while_loop(
        [step, gather(), apply(best)],
        until=lambda row, context: context.turn == 2,
        max_iterations=2,
        at_least_once=True,
        feed="input",
    )
    result = Chain("looping", [loop], input_model=Review).run(ROWS[:6])
    assert (result.state, result.rows_failed, len(result.outputs)) == ("done", 0, 6)
    assert sorted((call["_id"], call["turn"]) for call in calls(result)) == [
        (str(n), t) for n in range(6) for t in (1, 2)
    ]


def best(answers: list[Facts]) -> Facts:
    return max(answers, key=lambda answer: answer.rating)
