"""An endpoint that is gone is an error for all calls; one that fails a single call is not."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import orjson
import pytest
from tenacity import RetryCallState

from chainette.engine import CallError
from chainette.engine.retries import _waits as waits_of
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.engine.signs import Signs, Trouble
from chainette.errors import EngineDiedError, EngineError
from chainette.specs import SamplingParams
from tests.engine.conftest import ask

pytestmark = pytest.mark.anyio

ANSWER = orjson.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})


async def call(engine, text="?", timeout_s=None):
    return await engine.call(engine.prepare(None, SamplingParams()), ask(text), timeout_s)


async def outcomes(engine, texts):
    """What became of calls made side by side, by their text: the answer or the error."""
    found = {}

    async def one(text):
        try:
            found[text] = await call(engine, text)
        except EngineError as error:
            found[text] = error

    async with anyio.create_task_group() as group:
        for text in texts:
            group.start_soon(one, text)
    return found


@contextmanager
def gateway():
    """A proxy that answers what `replies` says, a status and a body, to everything."""
    replies = [(200, ANSWER)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = replies[0] if len(replies) == 1 else replies.pop(0)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", replies
        server.shutdown()
        thread.join()


async def test_a_server_that_went_away_is_an_error_that_says_where_since_when_and_what_to_do(connect):
    with scripted_server() as server:
        engine = connect(server.url, max_retries=1)
        await call(engine)
    with pytest.raises(EngineDiedError) as caught:
        await call(engine)
    told = str(caught.value)
    assert told.startswith(
        f'engine "here" at {server.url}/chat/completions is gone: '
        "nothing answers at the endpoint (Connection refused); sent 2 times; its last answer came at 20"
    )
    assert told.endswith("Start it again, then go on with `chainette resume`")


async def test_all_calls_that_were_in_flight_when_the_server_went_away_say_so(connect, until):
    found = {}

    async def ask_all():
        found.update(await outcomes(engine, [f"slow {n}" for n in range(20)]))

    async with anyio.create_task_group() as group:
        with scripted_server(Script(faults=(Fault(kind="hang", containing="slow"),))) as server:
            engine = connect(server.url)
            await call(engine)
            group.start_soon(ask_all)
            await until(lambda: server.stats.in_flight == 20)
    assert len(found) == 20
    assert all(isinstance(error, EngineDiedError) for error in found.values())


async def test_a_server_that_is_started_again_in_time_answers_the_call(connect):
    with scripted_server() as server:
        engine = connect(server.url, max_retries=1000, retry_wait_s=0.01)
        await call(engine)
    answers = []

    async def ask_meanwhile():
        answers.append(await call(engine))

    async with anyio.create_task_group() as group:
        group.start_soon(ask_meanwhile)
        await anyio.lowlevel.checkpoint()
        with scripted_server(port=int(server.url.rpartition(":")[2].removesuffix("/v1"))):
            while not answers:
                await anyio.lowlevel.checkpoint()


async def test_a_row_whose_time_ends_while_nothing_is_there_says_that_the_engine_is_gone(connect):
    with scripted_server() as server:
        engine = connect(server.url, retry_wait_s=1e6)
        await call(engine)
    with pytest.raises(EngineDiedError, match="is gone: no time is left to send it again"):
        await call(engine, timeout_s=0.2)


@pytest.mark.parametrize("others", [0, 10])
async def test_a_prompt_on_which_the_server_breaks_off_fails_alone(connect, others):
    with scripted_server(Script(faults=(Fault(kind="cut", containing="poison"),))) as server:
        found = await outcomes(connect(server.url), ["poison", *(str(n) for n in range(others))])
    error = found.pop("poison")
    assert isinstance(error, CallError)
    assert (error.kind, error.sent) == ("http", 7)
    assert not any(isinstance(outcome, EngineError) for outcome in found.values())


async def test_a_server_that_takes_connections_and_drops_them_all_is_gone(connect):
    def drop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drop)
        thread.start()
        with pytest.raises(EngineDiedError, match="the endpoint broke off the connection; sent 3 times"):
            await call(connect(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", max_retries=2))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_whose_server_is_dead_means_that_the_engine_is_gone(connect, status):
    with gateway() as (url, replies):
        engine = connect(url, max_retries=2)
        await call(engine)
        replies[:] = [(status, b"<html>Bad Gateway</html>")]
        with pytest.raises(EngineDiedError, match=f"is gone: the endpoint answered {status}; sent 3 times"):
            await call(engine)


async def test_a_proxy_that_is_well_itself_but_serves_no_call_of_several_means_that_the_engine_is_gone(connect):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=503, containing="later"),))) as server:
        engine = connect(server.url)
        await call(engine)
        found = await outcomes(engine, ["later 1", "later 2"])
    assert any(isinstance(error, EngineDiedError) for error in found.values())


@pytest.mark.parametrize("others", [0, 10])
async def test_a_prompt_that_the_server_is_never_ready_for_fails_alone(connect, others):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=503, containing="poison"),))) as server:
        found = await outcomes(connect(server.url), ["poison", *(str(n) for n in range(others))])
    assert isinstance(found["poison"], CallError)
    assert found["poison"].kind == "http"


@pytest.mark.parametrize("status", [408, 429, 500])
async def test_a_server_that_refuses_every_call_for_now_is_not_gone(connect, status):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=status, retry_after_s=0),))) as server:
        found = await outcomes(connect(server.url), [str(n) for n in range(5)])
    assert [type(error) for error in found.values()] == [CallError] * 5


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "the token has expired"}}, "the token has expired"),
        (402, {"error": {"message": "Insufficient Balance"}}, "Insufficient Balance"),
        (429, {"error": {"message": "exceeded your current quota", "code": "insufficient_quota"}}, "current quota"),
    ],
)
async def test_a_key_that_is_worth_nothing_any_more_ends_all_calls_although_some_were_served(
    connect, status, body, said
):
    with gateway() as (url, replies):
        engine = connect(url)
        await call(engine)
        replies[:] = [(status, orjson.dumps(body))]
        with pytest.raises(EngineError, match=f"cannot be used any more: .*{said}") as caught:
            await call(engine)
    assert not isinstance(caught.value, CallError)


async def test_an_answer_that_the_server_aborts_as_it_stops_is_sent_again(connect):
    choice = {"message": {"content": '{"half":'}, "finish_reason": "abort"}
    with gateway() as (url, replies):
        replies[:] = [(200, orjson.dumps({"choices": [choice]})), (200, ANSWER)]
        answer = await call(connect(url))
    assert (answer.choices[0].text, answer.sent) == ("x", 2)


def test_answers_to_older_requests_are_no_sign_of_life():
    signs = Signs()
    signs.requests = 7
    trouble = Trouble(signs)
    trouble.again()
    signs.newest, signs.replies = 7, 1
    assert trouble.doubt("no_connection") == "gone"


def test_an_answer_to_a_newer_request_is_a_sign_of_life():
    signs = Signs()
    signs.requests = 7
    trouble = Trouble(signs)
    signs.requests = signs.newest = 8
    assert [trouble.doubt(absence) for absence in ("no_connection", "cut", "gateway")] == ["alive"] * 3


def test_a_proxys_refusals_prove_nothing_as_long_as_anybody_is_answered():
    signs = Signs()
    one, other = Trouble(signs), Trouble(signs)
    one.again()
    other.again()
    assert one.doubt("gateway") == "gone"
    signs.replies += 1
    assert one.doubt("gateway") == "ask"
    other.over()


@pytest.mark.parametrize(("tries", "least_s", "most_s"), [(1, 0.25, 0.75), (3, 1, 3), (9, 15, 30)])
def test_no_call_gives_its_server_much_less_time_to_come_back_than_the_others(tries, least_s, most_s):
    state = RetryCallState(None, None, (), {})
    state.attempt_number = tries
    waits = [waits_of(0.5)(state) for _ in range(500)]
    assert least_s <= min(waits) < max(waits) <= most_s
