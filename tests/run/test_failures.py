"""Every kind of failure that a run over HTTP can produce: its reason, its text, and the same bytes in every run."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import BaseModel, field_validator
from typer.testing import CliRunner

from chainette import Branch, Chain, apply, register_engine
from chainette.cli.main import app
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.errors import EngineDiedError
from tests.models import Answer, Number, Question, Translation, step

QA = step("qa", Question, Answer, output_format_instruction="", retries=1)
ANSWERS = {f"q{n}.": {"answer": f"a{n}", "confidence": 0.5} for n in range(100)}


def questions(count):
    return [Question(text=f"q{n}.") for n in range(count)]


def run(chain, inputs, folder, script, **options):
    """One run at a server of its own, on a port of its own."""
    with scripted_server(script) as server:
        register_engine("served", backend="openai", model="m", endpoint=server.url, retry_wait_s=0, max_retries=2)
        return chain.run(inputs, output_dir=folder, **options)


def failed_twice(chain, inputs, tmp_path, script, **options):
    """The failures of a run, which a second run must repeat byte for byte."""
    first = run(chain, inputs, tmp_path / "first", script, **options)
    run(chain, inputs, tmp_path / "second", script, **options)
    files = [sorted((tmp_path / name / "failed").iterdir()) for name in ("first", "second")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    return list(first.failed)


@pytest.mark.parametrize(
    ("fault", "kind", "attempts", "message", "raw"),
    [
        (Fault(kind="nonsense"), "schema", 2, "Invalid JSON: expected value at line 1 column 1", "Sure! Here it is"),
        (Fault(kind="mismatch"), "schema", 2, "Input should be an object", '["not", "what"'),
        (Fault(kind="blank"), "schema", 2, "Invalid JSON: EOF", ""),
        (Fault(kind="truncate"), "truncated", 2, "the answer stopped at max_tokens", '{"answer":"a1'),
        (Fault(kind="hang"), "timeout", 1, "the endpoint gave no answer within the row's time", None),
        (
            Fault(kind="refuse", status=500),
            "http",
            1,
            "the endpoint answered 500: the script refuses with 500; sent 3 times",
            '"code":"500"',
        ),
        (Fault(kind="refuse", status=400), "http", 1, "the endpoint answered 400: the script", '"code":"400"'),
        (Fault(kind="cut"), "http", 1, "the endpoint broke off the connection; sent 3 times", None),
        (Fault(kind="garbage"), "http", 1, "the endpoint answered 200 with something that is no JSON", "<html>"),
        (Fault(kind="error_body"), "http", 1, "answered 200 with an error: the backend is on fire", '{"error"'),
        (Fault(kind="no_choices"), "http", 1, "the endpoint answered 200 without any choice", '"choices":[]'),
        (
            Fault(kind="context_length"),
            "context_length",
            1,
            "prompt and answer do not fit into the context: This model's maximum context length is 16 tokens",
            "context_length_exceeded",
        ),
        (Fault(kind="filter"), "refused", 1, "the endpoint's content filter cut the answer", ""),
        (Fault(kind="decline"), "refused", 1, "the model declined: I can't help with that.", "I can't help"),
    ],
)
def test_a_call_that_fails_gives_its_row_the_reason_and_the_text(tmp_path, fault, kind, attempts, message, raw):
    script = Script(answers=ANSWERS, faults=(fault.model_copy(update={"containing": "q1."}),))
    chain = Chain(name="c", steps=[QA.with_(timeout_s=0.8 if fault.kind == "hang" else None)])
    (failure,) = failed_twice(chain, questions(3), tmp_path, script)
    assert (failure.row_id, failure.node_id, failure.kind, failure.attempts) == ("1", "qa", kind, attempts)
    assert message in failure.message
    assert (failure.raw is None) if raw is None else failure.raw.startswith(raw) or (raw and raw in failure.raw)


class Short(BaseModel):
    answer: str
    confidence: float = 1.0

    @field_validator("answer")
    @classmethod
    def is_short(cls, value: str) -> str:
        if len(value) > 5:
            raise ValueError("is too long")
        return value


def test_a_validators_words_and_the_field_are_in_the_message(tmp_path):
    script = Script(answers={"q0.": {"answer": "very long indeed"}})
    chain = Chain(name="c", steps=[step("qa", Question, Short, retries=0, output_format_instruction="")])
    (failure,) = failed_twice(chain, questions(1), tmp_path, script)
    assert failure.message == "answer: Value error, is too long"
    assert failure.raw == '{"answer":"very long indeed"}'


def test_a_template_that_fails_on_a_row_says_which_name(tmp_path):
    chain = Chain(name="c", steps=[step("qa", Number, Answer, "{{ 10 // value }}")])
    inputs = [Number(value=2), Number(value=0)]
    (failure,) = failed_twice(chain, inputs, tmp_path, Script())
    assert (failure.row_id, failure.kind) == ("1", "prompt")
    assert "division" in failure.message


def test_an_input_row_that_does_not_fit_is_a_failure_when_failures_are_allowed(tmp_path):
    inputs = [{"text": "q0."}, {"txt": "x"}]
    (failure,) = failed_twice(Chain(name="c", steps=[QA]), inputs, tmp_path, Script(answers=ANSWERS), max_failed=1)
    assert (failure.row_id, failure.kind) == ("1", "input")
    assert "text" in failure.message


def look_up(a: Answer) -> Answer:
    try:
        return {"a0": a}[a.answer]
    except KeyError as error:
        raise ValueError("nobody knows it") from error


def test_a_function_that_raises_leaves_its_line_and_what_was_behind_it(tmp_path):
    chain = Chain(name="c", steps=[QA, apply(look_up)])
    (failure,) = failed_twice(chain, questions(2), tmp_path, Script(answers=ANSWERS))
    line = look_up.__code__.co_firstlineno + 4
    assert (failure.row_id, failure.node_id, failure.kind) == ("1", "look_up", "apply")
    assert failure.message == "ValueError: nobody knows it"
    assert failure.cause == (f"{Path(__file__)}:{line}", "KeyError: 'a1'")


def test_a_function_that_raises_an_object_without_words_leaves_no_address(tmp_path):
    def raises(a: Answer) -> Answer:
        raise ValueError(object())

    chain = Chain(name="c", steps=[QA, apply(raises)])
    failed_twice(chain, questions(1), tmp_path, Script(answers=ANSWERS))


def test_of_two_failing_branches_the_join_names_the_first_whichever_failed_first(tmp_path):
    branches = [
        Branch(name="late", steps=[step("l", Question, Translation, "late {{ text }}", timeout_s=0.8)]).join("l"),
        Branch(name="early", steps=[step("e", Question, Translation, "early {{ text }}")]).join("e"),
    ]
    script = Script(faults=(Fault(kind="hang", containing="late q0."), Fault(kind="decline", containing="early q0.")))
    found = failed_twice(Chain(name="c", steps=[branches]), questions(2), tmp_path, script)
    by_kind = {failure.kind: failure for failure in found}
    assert sorted(by_kind) == ["join", "refused", "timeout"]
    assert by_kind["join"].message.startswith('branch "late" has no value: timeout at "l": ')
    assert by_kind["join"].cause[0].startswith("timeout: ")


@contextmanager
def one_reply(choices):
    """A server that answers every call with these choices."""
    body = json.dumps({"choices": choices}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        register_engine("one", backend="openai", model="m", endpoint=f"http://127.0.0.1:{server.server_port}/v1")
        yield
        server.shutdown()
        thread.join()


def choice(index, text, finish_reason="stop"):
    return {"index": index, "message": {"content": text}, "finish_reason": finish_reason}


def test_samples_fail_each_for_its_own_reason_and_in_the_order_of_their_numbers():
    good = '{"answer": "x"}'
    choices = [choice(2, "nonsense"), choice(0, good), choice(1, good[:5], "length")]
    with one_reply(choices):
        result = Chain(name="c", steps=[QA.with_(n=4)]).run(questions(1))
    assert result.outputs.ids == ["0.0"]
    assert [(f.row_id, f.kind, f.attempts) for f in result.failed] == [
        ("0.1", "truncated", 2),
        ("0.2", "schema", 2),
        ("0.3", "http", 2),
    ]
    assert result.failed[2].message == "3 answers instead of 4"


def test_a_sample_that_was_filtered_fails_alone_also_when_its_call_is_taken_from_the_log(tmp_path):
    good = '{"answer": "x"}'
    chain = Chain(name="c", steps=[QA.with_(n=3, retries=0)])
    with one_reply([choice(0, good), choice(1, "", "content_filter"), choice(2, good)]):
        first = chain.run(questions(1), output_dir=tmp_path / "first")
    again = chain.run(questions(1), output_dir=tmp_path / "again", reuse=tmp_path / "first")
    for result in (first, again):
        assert result.outputs.ids == ["0.0", "0.2"]
        assert [(f.row_id, f.kind) for f in result.failed] == [("0.1", "refused")]


BAD = Script(answers=ANSWERS, faults=tuple(Fault(kind="decline", containing=f"q{n}.") for n in (3, 5, 50)))


@pytest.mark.parametrize(
    ("allowed", "stops"), [(0, True), (1, True), (2, True), (3, False), ("3%", False), ("2%", True)]
)
def test_a_run_stops_when_more_rows_fail_than_are_allowed(tmp_path, allowed, stops):
    chain = Chain(name="c", steps=[QA], chunk_size=2)
    result = run(chain, questions(100), tmp_path / "run", BAD, max_failed=allowed, open_rows=8)
    assert result.state == ("stopped" if stops else "done")
    assert result.allowed_failed is not stops
    assert bool(result.message) is stops
    if stops:
        assert f"more than the {str(allowed).rstrip('%')}" in result.message
        assert "that --max-failed allows" in result.message
    else:
        assert (result.rows_out, result.rows_failed) == (97, 3)


def test_a_stop_for_failures_is_early_and_leaves_a_folder_that_can_be_read(tmp_path):
    chain = Chain(name="c", steps=[QA], chunk_size=2)
    result = run(chain, questions(100), tmp_path / "run", BAD, max_failed=1, open_rows=8)
    assert result.message == "2 rows failed, more than the 1 that --max-failed allows"
    assert [failure.row_id for failure in result.failed] == ["3", "5"]
    assert result.outputs.ids == [str(n) for n in range(len(result.outputs) + 2) if n not in (3, 5)]
    assert 4 <= len(result.outputs) < 40
    assert json.loads((result.folder / "status.json").read_text())["state"] == "stopped"
    assert json.loads((result.folder / "events.jsonl").read_text().splitlines()[-1])["state"] == "stopped"


def test_a_share_of_an_input_whose_length_nobody_knows_is_judged_at_its_end(tmp_path):
    chain = Chain(name="c", steps=[QA], chunk_size=2)
    result = run(chain, iter(questions(60)), tmp_path / "run", BAD, max_failed="4%")
    assert (result.state, result.rows_failed, result.allowed_failed) == ("done", 3, False)


def test_a_row_with_several_failures_counts_once(tmp_path):
    both = [
        Branch(name=name, steps=[QA.with_(id=name, user_prompt=f"{name} {{{{ text }}}}")]).join(name)
        for name in ("one", "two")
    ]
    script = Script(answers=ANSWERS, faults=(Fault(kind="decline", containing="q1."),))
    result = run(Chain(name="c", steps=[both]), questions(3), tmp_path / "run", script, max_failed=1)
    assert (result.state, result.rows_failed, len(result.failed)) == ("done", 1, 3)


@pytest.mark.parametrize(("allowed", "code"), [("1", 3), ("3", 0), ("1%", 3), ("3%", 0)])
def test_the_command_ends_with_code_3_when_too_many_failed(tmp_path, allowed, code):
    (tmp_path / "pipeline.py").write_text(
        "from chainette import Chain\nfrom tests.run.test_failures import QA\nchain = Chain(name='c', steps=[QA])\n"
    )
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"q{n}."}) + "\n" for n in range(100)))
    with scripted_server(BAD) as server:
        block = f"engines:\n  - name: s\n    backend: openai\n    model: m\n    endpoint: {server.url}\n"
        (tmp_path / "engines.yml").write_text(block)
        command = ["run", f"{tmp_path}/pipeline.py:chain", "-i", f"{tmp_path}/in.jsonl", "-q", "--max-failed", allowed]
        command += ["-f", f"{tmp_path}/engines.yml", "-o", f"{tmp_path}/run"]
        assert CliRunner().invoke(app, command).exit_code == code
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] in ("stopped" if code else "done", "done")


def contents(folder):
    files = [*folder.glob("steps/*/*"), *folder.glob("failed/*"), *folder.glob("flattened/*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_run_whose_server_goes_away_ends_and_goes_on_when_it_is_back_without_a_false_failure(tmp_path):
    chain = Chain(name="c", steps=[QA], chunk_size=8)
    script = Script(service_mean_s=0.005, service_sigma=1, faults=(Fault(kind="decline", share=0.1),))
    run(chain, questions(200), tmp_path / "undisturbed", script)
    ended = []

    def run_until_gone():
        with pytest.raises(EngineDiedError) as caught:
            chain.run(questions(200), output_dir=tmp_path / "run")
        ended.append(str(caught.value))

    thread = threading.Thread(target=run_until_gone)
    with scripted_server(script) as server:
        register_engine(
            "served",
            backend="openai",
            model="m",
            endpoint=server.url,
            retry_wait_s=0,
            max_retries=2,
            max_concurrency=16,
        )
        thread.start()
        while server.stats.answered < 50:
            threading.Event().wait(0.001)
        answered = server.stats.answered
    thread.join()
    assert "is gone" in ended[0]
    with scripted_server(script, port=int(server.url.rpartition(":")[2].removesuffix("/v1"))) as again:
        result = chain.run(questions(200), resume=tmp_path / "run")
        assert again.stats.answered <= 200 - answered + 16
    assert result.state == "done"
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")
