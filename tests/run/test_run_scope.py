"""Functions over the whole run: all rows in, in input order; what comes back goes on in the function's order."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chainette import (
    Branch,
    Chain,
    Drop,
    EngineDiedError,
    RunFolderError,
    RunStoppedError,
    apply,
    context,
    gather,
    scan,
    while_loop,
)
from chainette.errors import ChainError
from chainette.run import RunOptions, check
from tests.folders import calls, derived, lines, made_once, reused
from tests.models import step


class Doc(BaseModel):
    text: str
    part: str = ""


class Note(BaseModel):
    note: str


class Total(BaseModel):
    rows: int
    texts: str


def docs(count: int, kinds: int = 1000) -> list[Doc]:
    return [Doc(text=f"d{n % kinds}.") for n in range(count)]


def marked(doc: Doc) -> Doc:
    return Doc(text=doc.text, part=doc.part + "m")


def noted(doc: Doc) -> Note:
    return Note(note=doc.text)


def told(note: Note) -> Doc:
    return Doc(text=note.note)


def ended(doc: Doc) -> Doc:
    return Doc(text=doc.text, part=doc.part + "e")


def dedupe(rows: Iterator[Doc]) -> Iterator[Doc]:
    seen: set[str] = set()
    for row in rows:
        if row.text not in seen:
            seen.add(row.text)
            yield row


def last_three(rows: list[Doc]) -> list[Doc]:
    return sorted(rows, key=lambda row: int(row.text[1:-1]), reverse=True)[:3]


def backwards(rows: list[Doc]) -> list[Doc]:
    return rows[::-1]


def shuffle(rows: list[Doc]) -> list[Doc]:
    random.SystemRandom().shuffle(rows)
    return rows


def note(id: str, **fields: Any) -> Any:
    return step(id, Doc, Note, f"{id} {{{{ text }}}}", output_format_instruction="", **fields)


def run(steps: list[Any], rows: Any, path: Path | None = None, **options: Any) -> Any:
    return Chain(name="c", steps=steps).run(rows, path, **{"chunk_size": 4, **options})


def ids(result: Any, node: str) -> list[str]:
    return [row["_id"] for row in lines(result.folder / "steps" / node / "000.jsonl")]


def test_duplicates_of_all_chunks_are_left_out_and_counted_as_dropped(tmp_path):
    result = run([apply(marked), apply(dedupe, scope="run"), apply(ended)], docs(30, 7), tmp_path / "run")
    assert [doc.text for doc in result.outputs] == [f"d{n}." for n in range(7)]
    assert (result.rows_in, result.rows_out, result.rows_dropped) == (30, 7, 23)
    nodes = result.stats["nodes"]
    assert [nodes["dedupe"][key] for key in ("rows_in", "done", "rows_out", "dropped")] == [30, 7, 7, 23]
    assert nodes["ended"]["rows_in"] == 7


def test_rows_go_on_in_the_order_the_function_gave_them_and_keep_their_ids(tmp_path):
    result = run([apply(marked), apply(last_three, scope="run"), apply(ended)], docs(30), tmp_path / "run")
    assert ids(result, "marked") == [str(n) for n in range(30)]
    assert ids(result, "last_three") == ids(result, "ended") == ["29", "28", "27"]
    assert [doc.text for doc in result.outputs] == ["d29.", "d28.", "d27."]


@pytest.mark.parametrize("first", [[], [apply(marked)]], ids=["at the start", "later"])
@pytest.mark.parametrize("last", [[], [apply(ended)]], ids=["at the end", "before others"])
def test_the_files_are_the_same_for_every_chunk_size(tmp_path, first, last):
    found = []
    for size in (1, 3, 7, 50):
        result = run([*first, apply(backwards, scope="run"), *last], docs(23), tmp_path / f"{size}", chunk_size=size)
        assert result.rows_out == 23
        found.append(derived(result.folder))
    assert all(files == found[0] for files in found)


def test_the_flattened_rows_hold_what_rows_of_other_chunks_were_before(tmp_path):
    aside = Branch(name="aside", steps=[apply(noted)])
    result = run([apply(marked), [aside], apply(backwards, scope="run"), apply(ended)], docs(9), tmp_path / "run")
    row = lines(result.folder / "flattened" / "000.jsonl")[0]
    assert row["_id"] == "8"
    assert (row["chain_input.text"], row["marked.text"], row["ended.text"]) == ("d8.", "d8.", "d8.")
    assert (row["noted.note"], row["ended.part"]) == ("d8.", "me")


def test_templates_reach_over_it(stand_in, tmp_path):
    last = step("last", Doc, Note, "{{ first.note }}/{{ chain_input.text }}/{{ text }}", output_format_instruction="")
    back = apply(lambda rows: rows[::-1], id="back", scope="run", input_model=Doc, output_model=Doc)
    chain = [[Branch(name="x", steps=[note("first")]).join("j")], back, last]
    result = run(chain, docs(9), tmp_path / "run")
    assert [row["_id"] for row in lines(result.folder / "steps" / "last" / "000.jsonl")] == [str(n) for n in range(9)][
        ::-1
    ]
    assert result.rows_failed == 0


def test_a_row_changed_in_place_goes_on_changed_and_the_files_before_are_as_they_were(tmp_path):
    def split(rows: list[Doc]) -> list[Doc]:
        for number, row in enumerate(rows):
            row.part = "test" if number % 5 == 0 else "train"
        return rows

    result = run([apply(marked), apply(split, scope="run")], docs(20), tmp_path / "run")
    assert Counter(doc.part for doc in result.outputs) == {"test": 4, "train": 16}
    assert {doc.part for doc in result.steps["marked"]} == {"m"}
    assert ids(result, "split") == [str(n) for n in range(20)]


def test_one_row_for_each_by_position_keeps_the_rows(tmp_path):
    def split(rows: Iterator[Doc]) -> Iterator[Note]:
        for count, row in enumerate(rows, 1):
            yield Note(note=f"{row.text} {'test' if count % 5 == 0 else 'train'}")

    result = run([apply(marked), apply(split, scope="run", shape="map")], docs(10), tmp_path / "run")
    assert ids(result, "split") == [str(n) for n in range(10)]
    assert lines(result.folder / "flattened" / "000.jsonl")[4]["marked.text"] == "d4."
    with pytest.raises(RunStoppedError, match="gave 9 rows for 10"):
        run([apply(lambda rows: rows[1:], id="f", scope="run", shape="map")], docs(10), tmp_path / "less")


def test_one_value_for_all_is_one_new_row(tmp_path):
    def total(rows: Iterable[Doc]) -> Total:
        return Total(rows=sum(1 for _ in rows), texts="".join(row.text for row in rows))

    result = run([apply(marked), apply(total, scope="run")], docs(6), tmp_path / "run")
    assert list(result.outputs) == [Total(rows=6, texts="d0.d1.d2.d3.d4.d5.")]
    assert ids(result, "total") == ["total.0"]
    assert (result.rows_out, result.rows_dropped) == (1, 6)
    assert lines(result.folder / "flattened" / "000.jsonl")[0]["marked.text"] is None


def test_over_no_rows_only_a_function_that_makes_one_value_is_called(tmp_path):
    asked: list[str] = []

    def none(doc: Doc) -> Doc | None:
        return None

    def total(rows: list[Doc]) -> Total:
        asked.append("total")
        return Total(rows=len(rows), texts="")

    def some(rows: list[Doc]) -> list[Doc]:
        asked.append("some")
        return rows

    result = run([apply(none), apply(some, scope="run"), apply(total, scope="run")], docs(6), tmp_path / "run")
    assert (asked, [one.rows for one in result.outputs]) == (["total"], [0])


def test_new_rows_have_ids_of_their_own_and_rows_given_twice_have_children(tmp_path):
    def double(rows: list[Doc]) -> list[Doc]:
        return [rows[1], Doc(text="new"), rows[1], rows[0], Doc(text="newer")]

    result = run([apply(double, scope="run"), apply(ended)], docs(9), tmp_path / "run")
    assert ids(result, "ended") == ["1.0", "double.0", "1.1", "0", "double.1"]
    assert [doc.text for doc in result.outputs] == ["d1.", "new", "d1.", "d0.", "newer"]
    assert (result.rows_out, result.rows_dropped) == (5, 7)


def test_an_id_from_the_data_is_never_given_to_a_new_row(tmp_path):
    def more(rows: list[Doc]) -> list[Doc]:
        return [*rows, Doc(text="new")]

    rows = [{"key": f"more.{n}", "text": "t"} for n in range(3)]
    result = run([apply(more, scope="run")], rows, tmp_path / "run", id_field="key")
    assert ids(result, "more") == ["more.0", "more.1", "more.2", "more//0"]


def test_rows_without_annotations_are_known_by_identity_too(tmp_path):
    result = run(
        [apply(lambda rows: rows[::2], id="half", scope="run")], [{"n": n} for n in range(10)], tmp_path / "run"
    )
    assert ids(result, "half") == ["0", "2", "4", "6", "8"]


def every_second(rows: Iterator[int]) -> Iterator[int]:
    return (row for place, row in enumerate(rows) if place % 2)


def all_as_they_come(rows: Iterator[int]) -> Iterator[int]:
    yield from rows


def all_at_once(rows: list[int]) -> list[int]:
    return rows


def all_at_the_second_look(rows: Iterable[int]) -> list[int]:
    assert len(list(rows)) == 6
    return list(rows)


@pytest.mark.parametrize("fn", [every_second, all_as_they_come, all_at_once, all_at_the_second_look])
def test_rows_that_are_one_object_in_memory_are_told_apart(tmp_path, fn):
    numbers = [3, 1, 3, 3, 3, 1]
    result = Chain(name="c", steps=[apply(fn, scope="run")]).run(numbers, tmp_path / "run", chunk_size=2)
    kept = range(1, 6, 2) if fn is every_second else range(6)
    assert list(zip(result.outputs.ids, result.outputs, strict=True)) == [(str(n), numbers[n]) for n in kept]


def test_two_of_them_in_a_chain(tmp_path):
    def halve(rows: list[Doc]) -> list[Doc]:
        return rows[::2]

    def sound(doc: Doc) -> Doc:
        if doc.text == "d15.":
            raise ValueError("bad")
        return doc

    chain = [
        apply(dedupe, scope="run"),
        apply(sound),
        apply(backwards, scope="run"),
        apply(halve, scope="run"),
        apply(ended),
    ]
    result = run(chain, docs(40, 20), tmp_path / "run")
    assert [doc.text for doc in result.outputs] == [f"d{n}." for n in range(19, -1, -1) if n != 15][::2]
    assert (result.rows_in, result.rows_out, result.rows_failed, result.rows_dropped) == (40, 10, 1, 29)
    assert [(f.row_id, f.node_id) for f in result.failed] == [("15", "sound")]
    assert lines(result.folder / "flattened" / "000.jsonl")[0]["dedupe.text"] == "d19."


def test_failed_rows_are_counted_once_wherever_their_parts_went(tmp_path):
    def three(doc: Doc) -> list[Doc]:
        return [Doc(text=doc.text, part=str(n)) for n in range(3)]

    def sound(doc: Doc) -> Doc:
        if doc.text in ("d1.", "d2.") and doc.part != "2":
            raise ValueError("bad")
        return doc

    result = run([apply(three), apply(shuffle, scope="run"), apply(sound)], docs(12), tmp_path / "run")
    assert (result.rows_in, result.rows_out, result.rows_failed, result.rows_dropped) == (12, 32, 2, 0)
    assert sorted(f.row_id for f in result.failed) == ["1.0", "1.1", "2.0", "2.1"]


def test_an_async_function_is_awaited_and_may_be_a_stream(tmp_path):
    async def back(rows: list[Doc]) -> list[Doc]:
        return rows[::-1]

    async def stream(rows: Iterator[Doc]) -> AsyncIterator[Doc]:
        for row in rows:
            if row.text != "d3.":
                yield row

    result = run([apply(back, scope="run"), apply(stream, scope="run")], docs(6), tmp_path / "run")
    assert [doc.text for doc in result.outputs] == ["d5.", "d4.", "d2.", "d1.", "d0."]


def test_it_knows_where_it_is(tmp_path):
    seen: list[Any] = []

    def look(rows: list[Doc]) -> list[Doc]:
        seen.append((context().node_id, context().params["k"]))
        return rows

    run([apply(look, scope="run")], docs(3), tmp_path / "run", params={"k": "v"})
    assert seen == [("look", "v")]


def test_a_value_that_does_not_fit_is_a_failed_row(tmp_path):
    def some(rows: list[Doc]) -> list[Doc]:
        return [rows[0], {"text": "plain"}, {"no": "text"}, rows[2]]  # type: ignore[list-item]

    result = run([apply(some, scope="run")], docs(6), tmp_path / "run")
    assert [doc.text for doc in result.outputs] == ["d0.", "plain", "d2."]
    assert [(f.row_id, f.kind) for f in result.failed] == [("some.1", "apply")]
    assert result.rows_failed == 1


def test_drops_are_left_out(tmp_path):
    def short(rows: list[Doc]) -> list[Doc | Drop]:
        return [row if row.text < "d3." else Drop("too late") for row in rows]

    result = run([apply(short, scope="run")], docs(6), tmp_path / "run")
    assert [doc.text for doc in result.outputs] == ["d0.", "d1.", "d2."]


def test_when_it_raises_the_run_stops_with_its_words_and_can_go_on(tmp_path):
    (tmp_path / "broken").touch()

    def some(rows: list[Doc]) -> list[Doc]:
        if (tmp_path / "broken").exists():
            raise ValueError("not today")
        return rows

    chain = [apply(marked), apply(some, scope="run"), apply(ended)]
    with pytest.raises(
        RunStoppedError, match=r'"some".*ValueError: not today.*test_run_scope.py:\d+.*chainette resume'
    ):
        run(chain, docs(9), tmp_path / "run")
    (tmp_path / "broken").unlink()
    assert run(chain, docs(9), resume=tmp_path / "run").rows_out == 9
    assert derived(tmp_path / "run") == derived(run(chain, docs(9), tmp_path / "whole").folder)


def test_a_broken_input_is_not_shown_to_it_in_part(tmp_path):
    asked: list[int] = []

    def some(rows: list[Doc]) -> list[Doc]:
        asked.append(len(rows))
        return rows

    def broken() -> Iterator[Doc]:
        yield from docs(9)
        raise ValueError("the source is gone")

    with pytest.raises(ValueError, match="the source is gone"):
        run([apply(some, scope="run")], broken(), tmp_path / "run")
    assert run([apply(some, scope="run")], iter(docs(12)), resume=tmp_path / "run").rows_out == 12
    assert asked == [12]


def test_a_run_that_was_cut_off_goes_on_with_the_order_that_was_drawn(cut_off, stand_in, tmp_path):
    of = Chain(name="c", steps=[apply(marked), apply(shuffle, scope="run"), note("qa")], chunk_size=4)
    path = cut_off(13, docs(40), of)
    drawn = lines(path / "calls" / "shuffle" / "000.jsonl")[0]["rows"]
    result = of.run(docs(40), resume=path)
    assert result.rows_out == 40
    assert ids(result, "qa") == [str(n) for n in drawn]
    assert made_once(path)
    assert len(lines(path / "calls" / "shuffle" / "000.jsonl")) == 2


def test_killed_at_any_moment_it_ends_with_the_rows_of_an_undisturbed_run(stand_in, cut_off, tmp_path):
    def spread(rows: list[Doc]) -> list[Doc]:
        return [*rows[::3], *rows[1::3], *rows[2::3]]

    of = Chain(name="c", steps=[note("a"), apply(told), apply(spread, scope="run"), note("b")], chunk_size=3)
    options = {"max_lines_per_file": 4, "format": "parquet"}
    whole = of.run(docs(20), tmp_path / "whole", **options)
    path = cut_off(0, docs(20), of, **options)
    for after in (3, 12, 9, 4):
        stand_in(die_after=after)
        with pytest.raises(EngineDiedError):
            of.run(docs(20), resume=path)
    stand_in()
    of.run(docs(20), resume=path)
    assert derived(path) == derived(whole.folder)
    assert sorted(calls(path)) == sorted(calls(whole.folder))


def test_another_run_takes_the_order_too_when_the_same_rows_arrive(stand_in, tmp_path):
    of = Chain(name="c", steps=[apply(marked), apply(shuffle, scope="run"), note("qa")], chunk_size=4)
    first = of.run(docs(30), tmp_path / "first")
    again = of.run(docs(30), tmp_path / "again", reuse=first.folder)
    assert derived(again.folder)["steps/qa/000.jsonl"] == derived(first.folder)["steps/qa/000.jsonl"]
    assert {node for node, _ in reused(again.folder)} == {"qa", "shuffle"}
    other = of.run(docs(31), tmp_path / "other", reuse=first.folder)
    assert other.rows_out == 31
    assert "shuffle" not in {node for node, _ in reused(other.folder)}


def test_values_that_it_changed_or_made_are_recorded_too(stand_in, cut_off, tmp_path):
    def change(rows: list[Doc]) -> list[Doc]:
        with open(tmp_path / "asked", "a") as file:
            file.write(f"{len(rows)} ")
        rows[3].part = f"drawn {random.SystemRandom().random()}"
        return [*rows, Doc(text=f"new {random.SystemRandom().random()}")]

    of = Chain(name="c", steps=[apply(change, scope="run"), note("qa")], chunk_size=4)
    path = cut_off(5, docs(10), of)
    recorded = lines(path / "calls" / "change" / "000.jsonl")[0]["rows"]
    result = of.run(docs(10), resume=path)
    assert (tmp_path / "asked").read_text() == "10 "
    assert [recorded[3][0], recorded[10][0]] == [3, -1]
    assert list(result.steps["change"])[3].part == recorded[3][1]["part"]
    assert list(result.steps["change"])[10].text == recorded[10][1]["text"]


def test_half_a_record_does_not_count(stand_in, cut_off, tmp_path):
    of = Chain(name="c", steps=[apply(shuffle, scope="run"), note("qa")], chunk_size=4)
    path = cut_off(5, docs(20), of)
    log = path / "calls" / "shuffle" / "000.jsonl"
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    result = of.run(docs(20), resume=path)
    assert sorted(ids(result, "qa"), key=int) == [str(n) for n in range(20)]
    assert len(lines(log)) == 3


def test_a_run_that_is_whole_is_not_made_again(stand_in, tmp_path):
    of = Chain(name="c", steps=[apply(shuffle, scope="run"), note("qa")], chunk_size=4)
    whole = of.run(docs(9), tmp_path / "run")
    before = derived(whole.folder)
    (whole.folder / "status.json").write_text((whole.folder / "status.json").read_text().replace('"done"', '"running"'))
    assert of.run(docs(9), resume=whole.folder).rows_out == 9
    assert derived(whole.folder) == before


def test_the_first_interrupt_does_not_wait_for_it(tmp_path):
    waits, free = os.pipe()

    def slow(rows: list[Doc]) -> list[Doc]:
        if (tmp_path / "armed").exists():
            (tmp_path / "armed").unlink()
            os.kill(os.getpid(), signal.SIGINT)
            os.read(waits, 1)
        return rows

    (tmp_path / "armed").touch()
    chain = [apply(marked), apply(slow, scope="run")]
    with pytest.raises(KeyboardInterrupt):
        run(chain, docs(9), tmp_path / "run")
    os.write(free, b"1")
    assert len(lines(tmp_path / "run" / "steps" / "marked" / "000.jsonl")) == 9
    assert run(chain, docs(9), resume=tmp_path / "run").rows_out == 9


def test_failed_rows_are_healed_by_a_new_run_that_makes_only_their_calls(stand_in, tmp_path):
    of = Chain(name="c", steps=[apply(backwards, scope="run"), note("qa")], chunk_size=4)
    stand_in(faults=[{"kind": "context_length", "containing": "d3."}])
    failed = of.run(docs(9), tmp_path / "run")
    stand_in()
    with pytest.raises(RunFolderError, match=r'"backwards".*chainette run .*--reuse run'):
        of.run(None, retry=failed.folder)
    healed = of.run(docs(9), tmp_path / "healed", reuse=failed.folder)
    assert (healed.rows_out, calls(healed.folder)) == (9, [("qa", "3", 1)])


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables_hold_the_function_s_order(tmp_path, format):
    result = run([apply(backwards, scope="run")], docs(9), tmp_path / "run", format=format)
    assert [doc.text for doc in result.outputs] == [f"d{n}." for n in range(9)][::-1]


def wrong(steps: list[Any]) -> str:
    return "\n".join(str(problem) for problem in check(Chain(name="c", steps=steps), RunOptions()).errors)


def test_children_are_not_gathered_over_it():
    def halves(doc: Doc) -> list[Doc]:
        return [doc, doc]

    assert "nothing to gather" in wrong([apply(halves), apply(backwards, scope="run"), gather()])
    assert not wrong([apply(backwards, scope="run"), apply(halves), gather()])


def test_loops_and_scans_over_the_rows_go_on_in_the_function_s_order(tmp_path):
    def longer(doc: Doc) -> Doc:
        return Doc(text=doc.text, part=doc.part + "x")

    def joined(carry: str, doc: Doc) -> tuple[str, Note]:
        return carry + doc.text, Note(note=carry + doc.text)

    grow = while_loop([apply(longer)], until=lambda doc: len(doc.part) > int(doc.text[1:-1]) % 3, max_iterations=5)
    chain = [grow, apply(backwards, scope="run"), scan(joined, over=None, init="")]
    found = []
    for size in (1, 4, 30):
        result = run(chain, docs(9), tmp_path / f"{size}", chunk_size=size)
        found.append(derived(result.folder))
        assert list(result.outputs)[2].note == "d8.d7.d6."
    assert found[0] == found[1] == found[2]


def test_it_stands_on_the_main_line_only():
    back = apply(backwards, scope="run")
    assert "stands on the main line" in wrong([[Branch(name="b", steps=[back])]])
    assert "stands on the main line" in wrong([[Branch(name="b", steps=[back]).join("j")]])
    assert not wrong([Chain(name="inner", steps=[back])])


def test_a_function_on_single_rows_cannot_have_it():
    with pytest.raises(ChainError, match="gets all rows"):
        apply(marked, scope="run")


def test_names_from_before_new_rows_are_out_of_reach():
    def total(rows: list[Doc]) -> Doc:
        return rows[0]

    last = step("last", Doc, Note, "{{ marked.text }} {{ text }}")
    assert "makes new rows of all rows" in wrong([apply(marked), apply(total, scope="run"), last])
