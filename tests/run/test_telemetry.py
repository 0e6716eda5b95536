"""A run told to OpenTelemetry: to a real receiver on loopback, or to a file."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainette import Chain, ChainError
from chainette.engine.scripted import Fault
from chainette.events import Event, Warned
from chainette.run import RunOptions, run
from tests.folders import calls, derived, lines
from tests.models import Answer, Question, step
from tests.reports.otlp import attributes, read_file, receiver
from tests.run.conftest import ROWS
from tests.run.pipeline import chain as pipeline
from tests.run.pipeline import items

SECRET = "the cat sat on the mat"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACEPARENT", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)


def chain() -> Chain:
    ask = step("ask", Question, Answer, "Q: {{ text }}", retries=0)
    return Chain(name="told", steps=[ask, step("again", Answer, Answer, "A: {{ answer }}")], chunk_size=2)


def questions(count: int, text: str = "why") -> list[Question]:
    return [Question(text=f"{text} {number}") for number in range(count)]


@pytest.fixture
def endpoint(served: Callable[..., Any]) -> str:
    """The only engine is at this URL. Its third row fails."""
    fault = Fault(kind="mismatch", containing="why 2")
    return str(served(fault, answers={"": {"answer": SECRET, "confidence": 0.5}}).url)


def test_spans_of_run_stage_step_chunk_and_call_stand_under_each_other(endpoint: str, tmp_path: Path) -> None:
    with receiver() as received:
        chain().run(questions(4), tmp_path / "run", otel=received.url, max_failed=1)
    (root,) = received.named("chainette.run")
    assert root.parent_span_id == b""
    assert attributes(root)["chainette.state"] == "done"
    (stage,) = received.named("chainette.stage")
    assert received.parent(stage) is root
    steps = {attributes(span)["chainette.step"]: span for span in received.named("chainette.step")}
    assert {id: received.parent(span) is stage for id, span in steps.items()} == {"ask": True, "again": True}
    chunks = received.named("chainette.chunk")
    assert [(attributes(c)["chainette.chunk"], attributes(c)["chainette.rows"]) for c in chunks] == [(0, 2), (1, 2)]
    assert all(received.parent(chunk) is root for chunk in chunks)
    told = {(attributes(c)["chainette.step"], attributes(c)["chainette.row.id"]) for c in received.named("chat")}
    assert told == {("ask", id) for id in "0123"} | {("again", id) for id in "013"}
    assert all(received.parent(c) is steps[attributes(c)["chainette.step"]] for c in received.named("chat"))
    assert {span.trace_id for span in received.spans} == {root.trace_id}


def test_a_call_is_told_in_the_words_of_the_genai_conventions(endpoint: str, tmp_path: Path) -> None:
    with receiver() as received:
        chain().run(questions(3), tmp_path / "run", otel=received.url, max_failed=1)
    asked = [c for c in received.named("chat m") if attributes(c)["chainette.step"] == "ask"]
    by_row = {attributes(c)["chainette.row.id"]: c for c in asked}
    good, bad = attributes(by_row["0"]), attributes(by_row["2"])
    recorded = next(c for c in lines(tmp_path / "run" / "calls" / "ask" / "000.jsonl") if c["_id"] == "0")
    assert good["gen_ai.operation.name"] == "chat"
    assert (good["gen_ai.provider.name"], good["gen_ai.request.model"]) == ("openai", "m")
    assert good["gen_ai.usage.input_tokens"] == recorded["usage"]["prompt_tokens"]
    assert good["gen_ai.usage.output_tokens"] == recorded["usage"]["completion_tokens"]
    assert good["gen_ai.response.finish_reasons"] == ["stop"]
    assert good["server.address"] == "127.0.0.1"
    assert f":{good['server.port']}/" in f"{endpoint}/"
    assert "error.type" not in good
    assert bad["error.type"] == "schema"
    assert by_row["2"].status.code == 2
    length_s = (by_row["0"].end_time_unix_nano - by_row["0"].start_time_unix_nano) / 1e9
    assert length_s == pytest.approx(recorded["seconds"], abs=1e-5)


def test_tokens_durations_and_rows_are_metrics(endpoint: str, tmp_path: Path) -> None:
    with receiver() as received:
        result = chain().run(questions(4), tmp_path / "run", otel=received.url, max_failed=1)
    tokens: dict[str, int] = {}
    for point in received.points("gen_ai.client.token.usage"):
        kind = attributes(point)["gen_ai.token.type"]
        tokens[kind] = tokens.get(kind, 0) + int(point.sum)
    stats = result.stats
    assert tokens == {"input": stats["prompt_tokens"], "output": stats["completion_tokens"]}
    durations = received.points("gen_ai.client.operation.duration")
    assert {(attributes(p).get("error.type"), p.count) for p in durations} == {(None, 6), ("schema", 1)}
    rows = {
        (attributes(p)["chainette.step"], attributes(p)["chainette.outcome"]): p.as_int
        for p in received.points("chainette.rows")
    }
    assert rows == {("ask", "done"): 3, ("ask", "failed"): 1, ("again", "done"): 3}


def test_what_models_are_asked_and_say_is_not_told(endpoint: str, tmp_path: Path) -> None:
    with receiver() as received:
        chain().run(questions(4), tmp_path / "run", otel=received.url, max_failed=1)
    sent = b"".join(request.SerializeToString() for request in (*received.traces, *received.metrics))
    assert SECRET.encode() not in sent
    assert b"why 1" not in sent


def test_answers_are_told_when_the_variable_of_the_conventions_asks_for_it(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    with receiver() as received:
        chain().run(questions(1), tmp_path / "run", otel=received.url)
    assert SECRET in attributes(received.named("chat")[0])["gen_ai.output.messages"]


def test_the_run_stands_under_the_span_that_started_it(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-01")
    with receiver() as received:
        chain().run(questions(1), tmp_path / "run", otel=received.url)
    (root,) = received.named("chainette.run")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == ("ab" * 16, "cd" * 8)


def test_the_usual_variables_say_where_to_and_with_which_headers(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
        chain().run(questions(1), tmp_path / "run", otel="env")
    assert {headers.get("api-key") for headers in received.headers} == {"k"}
    resource = received.traces[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "nightly"


def test_a_file_needs_no_server_and_has_the_same_tree(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    chain().run(questions(2), tmp_path / "run", otel=f"file:{path}")
    spans, metrics = read_file(path)
    ids = {span["spanId"]: span for span in spans}
    (root,) = [span for span in spans if "parentSpanId" not in span]
    assert len(root["traceId"]) == 32
    assert root["name"] == "chainette.run told"
    names = set()
    for call in [span for span in spans if span["name"] == "chat m"]:
        way = [call]
        while "parentSpanId" in way[-1]:
            way.append(ids[way[-1]["parentSpanId"]])
        names.add(tuple(span["name"].split()[0] for span in way))
    assert names == {("chat", "chainette.step", "chainette.stage", "chainette.run")}
    assert "gen_ai.client.token.usage" in {metric["name"] for metric in metrics}


def test_a_run_that_goes_on_tells_only_what_it_does_itself(cut_off: Callable[..., Path], tmp_path: Path) -> None:
    folder = cut_off(after=20)
    before = len(calls(folder))
    path = tmp_path / "spans.json"
    pipeline().run(items(ROWS), resume=folder, otel=f"file:{path}")
    spans, _ = read_file(path)
    assert len([span for span in spans if span["name"].startswith("chat")]) == len(calls(folder)) - before


@pytest.mark.parametrize("status", [500, 404])
def test_a_receiver_that_fails_costs_one_warning_and_nothing_else(endpoint: str, tmp_path: Path, status: int) -> None:
    said: list[Event] = []
    with receiver(status) as received:
        options = RunOptions(output_dir=tmp_path / "run", otel=received.url, max_failed=1)
        result = run(chain(), questions(4), options, said.append)
    assert result.state == "done"
    assert [e.message for e in said if isinstance(e, Warned)] == [
        f"telemetry: {received.url} does not take it; the run goes on without"
    ]
    chain().run(questions(4), tmp_path / "other", max_failed=1)
    assert derived(tmp_path / "run") == derived(tmp_path / "other")


def test_a_receiver_that_is_somewhere_else_now_does_not_take_it(endpoint: str, tmp_path: Path) -> None:
    said: list[Event] = []
    with receiver(307) as received:
        run(chain(), questions(1), RunOptions(output_dir=tmp_path / "run", otel=received.url), said.append)
    assert [e.message for e in said if isinstance(e, Warned)] == [
        f"telemetry: {received.url} does not take it; the run goes on without"
    ]


def test_the_warning_about_a_receiver_holds_no_password(endpoint: str, tmp_path: Path) -> None:
    said: list[Event] = []
    with receiver(404) as received:
        target = received.url.replace("//", "//joe:hush@")
        run(chain(), questions(1), RunOptions(output_dir=tmp_path / "run", otel=target), said.append)
    (warning,) = [e.message for e in said if isinstance(e, Warned)]
    assert received.url in warning
    assert "hush" not in warning


def test_a_variable_that_the_sdk_does_not_understand_is_refused_before_anything_is_made(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    with pytest.raises(ChainError, match="otel: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"):
        chain().run(questions(1), tmp_path / "run", otel="env")
    assert not (tmp_path / "run").exists()


def test_a_receiver_that_is_gone_or_never_answers_holds_nobody_up_for_long(endpoint: str, tmp_path: Path) -> None:
    with receiver() as gone:
        pass
    assert chain().run(questions(1), tmp_path / "gone", otel=gone.url).state == "done"
    with receiver(until=threading.Event()) as silent:
        assert chain().run(questions(1), tmp_path / "silent", otel=silent.url).state == "done"


@pytest.mark.parametrize("target", ["localhost", "ftp://host/x", "file:", "http://", "http://host:port"])
def test_what_is_no_target_is_refused_before_anything_is_made(endpoint: str, tmp_path: Path, target: str) -> None:
    with pytest.raises(ChainError, match="no place for telemetry"):
        chain().run(questions(1), tmp_path / "run", otel=target)
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_made(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ChainError, match="cannot write"):
        chain().run(questions(1), tmp_path / "run", otel=f"file:{tmp_path}")
    assert not (tmp_path / "run").exists()


def test_without_the_package_the_error_says_what_to_install(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"no {name}", name="opentelemetry")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ChainError, match=r"pip install 'chainette\[otel\]'"):
        chain().run(questions(1), tmp_path / "run", otel="env")
    assert not (tmp_path / "run").exists()
