"""An endpoint that has served nothing yet: what would meet every call alike ends them all."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

import pytest

from chainette import Chain, register_engine
from chainette.engine import CallError
from chainette.engine.scripted import Fault, Script, scripted_server
from chainette.errors import EngineDiedError, EngineError
from chainette.specs import SamplingParams
from tests.engine.conftest import ask
from tests.models import Answer, Question, step

pytestmark = pytest.mark.anyio

SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFW16W6P5O71osLHj
xKViSkiQmQjE/gKMj16sxcwdTbyhRANCAATr5ziZNG/eX8nUdYVu2xFp2J1fNJLs
l1GTArkyXOFyTkulvImUpeW4vHw2J1n1AJ0K/Av/Kw9Rs6fZ9MBAYQit
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUfyH0QnkKDOrmCHVA4hj651NCs68wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTAyMjkyM1oYDzIxMjYxMDI4
MDIyOTIzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATr5ziZNG/eX8nUdYVu2xFp2J1fNJLsl1GTArkyXOFyTkulvImUpeW4
vHw2J1n1AJ0K/Av/Kw9Rs6fZ9MBAYQito28wbTAdBgNVHQ4EFgQU1F9K24HtFUMV
xXCyVuw/CTqTS48wHwYDVR0jBBgwFoAU1F9K24HtFUMVxXCyVuw/CTqTS48wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgDC/lSXjsj0bDe8cUHb4LvKZL+uI5CQIqThfgQR+9POwCIQCn
1sqKWFuieV45nhvD53Cza4m1UcxFLDcxigvjwaOE9g==
-----END CERTIFICATE-----
"""


async def call(engine, text="?", timeout_s=None):
    return await engine.call(engine.prepare(None, SamplingParams()), ask(text), timeout_s)


@pytest.fixture
def nowhere():
    """The URL of a server that is gone."""
    with scripted_server() as server:
        return server.url


async def test_an_endpoint_where_nothing_listens_is_given_up_after_the_tries_of_one_call(connect, nowhere):
    with pytest.raises(EngineDiedError) as caught:
        await call(connect(nowhere, max_retries=1))
    assert str(caught.value) == (
        f'engine "here" at {nowhere}/chat/completions cannot be used: nothing answers at the endpoint '
        "(Connection refused); sent 2 times. Is `endpoint` right, and the server up?"
    )


async def test_an_endpoint_that_nothing_reaches_in_a_rows_time_is_given_up(connect, nowhere):
    with pytest.raises(EngineDiedError, match=r"cannot be used: no time is left.*nothing answers"):
        await call(connect(nowhere, retry_wait_s=1e6, max_retries=50), timeout_s=0.2)


async def test_an_endpoint_whose_name_is_unknown_is_given_up(connect):
    with pytest.raises(EngineDiedError, match=r"http://nowhere\.invalid/v1.*nothing answers at"):
        await call(connect("http://nowhere.invalid/v1", max_retries=0))


@pytest.fixture
def self_signed_port(tmp_path):
    """Where a server with a certificate of nobody's takes one connection."""
    file = tmp_path / "self_signed.pem"
    file.write_text(SELF_SIGNED)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)

    def shake_hands() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=shake_hands)
        server.start()
        yield listener.getsockname()[1]
        server.join()


async def test_a_certificate_that_is_not_accepted_is_an_error_of_the_engine_at_once(connect, self_signed_port):
    with pytest.raises(EngineError, match="TLS certificate is not accepted") as caught:
        await call(connect(f"https://127.0.0.1:{self_signed_port}/v1"))
    assert not isinstance(caught.value, CallError)


@pytest.mark.parametrize(("status", "hint"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "some-model")])
async def test_a_wrong_key_or_model_on_the_first_call_is_an_error_of_the_engine(connect, status, hint):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=status),))) as server:
        with pytest.raises(
            EngineError, match=rf'engine "here" at {server.url}.* cannot be used: .*{status}.*{hint}'
        ) as caught:
            await call(connect(server.url))
        assert server.stats.calls == 1
    assert not isinstance(caught.value, CallError)


async def test_a_wrong_key_after_a_refusal_for_now_is_an_error_of_the_engine(connect):
    faults = (Fault(kind="refuse", attempts=1, retry_after_s=0), Fault(kind="refuse", status=401))
    with scripted_server(Script(faults=faults)) as server, pytest.raises(EngineError, match="be used") as caught:
        await call(connect(server.url))
    assert not isinstance(caught.value, CallError)


async def test_a_redirect_on_the_first_call_is_an_error_of_the_engine(connect):
    script = Script(faults=(Fault(kind="redirect"),))
    with scripted_server(script) as server, pytest.raises(EngineError, match="put that into `endpoint`") as caught:
        await call(connect(server.url))
    assert not isinstance(caught.value, CallError)


@pytest.mark.parametrize("status", [403, 404])
async def test_once_a_call_was_served_such_a_refusal_is_of_one_row_only(connect, status):
    with scripted_server(Script(faults=(Fault(kind="refuse", status=status, containing="lamp"),))) as server:
        engine = connect(server.url)
        await call(engine, "kettle")
        with pytest.raises(CallError, match=f"answered {status}"):
            await call(engine, "lamp")
        assert await call(engine, "kettle")


async def test_a_prompt_that_was_declined_proves_the_endpoint_too(connect):
    faults = (Fault(kind="context_length", containing="long"), Fault(kind="refuse", status=404))
    with scripted_server(Script(faults=faults)) as server:
        engine = connect(server.url)
        with pytest.raises(CallError, match="context"):
            await call(engine, "long")
        with pytest.raises(CallError, match="answered 404"):
            await call(engine, "short")


async def test_a_server_that_is_busy_fails_rows_one_by_one_from_the_first(connect):
    script = Script(faults=(Fault(kind="refuse", status=503),))
    with scripted_server(script) as server, pytest.raises(CallError, match="503"):
        await call(connect(server.url, max_retries=1))


async def test_a_key_that_cannot_stand_in_a_header_is_an_error_of_the_engine(connect):
    with scripted_server() as server:
        with pytest.raises(EngineError, match="no request can be sent") as caught:
            await call(connect(server.url, api_key="a\nb"))
        assert await call(connect(server.url, api_key="ab"))
    assert "a\nb" not in str(caught.value)


async def test_white_space_around_a_key_is_not_part_of_it(connect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame\n")
    with scripted_server(Script(api_key="sesame")) as server:
        assert await call(connect(server.url))


def test_a_wrong_key_stops_the_run_instead_of_failing_every_row():
    with scripted_server(Script(api_key="sesame")) as server:
        register_engine("keyed", backend="openai", model="m", endpoint=server.url, max_concurrency=2)
        chain = Chain(name="c", steps=[step("qa", Question, Answer, engine_name="keyed")])
        with pytest.raises(EngineError, match=r"401.*set the environment variable OPENAI_API_KEY"):
            chain.run([{"text": f"{n}"} for n in range(100)])
        assert server.stats.calls <= 2
