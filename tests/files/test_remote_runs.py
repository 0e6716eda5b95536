"""Runs whose folder is a URL: the same files as those of a local one, also after a crash; and how they are read."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from chainette import Chain, RunFolderError, apply
from chainette.files.mirror import Mirror
from chainette.files.reading import RunReader, find_run, list_runs
from chainette.files.remote_carrier import Carrier
from chainette.files.remote_reading import ask_remote_to_stop
from tests.crash.said import wrongly_said
from tests.models import Answer, Question, step

QA = step("qa", Question, Answer, output_format_instruction="")
DERIVED = ("inputs/", "steps/", "flattened/", "failed/")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def base() -> Iterator[str]:
    """A folder of the memory store, for this test alone."""
    name = f"/runs-{secrets.token_hex(4)}"
    yield f"memory:/{name}"
    for path in [path for path in MemoryFileSystem.store if path.startswith(name)]:
        del MemoryFileSystem.store[path]


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket of a real S3 server on loopback."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{secrets.token_hex(4)}"
    fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True).mkdir(name)
    return f"s3://{name}"


def there(url: str) -> dict[str, bytes]:
    """Every object of a run, by name."""
    filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    return {path[len(root) + 1 :]: filesystem.cat_file(path) for path in filesystem.find(root)}


def here(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def derived(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith(DERIVED)}


def drop_spool(tmp_path: Path) -> None:
    """As if the next command were on another machine."""
    shutil.rmtree(tmp_path / "cache")


def questions(count: int) -> list[Question]:
    return [Question(text=f"q{number}") for number in range(count)]


def upper(answer: Answer) -> Answer | None:
    return None if " " in answer.answer else Answer(answer=answer.answer.upper())


def chain() -> Chain:
    return Chain(name="remote", steps=[QA, apply(upper)])


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_remote_run_leaves_the_files_of_a_local_one(engine: Any, base: str, tmp_path: Path, format: str) -> None:
    engine()
    options = {"format": format, "max_lines_per_file": 7, "chunk_size": 4}
    local = chain().run(questions(30), output_dir=tmp_path / "local", **options)

    remote = chain().run(questions(30), output_dir=f"{base}/run", **options)

    assert derived(there(f"{base}/run")) == derived(here(tmp_path / "local"))
    assert there(f"{base}/run").keys() == here(tmp_path / "local").keys()
    assert list(remote.outputs) == list(local.outputs)
    assert (remote.place, remote.url) == (f"{base}/run", f"{base}/run")


def test_a_run_without_a_name_gets_one_under_a_remote_runs_dir(engine: Any, base: str) -> None:
    engine()
    result = chain().run(questions(2), runs_dir=base)

    assert result.place.startswith(f"{base}/remote-")
    assert [run.name for run in list_runs(base)] == [result.run_id]


def stopping_after(count: int) -> Iterator[Question]:
    yield from questions(count)
    raise ConnectionError("the source is gone")


def test_a_stopped_run_goes_on_from_the_remote_folder_alone(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    options = {"max_lines_per_file": 7, "chunk_size": 4}
    chain().run(questions(30), output_dir=tmp_path / "local", **options)
    with pytest.raises(ConnectionError):
        chain().run(stopping_after(18), output_dir=f"{base}/run", **options)
    drop_spool(tmp_path)

    result = chain().run(questions(30), resume=f"{base}/run")

    assert result.state == "done"
    assert derived(there(f"{base}/run")) == derived(here(tmp_path / "local"))


def test_a_run_that_is_done_is_not_made_again(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    made = list(chain().run(questions(3), output_dir=f"{base}/run").outputs)
    before = there(f"{base}/run")
    drop_spool(tmp_path)

    result = chain().run(None, resume=f"{base}/run")

    assert result.nothing_to_do
    assert list(result.outputs) == made
    assert there(f"{base}/run") == before


def test_failed_rows_of_a_remote_run_are_healed_in_their_places(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    chain().run(questions(20), output_dir=tmp_path / "local", chunk_size=4)
    engine(faults=[{"kind": "decline", "containing": "q1"}])
    chain().run(questions(20), output_dir=f"{base}/run", chunk_size=4, max_failed="100%")
    assert any(name.startswith("failed/") for name in there(f"{base}/run"))
    drop_spool(tmp_path)
    engine()

    chain().run(None, retry=f"{base}/run", force=True)

    assert derived(there(f"{base}/run")) == derived(here(tmp_path / "local"))


def test_a_new_run_reuses_the_calls_of_a_remote_one(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    chain().run(questions(5), output_dir=f"{base}/old")
    drop_spool(tmp_path)

    result = chain().run(questions(5), output_dir=f"{base}/new", reuse=f"{base}/old")

    assert result.stats["nodes"]["qa"]["reused"] == 5
    assert json.loads(there(f"{base}/new")["graph.json"])["options"]["reuse"] == f"{base}/old"


def test_a_folder_that_another_run_writes_is_refused_before_anything_starts(base: str) -> None:
    Carrier.take(f"{base}/run").begin_new()

    with pytest.raises(RunFolderError, match=rf"{base}/run is being written by process {os.getpid()}"):
        Chain(name="c", steps=[apply(upper)]).run([Answer(answer="a")], output_dir=f"{base}/run")


def test_a_url_that_holds_a_run_is_no_place_for_another(base: str) -> None:
    one = Chain(name="c", steps=[apply(upper)])
    one.run([Answer(answer="a")], output_dir=f"{base}/run")
    before = there(f"{base}/run")

    with pytest.raises(RunFolderError, match="holds a run already"):
        one.run([Answer(answer="a")], output_dir=f"{base}/run")
    assert there(f"{base}/run") == before


def test_a_url_without_a_run_cannot_be_resumed(base: str) -> None:
    with pytest.raises(RunFolderError, match=f"there is no run at {base}/none"):
        Chain(name="c", steps=[apply(upper)]).run([Answer(answer="a")], resume=f"{base}/none")
    assert there(f"{base}/none") == {}


def test_a_remote_run_is_read_like_a_local_one(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    made = chain().run(questions(5), output_dir=f"{base}/run")
    expected, kept = list(made.steps["qa"]), len(made.outputs)
    drop_spool(tmp_path)

    reader = RunReader(f"{base}/run")

    assert [row.answer for row in reader.rows("qa", Answer)] == [answer.answer for answer in expected]
    assert [row["_id"] for row in reader.inputs()] == ["0", "1", "2", "3", "4"]
    assert reader.step_ids() == ["qa", "upper"]
    assert len(reader.flattened()) == kept
    assert RunReader(find_run("run", base)).status()["state"] == "done"
    assert [(run.name, run.state, run.path) for run in list_runs(base)] == [("run", "done", f"{base}/run")]


def test_only_the_files_that_are_asked_for_are_brought_here(engine: Any, base: str, tmp_path: Path) -> None:
    engine()
    kept = len(chain().run(questions(5), output_dir=f"{base}/run").outputs)
    drop_spool(tmp_path)

    reader = RunReader(f"{base}/run")
    assert len(reader.rows("upper")) == kept

    brought = {path.relative_to(reader.path).parts[0] for path in reader.path.rglob("*") if path.is_file()}
    assert brought == {"graph.json", "status.json", "steps"}
    assert not (reader.path / "steps/qa").exists()


def test_a_run_that_is_going_on_is_listed_as_running(engine: Any, base: str) -> None:
    engine()
    seen: list[str] = []

    def look(answer: Answer) -> Answer:
        if not seen:
            ask_until(lambda: "running" in [run.state for run in list_runs(base)])
            seen.append("running")
        return answer

    Chain(name="c", steps=[apply(look)]).run([Answer(answer="a")], output_dir=f"{base}/run")

    assert seen
    assert [run.state for run in list_runs(base)] == ["done"]


def test_being_asked_to_stop_reaches_the_run_with_its_heartbeat(base: str, tmp_path: Path) -> None:
    mirror = Mirror(f"{base}/run", tmp_path / "spool")
    mirror.take()
    mirror.pull()
    ask_remote_to_stop(f"{base}/run", now=True)
    mirror._lock._renewed -= 11

    mirror.push()

    assert (tmp_path / "spool/.cancel").read_bytes() == b"now"
    assert ".cancel" not in there(f"{base}/run")


class Outage:
    """A store that cannot be reached while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = False
        self.error: type[Exception] = ConnectionError
        for name in ("pipe_file", "cat_file", "info", "find"):
            self._break(monkeypatch, name)

    def _break(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        unbroken = getattr(MemoryFileSystem, name)

        def broken(fs: MemoryFileSystem, *args: Any, **kwargs: Any) -> Any:
            if self.lasts:
                raise self.error("no route to host")
            return unbroken(fs, *args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, name, broken)


def carrier_of(mirror: Mirror) -> Carrier:
    mirror.take()
    carrier = Carrier(mirror)
    carrier.begin_new()
    return carrier


def ask_until(is_so: Callable[[], bool]) -> None:
    """Each asking goes to the store and back."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end


def test_a_short_outage_is_told_and_survived(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outage = Outage(monkeypatch)
    carrier = carrier_of(Mirror(f"{base}/run", tmp_path / "spool"))
    carrier.start()
    outage.lasts = True
    (carrier.path / "commits.jsonl").write_bytes(b"{}\n")
    carrier.nudge()
    told = [carrier.warnings.get(timeout=20)]
    outage.lasts = False
    told.append(carrier.warnings.get(timeout=20))
    carrier.close()

    assert "no route to host" in told[0]
    assert "can be reached again" in told[1]
    assert there(f"{base}/run") == {"commits.jsonl": b"{}\n"}


def test_a_long_outage_ends_the_run_and_says_where_everything_is(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    carrier = carrier_of(Mirror(f"{base}/run", tmp_path / "spool", patience_s=0))
    carrier.start()
    outage.lasts = True
    (carrier.path / "commits.jsonl").write_bytes(b"{}\n")
    carrier.nudge()
    carrier.wait()

    with pytest.raises(RunFolderError) as caught:
        carrier.nudge()
    carrier.release()

    assert f"cannot be carried over to {base}/run" in str(caught.value)
    assert f"Everything is in {tmp_path / 'spool'}" in str(caught.value)
    assert f"chainette resume {base}/run" in str(caught.value)


def test_a_run_that_lost_its_store_goes_on_from_its_spool(
    engine: Any, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine()
    chain().run(questions(30), output_dir=tmp_path / "local", chunk_size=4)
    outage = Outage(monkeypatch)
    outage.error = PermissionError

    def rows() -> Iterator[Question]:
        for number, question in enumerate(questions(30)):
            if number == 20:
                outage.lasts = True
            yield question

    with pytest.raises(RunFolderError, match="Everything is in"):
        chain().run(rows(), output_dir=f"{base}/run", chunk_size=4)
    outage.lasts = False

    result = chain().run(questions(30), resume=f"{base}/run")

    assert result.state == "done"
    assert derived(there(f"{base}/run")) == derived(here(tmp_path / "local"))


def test_a_run_on_an_s3_server_leaves_the_files_of_a_local_one(engine: Any, bucket: str, tmp_path: Path) -> None:
    engine()
    options = {"max_lines_per_file": 7, "chunk_size": 4}
    chain().run(questions(30), output_dir=tmp_path / "local", **options)

    chain().run(questions(30), output_dir=f"{bucket}/runs/one", **options)

    assert derived(there(f"{bucket}/runs/one")) == derived(here(tmp_path / "local"))
    assert there(f"{bucket}/runs/one").keys() == here(tmp_path / "local").keys()
    assert [run.state for run in list_runs(f"{bucket}/runs")] == ["done"]


KILLED = """
import sys
from chainette import Chain, apply
from chainette.specs import EngineSpec, default_registry
from tests.files.test_remote_runs import chain, questions

default_registry.add(EngineSpec.parse({"name": "stand_in", "backend": "scripted", "script": {}}))

def rows():
    for number, question in enumerate(questions(30)):
        if number == 20:
            print("waiting", flush=True)
            sys.stdin.read()
        yield question

chain().run(rows(), output_dir=sys.argv[1], max_lines_per_file=7, chunk_size=4)
"""


def test_a_killed_run_goes_on_from_the_s3_server_alone_with_the_same_bytes(
    engine: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine()
    chain().run(questions(30), output_dir=tmp_path / "local", max_lines_per_file=7, chunk_size=4)
    url = f"{bucket}/run"

    def seen_from_elsewhere() -> int:
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
            return sum(1 for _ in calls_logged(url))

    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, url]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        ask_until(lambda: seen_from_elsewhere() >= 16)
        with pytest.raises(RunFolderError, match=f"is being written by process {process.pid}, last heard of"):
            chain().run(questions(30), resume=url)
        process.send_signal(signal.SIGKILL)
    logged = seen_from_elsewhere()
    drop_spool(tmp_path)

    result = chain().run(questions(30), resume=url)

    assert result.state == "done"
    assert derived(there(url)) == derived(here(tmp_path / "local"))
    assert sum(1 for _ in calls_logged(url)) == 30
    assert logged >= 16
    assert not [name for name in there(url) if name.startswith(".")]
    for name in ("events.jsonl", "commits.jsonl"):
        (tmp_path / "local" / name).write_bytes(there(url)[name])
    assert wrongly_said(tmp_path / "local") == []


def calls_logged(url: str) -> Iterator[dict[str, Any]]:
    try:
        yield from RunReader(url).calls("qa")
    except RunFolderError:
        return


def test_a_bucket_that_is_not_there_is_an_error_before_anything_starts(bucket: str) -> None:
    with pytest.raises(RunFolderError, match=r"s3://no-such-bucket-here/run.*bucket does not exist"):
        Chain(name="c", steps=[apply(upper)]).run([Answer(answer="a")], output_dir="s3://no-such-bucket-here/run")


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[str]:
    """The URL of an FTP server on loopback: folders, one connection, no writing that is whole or not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's asyncore
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

    (tmp_path / "ftp").mkdir()
    authorizer = DummyAuthorizer()
    authorizer.add_user("me", "secret", str(tmp_path / "ftp"), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = FTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.01, "handle_exit": False})
    thread.start()
    yield f"ftp://me:secret@127.0.0.1:{server.address[1]}"
    server.close_all()
    thread.join()


def test_a_run_on_an_ftp_server_leaves_the_files_of_a_local_one(engine: Any, ftp: str, tmp_path: Path) -> None:
    engine()
    options = {"max_lines_per_file": 7, "chunk_size": 4}
    chain().run(questions(20), output_dir=tmp_path / "local", **options)
    with pytest.raises(ConnectionError):
        chain().run(stopping_after(10), output_dir=f"{ftp}/runs/one", **options)
    drop_spool(tmp_path)

    result = chain().run(questions(20), resume=f"{ftp}/runs/one")

    assert derived(here(tmp_path / "ftp/runs/one")) == derived(here(tmp_path / "local"))
    assert here(tmp_path / "ftp/runs/one").keys() == here(tmp_path / "local").keys()
    assert "secret" not in result.place
    assert not any(b"secret" in data for data in here(tmp_path / "ftp/runs/one").values())
