"""Finished calls, found by their key."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainette.errors import RunFolderError
from chainette.files import folder_name
from chainette.files.call_index import CallIndex
from chainette.files.call_log import CALLS_PER_FILE

Open = Callable[..., CallIndex]
A, B, C = "a" * 32, "0123456789abcdef" * 2, "c" * 32


def record(row_id: str, key: str = A, text: str = "yes", attempt: int = 0, **more: Any) -> dict[str, Any]:
    return {"_id": row_id, "key": key, "attempt": attempt, "text": text, **more}


def failed(row_id: str, key: str = A, attempt: int = 0) -> dict[str, Any]:
    return {"_id": row_id, "key": key, "attempt": attempt, "error": {"kind": "http", "message": "no"}, "sent": 1}


def write(run: Path, *records: dict[str, Any] | bytes, node: str = "qa", part: int = 0) -> Path:
    path = run / "calls" / folder_name(node) / f"{part:03d}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n" for line in records)
    return path


def text(found: dict[str, Any] | None) -> Any:
    return None if found is None else found["text"]


@pytest.fixture
def of(tmp_path: Path) -> Iterator[Open]:
    """Opens the calls of `tmp_path`; they are closed after the test."""
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(CallIndex.of(tmp_path, **options))


def test_a_record_is_found_whole_by_its_key_attempt_and_row(tmp_path: Path, of: Open) -> None:
    one = record("1", A, "one", usage={"prompt_tokens": 3}, reasoning=None)
    write(tmp_path, one, record("1", A, "again", attempt=1), record("1", B, "other"))
    index = of()
    assert len(index) == 3
    assert index.find(A, 0, "1") == one
    assert text(index.find(A, 1, "1")) == "again"
    assert text(index.find(B, 0, "1")) == "other"


@pytest.mark.parametrize(("key", "attempt", "row_id"), [(C, 0, "1"), (A, 1, "1"), (A, 0, "2"), ("short", 0, "1")])
def test_what_was_not_called_is_not_found(tmp_path: Path, of: Open, key: str, attempt: int, row_id: str) -> None:
    write(tmp_path, record("1", A))
    assert of().find(key, attempt, row_id) is None


def test_a_run_without_calls_has_nothing(tmp_path: Path, of: Open) -> None:
    index = of()
    assert (len(index), index.find(A, 0, "1"), index.take(A, 0, "1")) == (0, None, None)


def test_looking_does_not_take(tmp_path: Path, of: Open) -> None:
    write(tmp_path, record("1"))
    index = of()
    assert text(index.find(A, 0, "1")) == text(index.take(A, 0, "1")) == text(index.find(A, 0, "1")) == "yes"


def test_of_several_records_of_a_row_the_latest_counts(tmp_path: Path, of: Open) -> None:
    write(tmp_path, record("1", text="first"), record("2", text="another"), record("1", text="second"))
    write(tmp_path, record("1", text="third"), part=1)
    index = of()
    assert len(index) == 2
    assert text(index.find(A, 0, "1")) == "third"
    assert [text(index.take(A, 0, row)) for row in ("9", "9", "9")] == ["another", "third", None]


def test_a_row_takes_its_own_call_before_any_other(tmp_path: Path, of: Open) -> None:
    write(tmp_path, *(record(str(n), text=f"of {n}") for n in range(4)))
    index = of()
    taken = [text(index.take(A, 0, row)) for row in ("2", "new", "0", "3", "1", "late")]
    assert taken == ["of 2", "of 0", "of 1", "of 3", None, None]


def test_calls_of_other_attempts_and_keys_are_not_for_the_taking(tmp_path: Path, of: Open) -> None:
    write(tmp_path, record("1", A, attempt=1), record("2", B), record("1", A, "right"))
    index = of()
    assert [text(index.take(A, 0, row)) for row in ("9", "8")] == ["right", None]


def test_a_large_group_of_equal_prompts_is_given_out_once_each_in_the_order_of_the_log(
    tmp_path: Path, of: Open
) -> None:
    count = 5_000
    write(tmp_path, *(record(str(n), key, key[0] + str(n)) for n in range(count) for key in (B, A)))
    index = of()
    own = range(0, count, 3)
    assert [text(index.take(A, 0, str(n))) for n in own] == [f"a{n}" for n in own]
    left = [f"a{n}" for n in range(count) if n % 3]
    assert [text(index.take(A, 0, f"new {n}")) for n in range(len(left) + 2)] == [*left, None, None]
    assert index.take(A, 0, "1") is None


def test_nodes_share_calls_and_each_has_one_of_a_row_that_passed_both(tmp_path: Path, of: Open) -> None:
    write(tmp_path, record("1", text="fr"), node="outer/fr")
    write(tmp_path, record("1", text="de"), record("2", text="more"), node="de")
    assert len(of()) == 3
    for first, second in (("de", "outer/fr"), ("outer/fr", "de")):
        index = of()
        assert text(index.find(A, 0, "1", node_id=first)) == first[-2:]
        assert text(index.take(A, 0, "1", node_id=first)) == first[-2:]
        assert text(index.take(A, 0, "1", node_id=second)) == second[-2:]
        assert text(index.take(A, 0, "1", node_id=second)) == "more"


def test_without_calls_that_failed_an_older_answer_counts_again(tmp_path: Path, of: Open) -> None:
    talk = record("3", text='it said ,"error":{"kind":"http"}', nested={"a": 1, "error": {"b": 2}})
    write(tmp_path, record("1", text="old"), failed("1"), failed("2"), talk)
    everything, answered = of(), of(answered=True)
    assert (len(everything), len(answered)) == (3, 2)
    assert everything.find(A, 0, "1") == failed("1")
    assert text(answered.find(A, 0, "1")) == "old"
    assert answered.find(A, 0, "2") is None
    assert answered.find(A, 0, "3") == talk
    assert answered.damaged == 0


def test_half_a_line_at_the_end_is_no_record_and_no_damage(tmp_path: Path, of: Open) -> None:
    path = write(tmp_path, record("1"), record("2"))
    whole = path.read_bytes()
    line = whole.index(b"\n") + 1
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        index = of()
        assert (len(index), index.damaged) == (int(size >= line), 0)


@pytest.mark.parametrize(
    "damage",
    [
        b"\0" * 4_096 + b"\n",
        b"\n",
        b"}\n",
        orjson.dumps(record("9"))[:-9] + b"\n",
        orjson.dumps(record("9")).replace(b"yes", b"\0\0\0") + b"\n",
        orjson.dumps(record("9", key="A" * 32)) + b"\n",
        orjson.dumps(record("9", key="a" * 31)) + b"\n",
        b'{"_id":"9"}\n',
        b'{"_id":"9\n',
        b'{"_id":"9}\n' + orjson.dumps(record("9"))[8:] + b"\n",
        orjson.dumps(record("9")).replace(b'"attempt":0', b'"attempt":x') + b"\n",
    ],
)
def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path, of: Open, damage: bytes) -> None:
    write(tmp_path, record("1"), damage, record("2"), record("3", text="long" * 200))
    index = of()
    assert (len(index), index.damaged) == (3, damage.count(b"\n"))
    assert [text(index.find(A, 0, row)) for row in ("1", "9", "2")] == ["yes", None, "yes"]


def test_a_record_with_damage_inside_is_never_given(tmp_path: Path, of: Open) -> None:
    inside = orjson.dumps(record("1")).replace(b'"yes"', b'"y"es"') + b"\n"
    write(tmp_path, inside, record("2", text="good"))
    index = of()
    assert index.find(A, 0, "1") is None
    assert [text(index.take(A, 0, "1")), text(index.take(A, 0, "1"))] == ["good", None]


def test_the_first_records_of_a_node_can_be_left_out(tmp_path: Path, of: Open) -> None:
    write(tmp_path, *(record(str(n)) for n in range(4)), node="qa")
    write(tmp_path, *(record(str(n), B) for n in range(4)), node="outer/qa")
    index = of(since={"qa": 3, "outer/qa": 4, "unheard of": 7})
    assert len(index) == 1
    assert index.find(A, 0, "2") is None
    assert text(index.find(A, 0, "3")) == "yes"


def test_parts_that_lie_before_are_not_read(tmp_path: Path, of: Open) -> None:
    write(tmp_path, *(record(str(n)) for n in range(5)), part=2)
    for part in (0, 1):
        (tmp_path / "calls/qa" / f"{part:03d}.jsonl").mkdir()
    index = of(since={"qa": 2 * CALLS_PER_FILE + 3})
    assert len(index) == 2
    assert text(index.find(A, 0, "4")) == "yes"


def test_parts_come_in_the_order_of_their_numbers(tmp_path: Path, of: Open) -> None:
    for part in (999, 1000, 2):
        write(tmp_path, record("1", text=str(part)), part=part)
    assert text(of().find(A, 0, "1")) == "1000"


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path, of: Open) -> None:
    bad = tmp_path / "calls/qa/001.jsonl"
    bad.mkdir(parents=True)
    write(tmp_path, record("1"))
    with pytest.raises(RunFolderError, match=f"cannot read {bad}"):
        of()


def test_a_part_that_is_gone_when_it_is_needed_is_named(tmp_path: Path, of: Open) -> None:
    path = write(tmp_path, record("1"))
    index = of()
    path.unlink()
    with pytest.raises(RunFolderError, match=f"cannot read {path}"):
        index.find(A, 0, "1")


def test_a_part_that_became_shorter_has_no_such_record(tmp_path: Path, of: Open) -> None:
    path = write(tmp_path, record("1"), record("2"))
    index = of()
    os.truncate(path, path.stat().st_size - 5)
    assert [text(index.take(A, 0, "2")), text(index.take(A, 0, "2"))] == ["yes", None]


def test_few_files_stay_open_and_none_after_the_end(tmp_path: Path) -> None:
    for part in range(40):
        write(tmp_path, record(str(part), text=str(part)), part=part)
    before = psutil.Process().num_fds()
    with CallIndex.of(tmp_path) as index:
        for row in map(str, [*range(40), *range(40)]):
            assert text(index.find(A, 0, row)) == row
        assert psutil.Process().num_fds() <= before + 10
    assert psutil.Process().num_fds() == before


def test_lines_beyond_what_is_read_at_once_are_records_like_any_other(tmp_path: Path, of: Open) -> None:
    long = "é" * 5_000_000
    write(tmp_path, record("1"), record("2", text=long), record("3"), record("4", text="x" * 10_000))
    index = of()
    assert len(index) == 4
    assert index.find(A, 0, "2") == record("2", text=long)
    assert index.find(A, 0, "4") == record("4", text="x" * 10_000)
    assert index.find(A, 0, "3") == record("3")
    assert text(of(since={"qa": 3}).find(A, 0, "4")) == "x" * 10_000


def test_a_part_with_more_lines_than_a_run_writes_is_read_to_its_end(tmp_path: Path, of: Open) -> None:
    write(tmp_path, *(record(str(n), text="") for n in range(CALLS_PER_FILE + 1)), node="qa")
    index = of()
    assert len(index) == CALLS_PER_FILE + 1
    assert index.find(A, 0, str(CALLS_PER_FILE)) == record(str(CALLS_PER_FILE), text="")


def test_ids_that_look_alike_to_the_index_are_told_apart(tmp_path: Path, of: Open) -> None:
    # Two ids with the same 64-bit word.
    write(tmp_path, record("Chainette calls "))
    index = of()
    assert index.find(A, 0, "hpGXsuJmdLGyIa#p") is None
    assert index.find(A, 0, "Chainette calls ") == record("Chainette calls ")


row_ids = st.text(st.characters(codec="utf-8"), max_size=60) | st.text('ab"\\,:{}\n', max_size=12)
long_ids = st.builds("".join, st.tuples(row_ids, st.sampled_from(["", "x" * 33, "y" * 250, '"' * 200]), row_ids))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_the_ids_each_record_is_found_and_given_once(tmp_path_factory: Any, data: st.DataObject) -> None:
    run = tmp_path_factory.mktemp("run")
    identities = st.tuples(long_ids, st.sampled_from([A, B]), st.sampled_from([0, 1, 9, 10, 123]))
    wanted = data.draw(st.lists(identities, max_size=12))
    # Short and long lines, since the last ones of a file are read in another way than those before them.
    more = data.draw(st.sampled_from(["", "long" * 200]))
    write(run, *(record(i, k, str(n), a, more=more) for n, (i, k, a) in enumerate(wanted)))
    latest = {identity: str(n) for n, identity in enumerate(wanted)}
    with CallIndex.of(run) as index:
        assert (len(index), index.damaged) == (len(latest), 0)
        for (row_id, key, attempt), number in latest.items():
            assert index.find(key, attempt, row_id) == record(row_id, key, number, attempt, more=more)
        given_out: Counter[str] = Counter()
        for row_id, key, attempt in data.draw(st.permutations([*wanted, *((f"{i}!", k, a) for i, k, a in wanted)])):
            found = index.take(key, attempt, row_id)
            if found is not None:
                assert (found["key"], found["attempt"]) == (key, attempt)
                given_out[found["text"]] += 1
        assert given_out == Counter(latest.values())


def test_an_id_that_no_file_can_hold_has_no_call_of_its_own(tmp_path: Path, of: Open) -> None:
    write(tmp_path, record("1"))
    index = of()
    assert index.find(A, 0, "\ud800") is None
    assert text(index.take(A, 0, "\ud800")) == "yes"
