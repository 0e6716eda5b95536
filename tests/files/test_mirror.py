"""A run folder behind a URL: what is there after any crash, who may write, what is said when it does not work."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainette.errors import RunFolderError
from chainette.files.mirror import Mirror, Sizes, is_remote
from chainette.files.remote_names import as_path, shown_url, without_passwords

TINY = Sizes(big_bytes=40, split_bytes=64, together_bytes=30, join=2, garbage=3)


class Crash(BaseException):
    """The process is gone: nothing handles it, and nothing reaches the store any more."""


class Store:
    """The objects below a memory:// URL, and how many more changes of it the process lives to see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = f"/store-{secrets.token_hex(4)}"
        self.url = f"memory:/{self.name}/run"
        self.left: int | None = None
        self.error: Callable[[], BaseException] = Crash
        self.carried_out = False
        """Whether a request that fails was carried out all the same."""
        for method in ("pipe_file", "put_file", "_rm"):
            self._count(monkeypatch, method)

    def _count(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        unbroken = getattr(MemoryFileSystem, method)

        def counted(fs: MemoryFileSystem, *args: object, **kwargs: object) -> object:
            if self.left is not None:
                if self.left == 0:
                    if self.carried_out:
                        unbroken(fs, *args, **kwargs)
                    raise self.error()
                self.left -= 1
            return unbroken(fs, *args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, method, counted)

    def names(self) -> list[str]:
        start = f"{self.name}/run/"
        return sorted(path.removeprefix(start) for path in MemoryFileSystem.store if path.startswith(start))

    def age(self, seconds: float) -> None:
        """As if all that is there had been written so much earlier."""
        from datetime import timedelta

        for path, file in MemoryFileSystem.store.items():
            if path.startswith(self.name):
                file.created -= timedelta(seconds=seconds)

    def clear(self) -> None:
        for path in [path for path in MemoryFileSystem.store if path.startswith(self.name)]:
            del MemoryFileSystem.store[path]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store(monkeypatch)
    yield made
    made.clear()


def opened(store: Store, spool: Path, sizes: Sizes = TINY) -> Mirror:
    mirror = Mirror(store.url, spool, patience_s=0, sizes=sizes)
    mirror.take()
    mirror.pull()
    return mirror


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(data)


def replaced(folder: Path, name: str, data: bytes) -> None:
    put(folder, f"{name}.new", data)
    os.replace(folder / f"{name}.new", folder / name)


def test_what_was_pushed_is_what_another_machine_pulls(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    put(tmp_path / "a", "steps/qa/000.jsonl", b"one\n")
    put(tmp_path / "a", "commits.jsonl", b"{}\n")
    mirror.push()
    put(tmp_path / "a", "steps/qa/000.jsonl", b"two\n")
    mirror.push()
    before = content(tmp_path / "a")
    put(tmp_path / "a", "steps/qa/000.jsonl", b"three\n")
    store.age(100)

    opened(store, tmp_path / "b")

    assert content(tmp_path / "b") == before


def test_nothing_is_written_when_nothing_changed(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    put(tmp_path / "a", "commits.jsonl", b"{}\n")
    mirror.push()
    store.left = 0

    mirror.push()


def test_a_push_is_one_object_however_many_files_grew(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    mirror.push()
    for number in range(10):
        put(tmp_path / "a", f"calls/{number}/000.jsonl", b"{}\n")
    store.left = 1

    mirror.push()


def test_a_full_part_has_its_own_name_and_an_open_one_has_not(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a", Sizes())
    put(tmp_path / "a", "steps/qa/000.jsonl", b"one\n")
    mirror.push()
    assert [name for name in store.names() if name.startswith("steps")] == []
    put(tmp_path / "a", "steps/qa/001.jsonl", b"two\n")
    put(tmp_path / "a", ".open/steps/other/000.jsonl", b"{}\n")
    put(tmp_path / "a", "steps/sum/000.parquet", b"PAR1")
    mirror.push()

    assert [name for name in store.names() if not name.startswith(".")] == [
        "steps/qa/000.jsonl",
        "steps/sum/000.parquet",
    ]
    (tmp_path / "a/steps/sum/000.parquet").unlink()
    mirror.push()
    assert "steps/sum/000.parquet" not in store.names()


def test_pushes_go_on_while_a_large_part_goes_up(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    unhindered = MemoryFileSystem.put_file

    def slow(fs: MemoryFileSystem, *args: object, **kwargs: object) -> None:
        assert gate.wait(20)
        unhindered(fs, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "put_file", slow)
    mirror = opened(store, tmp_path / "a", Sizes(together_bytes=10, aside_bytes=20))
    put(tmp_path / "a", "steps/qa/000.jsonl", b"one\n" * 10)
    mirror.push()
    put(tmp_path / "a", "steps/qa/001.jsonl", b"two\n")
    mirror.push()
    put(tmp_path / "a", "calls/qa/000.jsonl", b"{}\n")
    mirror.push()

    pushed = content(tmp_path / "a")
    store.age(100)
    opened(store, tmp_path / "b")
    assert content(tmp_path / "b") == pushed
    assert "steps/qa/000.jsonl" not in store.names()
    gate.set()


def test_a_closed_folder_is_an_ordinary_one(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    for number in range(20):
        put(tmp_path / "a", "calls/qa/000.jsonl", b"call %d\n" % number)
        replaced(tmp_path / "a", "status.json", b"%d" % number)
        mirror.push()
    put(tmp_path / "a", "events.jsonl", b"")
    mirror.close()

    assert store.names() == ["calls/qa/000.jsonl", "events.jsonl", "status.json"]
    opened(store, tmp_path / "b")
    assert content(tmp_path / "b") == content(tmp_path / "a")


def test_the_journal_stays_small_however_long_the_run(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a", Sizes())
    for number in range(600):
        put(tmp_path / "a", "calls/qa/000.jsonl", b"call %d\n" % number)
        replaced(tmp_path / "a", "status.json", b"%d" % number)
        mirror.push()

    assert len(store.names()) < 100


GROWING = ["commits.jsonl", "calls/a/000.jsonl", "steps/a/000.jsonl"]
REPLACED = ["status.json", "steps/a/000.jsonl", "steps/b/000.parquet"]
CUT = ["commits.jsonl", "steps/a/000.jsonl", "steps/a/001.jsonl"]
REMOVED = ["steps/a/001.jsonl", "steps/a/000.jsonl", "steps/b/000.parquet"]
STEPS = st.one_of(
    st.tuples(st.just("grow"), st.sampled_from(GROWING), st.integers(1, 90)),
    st.tuples(st.just("replace"), st.sampled_from(REPLACED), st.integers(1, 50)),
    st.tuples(st.just("cut"), st.sampled_from(CUT), st.integers(0, 60)),
    st.tuples(st.just("roll"), st.just("steps/a/001.jsonl"), st.integers(1, 50)),
    st.tuples(st.just("remove"), st.sampled_from(REMOVED), st.just(0)),
    st.tuples(st.just("rename"), st.just("steps/a"), st.just(0)),
    st.tuples(st.sampled_from(["push", "push", "push", "close", "blip"]), st.just(""), st.integers(0, 9)),
)


Program = list[tuple[str, str, int]]


def change(spool: Path, what: str, name: str, size: int, number: int) -> None:
    data = (b"%d," % number * size)[:size]
    path = spool / name
    if what in ("grow", "roll"):
        put(spool, name, data)
    elif what == "replace":
        replaced(spool, name, data)
    elif what == "cut" and path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
    elif what == "remove":
        path.unlink(missing_ok=True)
    elif what == "rename" and path.is_dir() and not (spool / "old").exists():
        path.rename(spool / "old")


def crashes_in(store: Store, root: Path, program: Program, lives: int, keep_spool: bool) -> bool:
    """Plays `program` until the store has been changed `lives` times, and looks at what is there then."""
    spool, opening = root / "0", 0
    pushed: list[dict[str, bytes]] = [{}]
    store.left = lives
    try:
        mirror = opened(store, spool)
        for number, (what, name, size) in enumerate(program):
            change(spool, what, name, size, number)
            if what in ("push", "cut"):
                pushed.append(content(spool))
                mirror.push()
                pushed = pushed[-1:]
            elif what == "close":
                pushed.append(content(spool))
                mirror.close()
                pushed = pushed[-1:]
                opening += 1
                spool = spool if keep_spool else root / str(opening)
                mirror = opened(store, spool)
                assert content(spool) == pushed[-1]
            elif what == "blip":
                pushed.append(content(spool))
                left, store.left, store.error = store.left, size // 2, lambda: OSError("connection reset")
                store.carried_out = bool(size % 2)
                with contextlib.suppress(RunFolderError):
                    mirror.push()
                store.left, store.error, store.carried_out = max(left - size, 0), Crash, False
        crashed = False
    except Crash:
        crashed = True
    store.left = None
    store.age(100)
    opened(store, root / "pulled")
    assert content(root / "pulled") in pushed
    store.age(100)
    opened(store, spool).close()
    opened(store, root / "again")
    assert content(root / "again") == content(spool)
    store.clear()
    return crashed


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.lists(STEPS, max_size=25), lives=st.integers(0, 60), keep_spool=st.booleans())
def test_after_a_crash_at_any_request_the_folder_is_that_of_a_push(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    program: Program,
    lives: int,
    keep_spool: bool,
) -> None:
    with monkeypatch.context() as patch:
        crashes_in(Store(patch), tmp_path_factory.mktemp("run"), program, lives, keep_spool)


PUSH, CLOSE = ("push", "", 0), ("close", "", 0)
PART, NEXT, PARQUET = "steps/a/000.jsonl", "steps/a/001.jsonl", "steps/b/000.parquet"
PROGRAMS: dict[str, Program] = {
    "a first push": [("grow", "commits.jsonl", 65), ("replace", PARQUET, 9), PUSH, PUSH],
    "a part that became full and was cut": [
        *(("roll", NEXT, 9), ("grow", PART, 20), PUSH, PUSH),
        *(("cut", PART, 5), ("grow", PART, 30), PUSH, CLOSE, ("grow", PART, 9), PUSH),
    ],
    "a sealed part that was replaced": [
        *(PUSH, ("replace", PARQUET, 20), PUSH, ("replace", PARQUET, 15), PUSH, PUSH, ("replace", PARQUET, 15), CLOSE),
    ],
    "parts that were removed": [
        *(PUSH, ("roll", NEXT, 9), ("grow", PART, 20), PUSH, ("replace", PARQUET, 20), PUSH),
        *(("remove", PART, 0), ("remove", PARQUET, 0), PUSH, CLOSE, ("grow", PART, 9), PUSH),
    ],
    "a part that was made anew": [
        *(("grow", "commits.jsonl", 3), PUSH, ("grow", PART, 20), PUSH, ("remove", PART, 0), ("grow", PART, 33), PUSH),
    ],
    "many small pushes": [*[("grow", "commits.jsonl", 7), ("replace", "status.json", 5), PUSH] * 9, CLOSE, PUSH],
    "exchanged folders": [("grow", PART, 20), ("roll", NEXT, 9), PUSH, PUSH, ("rename", "steps/a", 0), PUSH, CLOSE],
    **{
        f"a push that failed after {size / 2} requests": [
            *(PUSH, ("roll", NEXT, 9), ("grow", PART, 20), ("blip", "", size), ("replace", PART, 20)),
            *(("grow", "commits.jsonl", 4),),
            *(PUSH, PUSH, ("replace", PART, 15), ("blip", "", size), ("replace", PART, 11), PUSH, CLOSE),
        ]
        for size in (1, 2, 3, 5)
    },
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_wherever_a_crash_comes_the_folder_is_that_of_a_push(store: Store, tmp_path: Path, name: str) -> None:
    lives = 0
    while crashes_in(store, tmp_path / str(lives), PROGRAMS[name], lives, keep_spool=lives % 2 == 0):
        lives += 1


def test_a_spool_that_was_ahead_when_the_process_died_is_not_thrown_away(store: Store, tmp_path: Path) -> None:
    first = opened(store, tmp_path / "a")
    put(tmp_path / "a", "calls/qa/000.jsonl", b"one\n")
    first.push()
    put(tmp_path / "a", "calls/qa/000.jsonl", b"two\n")
    store.age(100)

    again = opened(store, tmp_path / "a")
    again.push()
    store.age(100)

    opened(store, tmp_path / "b")
    assert (tmp_path / "b/calls/qa/000.jsonl").read_bytes() == b"one\ntwo\n"


def test_a_spool_of_which_nothing_was_pushed_is_not_thrown_away(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path / "a").close()
    opened(store, tmp_path / "b").close()
    opened(store, tmp_path / "b")
    put(tmp_path / "b", "calls/qa/000.jsonl", b"one\n")
    store.age(100)

    opened(store, tmp_path / "b")

    assert content(tmp_path / "b") == {"calls/qa/000.jsonl": b"one\n"}


def test_a_spool_that_was_overtaken_elsewhere_becomes_what_the_folder_holds(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path / "a").push()
    put(tmp_path / "a", "calls/qa/000.jsonl", b"never pushed\n")
    store.age(100)
    elsewhere = opened(store, tmp_path / "b")
    put(tmp_path / "b", "calls/qa/000.jsonl", b"pushed\n")
    elsewhere.push()
    store.age(100)

    opened(store, tmp_path / "a")

    assert content(tmp_path / "a") == {"calls/qa/000.jsonl": b"pushed\n"}


def test_only_what_changed_is_pulled_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = opened(store, tmp_path / "a")
    put(tmp_path / "a", "steps/qa/000.jsonl", b"one\n" * 20)
    put(tmp_path / "a", "steps/qa/001.jsonl", b"two\n")
    mirror.close()
    opened(store, tmp_path / "b").close()
    read: list[str] = []
    unspied = MemoryFileSystem.cat_file

    def spy(fs: MemoryFileSystem, path: str, *args: object, **kwargs: object) -> bytes:
        read.append(path.rpartition("run/")[2])
        return unspied(fs, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", spy)
    opened(store, tmp_path / "b")

    assert [name for name in read if name.startswith("steps")] == []


def test_a_file_that_was_made_anew_elsewhere_is_pulled_again(store: Store, tmp_path: Path) -> None:
    first = opened(store, tmp_path / "a")
    put(tmp_path / "a", "failed/qa.jsonl", b"one\n")
    first.close()
    opened(store, tmp_path / "b").close()
    again = opened(store, tmp_path / "a")
    replaced(tmp_path / "a", "failed/qa.jsonl", b"two\n")
    again.close()

    opened(store, tmp_path / "b")

    assert content(tmp_path / "b") == {"failed/qa.jsonl": b"two\n"}


def test_a_second_writer_is_refused_and_told_who_writes(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path / "a")

    with pytest.raises(RunFolderError, match=rf"is being written by process {os.getpid()}, last heard of 0 s ago"):
        Mirror(store.url, tmp_path / "b").take()


def test_a_folder_whose_writer_was_not_heard_of_for_a_minute_is_taken_over(store: Store, tmp_path: Path) -> None:
    lost = opened(store, tmp_path / "a")
    store.age(61)
    opened(store, tmp_path / "b")

    lost._lock._renewed -= 11
    with pytest.raises(RunFolderError, match="was taken over by process"):
        lost.push()


def test_a_folder_whose_writer_died_on_this_machine_is_taken_over_at_once(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path / "a").push()
    owner = MemoryFileSystem.store[f"{store.name}/run/.owner.json"]
    data = {**json.loads(owner.getvalue()), "started": "of a process before"}
    MemoryFileSystem().pipe_file(f"{store.name}/run/.owner.json", json.dumps(data).encode())

    opened(store, tmp_path / "b")


def test_who_died_while_taking_a_folder_stands_in_nobodys_way(store: Store, tmp_path: Path) -> None:
    store.left = 1  # the claim, and no more
    with pytest.raises(Crash):
        Mirror(store.url, tmp_path / "a").take()
    store.left = None
    with pytest.raises(RunFolderError, match="is just being taken by another process"):
        Mirror(store.url, tmp_path / "b").take()
    store.age(61)

    Mirror(store.url, tmp_path / "b").take()


def test_a_closed_folder_may_be_taken_at_once(store: Store, tmp_path: Path) -> None:
    opened(store, tmp_path / "a").close()
    opened(store, tmp_path / "b")


def test_the_heartbeat_is_renewed_without_news(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    mirror.push()
    store.age(61)
    mirror._lock._renewed -= 11
    mirror.push()

    with pytest.raises(RunFolderError, match="is being written by"):
        Mirror(store.url, tmp_path / "b").take()


def test_a_deleted_remote_folder_ends_the_run(store: Store, tmp_path: Path) -> None:
    mirror = opened(store, tmp_path / "a")
    mirror.push()
    store.clear()
    mirror._lock._renewed -= 11

    with pytest.raises(RunFolderError, match="was deleted"):
        mirror.push()


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("s3://bucket/run", True),
        ("memory://run", True),
        (Path("gs://bucket/run"), True),
        ("runs/x", False),
        ("file:///tmp/run", False),
        ("C:\\runs\\x", False),
        (Path("/tmp/run"), False),
    ],
)
def test_what_is_remote(path: str | Path, remote: bool) -> None:
    assert is_remote(path) is remote


@pytest.mark.parametrize("url", ["file:///tmp/run", "local:///tmp/run", Path("file:///tmp/run"), "/tmp/run"])
def test_a_url_of_this_machine_is_a_place_on_it(url: str | Path) -> None:
    assert as_path(url) == Path("/tmp/run")


def test_a_password_in_the_url_is_shown_nowhere() -> None:
    assert shown_url("ftp://me:se%40cret@host/run") == "ftp://me:***@host/run"
    with pytest.raises(RunFolderError) as caught:
        Mirror("ftp://me:se%40cret@127.0.0.1:1/run")
    assert "cret" not in str(caught.value)


def test_a_protocol_nobody_knows_is_refused_with_the_way_to_see_which_are() -> None:
    with pytest.raises(RunFolderError, match="available_protocols"):
        Mirror("nosuch://bucket/run")


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(RunFolderError, match=r"pip install gcsfs"):
        Mirror("gs://bucket/run")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("ftp://me:hush@host/run", "ftp://me:***@host/run"),
        ("https://h/a.jsonl?part=2&X-Amz-Signature=hush&v=1", "https://h/a.jsonl?part=2&X-Amz-Signature=***&v=1"),
        ("https://h/x?api_key=hush", "https://h/x?api_key=***"),
        ("what? a=b", "what? a=b"),
    ],
)
def test_what_was_typed_is_kept_without_the_secrets_in_its_urls(typed: str, shown: str) -> None:
    assert without_passwords(typed) == shown
