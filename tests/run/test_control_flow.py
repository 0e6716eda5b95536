"""Rows take their own way through cond, switch, while_loop, scan, delay and gather, and come out in input order."""

from __future__ import annotations

import asyncio
import enum
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel

from chainette import (
    Branch,
    Chain,
    ChainError,
    RunFolderError,
    ScanItem,
    apply,
    cond,
    delay,
    gather,
    scan,
    switch,
    while_loop,
)
from chainette.run import check
from tests.folders import calls, counts, derived, made_once
from tests.models import Answer, Number, Question, Summary, step
from tests.run.looping import every_construct, tasks
from tests.run.test_retry import rows_of

PLAIN: dict[str, Any] = {"output_format_instruction": ""}


def numbers(*values: int) -> list[Number]:
    return [Number(value=value) for value in values]


def values(rows: Any) -> list[int]:
    return [row.value for row in rows]


def even(number: Number) -> bool:
    return number.value % 2 == 0


def add_one(number: Number) -> Number:
    return Number(value=number.value + 1)


def take_one(number: Number) -> Number:
    return Number(value=number.value - 1)


def at_least_ten(number: Number) -> bool:
    return number.value >= 10


def times(factor: int) -> Any:
    return apply(
        lambda rows: [Number(value=row.value * factor) for row in rows], id=f"times_{factor}", input_model=Number
    )


def failures(result: Any) -> list[tuple[str, str, str]]:
    return [(failure.row_id, failure.node_id, failure.kind) for failure in result.failed]


def logged(folder: Any, node: str) -> list[dict[str, Any]]:
    part = folder / "calls" / node / "000.jsonl"
    return [orjson.loads(line) for line in part.read_bytes().splitlines()]


def test_each_row_takes_the_side_its_predicate_says_and_rows_stay_in_input_order(tmp_path):
    chain = Chain("c", [cond(even, [apply(add_one)], [apply(take_one)])])
    result = chain.run(numbers(10, 7), tmp_path / "run")
    assert values(result.outputs) == [11, 6]
    assert values(result.steps["add_one"]) == [11]
    assert values(result.steps["take_one"]) == [6]


def test_each_sides_engine_sees_only_the_prompts_of_its_rows(stand_in, tmp_path):
    stand_in(answers={}, faults=[])
    sides = [[step(name, Question, Answer, name + " {{ text }}", **PLAIN)] for name in ("yes", "no")]
    chain = Chain("c", [cond(lambda row: "a" in row.text, *sides)], input_model=Question)
    result = chain.run([{"text": "a"}, {"text": "b"}], tmp_path / "run")
    assert [record["_id"] for record in logged(result.folder, "yes")] == ["0"]
    assert [record["_id"] for record in logged(result.folder, "no")] == ["1"]


def test_a_cond_without_an_otherwise_lets_rows_pass(tmp_path):
    result = Chain("c", [cond(even, apply(add_one))]).run(numbers(2, 3), tmp_path / "run")
    assert values(result.outputs) == [3, 3]


def test_a_switch_sends_rows_by_a_field_and_a_case_that_is_missing_fails_its_row(tmp_path):
    class Keyed(BaseModel):
        key: int
        value: int = 7

    cases = {key: [times(key + 2)] for key in (0, 1, 2)}
    chain = Chain("c", [switch("key", cases)], input_model=Keyed)
    result = chain.run([{"key": key} for key in (0, 1, 2, 3)], tmp_path / "run")
    assert values(result.outputs) == [14, 21, 28]
    assert failures(result) == [("3", "switch", "route")]
    assert result.failed[0].message == "no case for 3; the cases are 0, 1, 2"


def test_a_switch_takes_text_keys_and_has_a_default(tmp_path):
    def parity(number: Number) -> str:
        return ("even", "odd", "many")[min(number.value, 2)]

    cases = {"even": [times(2)], "odd": [times(3)]}
    result = Chain("c", [switch(parity, cases, default=[times(5)])]).run(numbers(0, 1, 9), tmp_path / "run")
    assert values(result.outputs) == [0, 3, 45]


def test_a_loops_rows_leave_it_as_they_are_done_and_those_without_end_fail(stand_in, tmp_path):
    class Job(BaseModel):
        name: str
        left: int

    stand_in(
        answers={f"{name} {left}.": {"name": name, "left": left - 1} for name in "abc" for left in range(1, 8)},
        faults=[],
    )
    body = step("turn", Job, Job, "{{ name }} {{ left }}.", **PLAIN)
    jobs = [{"name": name, "left": left} for name, left in (("a", 0), ("b", 3), ("c", 7))]

    def run(most: int) -> Any:
        loop = while_loop([body], until=lambda job: job.left == 0, max_iterations=most)
        return Chain("c", [loop], input_model=Job).run(jobs, tmp_path / f"run{most}")

    whole = run(7)
    turns = [record["turn"] for record in logged(whole.folder, "turn")]
    assert [turns.count(turn) for turn in range(1, 8)] == [2, 2, 2, 1, 1, 1, 1]
    assert {r["_id"] for r in logged(whole.folder, "turn") if r["turn"] > 3} == {"2"}
    assert [job.left for job in whole.outputs] == [0, 0, 0]
    cut = run(5)
    assert failures(cut) == [("2", "loop", "max_iterations")]
    assert [job.name for job in cut.outputs] == ["a", "b"]


@pytest.mark.parametrize(("keep", "turns"), [("last", [1, 3]), ("all", [1, 1, 2, 3])])
def test_a_body_steps_file_has_the_last_turn_of_each_row_or_all(tmp_path, keep, turns):
    chain = Chain("c", [while_loop([apply(add_one)], until=at_least_ten, max_iterations=9, keep=keep)])
    folder = chain.run(numbers(9, 7), tmp_path / "run").folder
    lines = (folder / "steps" / "add_one" / "000.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["_turn"] for line in lines] == turns


def test_write_review_and_revise_until_it_is_approved(stand_in, tmp_path):
    class Topic(BaseModel):
        topic: str

    class Draft(BaseModel):
        text: str

    class Review(BaseModel):
        approved: bool
        notes: str

    answers = {f"Review draft {n}.": {"approved": n == 3, "notes": f"notes {n}"} for n in (1, 2, 3)}
    answers |= {f"Write turn {n}": {"text": f"draft {n}."} for n in (1, 2, 3)}
    answers |= {"Publish draft 3. after 3 turns": {"summary": "out"}}
    stand_in(answers=answers, faults=[])
    prompt = "Write turn {{ turn }}{% if review %} with {{ review.notes }} on {{ write.text }}{% endif %}"
    write = step("write", Topic, Draft, prompt, **PLAIN)
    review = step("review", Draft, Review, "Review {{ text }}", **PLAIN)
    publish = step("publish", Review, Summary, "Publish {{ write.text }} after {{ refine_turns }} turns", **PLAIN)
    loop = while_loop(
        [write, review], until="approved", max_iterations=5, at_least_once=True, feed="input", id="refine"
    )
    result = Chain("c", [loop, publish]).run([Topic(topic="x")], tmp_path / "run")
    assert [row.summary for row in result.outputs] == ["out"]
    assert [len(logged(result.folder, id)) for id in ("write", "review", "publish")] == [3, 3, 1]


def test_a_loops_turn_that_gives_another_type_says_how_to_begin_the_next(tmp_path):
    chain = Chain("c", [while_loop([step("s", Question, Answer)], until=lambda row: True)])
    with pytest.raises(
        ChainError, match=r'a turn gives Answer, but the next one begins with Question(.|\n)*feed="input"'
    ):
        chain.run([{"text": "a"}], tmp_path / "run")


class Pages(BaseModel):
    pages: list[int]


def add_up(carry: int, item: int) -> int:
    return carry + item


def test_a_scan_carries_a_value_through_a_list(tmp_path):
    result = Chain("c", [scan(add_up, over="pages", init=0)], input_model=Pages).run(
        [{"pages": [1, 2, 3, 4, 5]}, {"pages": []}], tmp_path / "run"
    )
    assert [(row.carry, row.outputs) for row in result.outputs] == [(15, [1, 3, 6, 10, 15]), (0, [])]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 100])
def test_a_scan_through_the_rows_is_the_same_for_every_chunk_size(tmp_path, chunk_size):
    def running(carry: int, item: Number) -> tuple[int, Number]:
        if item.value == 4:
            raise ValueError("no four")
        return carry + item.value, Number(value=carry + item.value)

    chain = Chain("c", [scan(running, over=None, init=0)], input_model=Number, chunk_size=chunk_size)
    result = chain.run(numbers(1, 2, 3, 4, 5, 6, 7), tmp_path / "run")
    assert values(result.outputs) == [1, 3, 6, 11, 17, 24]
    assert failures(result) == [("3", "scan_body", "apply")]


def test_a_long_document_is_summed_up_page_by_page(stand_in, tmp_path):
    class Book(BaseModel):
        pages: list[str]

    answers = {"[] one": {"summary": "1"}, "[1] two": {"summary": "12"}, "[12] three": {"summary": "123"}}
    stand_in(answers=answers, faults=[])
    read = step("read", ScanItem[Summary, str], Summary, "[{{ carry.summary }}] {{ item }}", **PLAIN)
    chain = Chain("c", [scan([read], over="pages", init=Summary(summary=""))], input_model=Book)
    result = chain.run([{"pages": ["one", "two", "three"]}], tmp_path / "run")
    assert result.outputs[0].carry == Summary(summary="123")
    assert [output.summary for output in result.outputs[0].outputs] == ["1", "12", "123"]


def test_predicates_see_the_input_earlier_steps_and_params(tmp_path):
    def asked(number: Number, context: Any) -> bool:
        return bool(context.chain_input.value == context.params["wanted"] and context.steps["add_one"].value == 3)

    chain = Chain("c", [apply(add_one), cond(asked, [times(100)])])
    result = chain.run(numbers(1, 2), tmp_path / "run", params={"wanted": 2})
    assert values(result.outputs) == [2, 300]


def test_a_predicate_may_be_async(tmp_path):
    async def asked(number: Number) -> bool:
        return number.value > 1

    assert values(Chain("c", [cond(asked, [times(2)])]).run(numbers(1, 2), tmp_path / "run").outputs) == [1, 4]


def test_an_async_predicate_is_asked_about_rows_of_all_chunks_at_once(tmp_path):
    both = asyncio.Barrier(2)

    async def asked(number: Number) -> bool:
        async with asyncio.timeout(20):
            await both.wait()
        return True

    chain = Chain("c", [cond(asked, [times(2)])], chunk_size=1)
    assert values(chain.run(numbers(1, 2), tmp_path / "run").outputs) == [2, 4]


def test_an_async_predicate_that_cancels_itself_fails_its_row(tmp_path):
    async def asked(number: Number) -> bool:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()
        return True

    result = Chain("c", [cond(asked, [times(2)])]).run(numbers(1), tmp_path / "run")
    assert failures(result) == [("0", "cond", "route")]


def test_a_key_that_cannot_be_shown_fails_its_row_as_any_other(tmp_path):
    class Shy:
        def __repr__(self) -> str:
            raise ValueError("not to be seen")

    result = Chain("c", [switch(lambda number: Shy(), {1: [times(2)]})]).run(numbers(1), tmp_path / "run")
    assert [failure.message for failure in result.failed] == ["no case for a Shy; the cases are 1"]


def test_a_predicate_that_raises_fails_its_row_with_the_place(tmp_path):
    def asked(number: Number) -> bool:
        return 1 // number.value > 0

    result = Chain("c", [cond(asked, [times(2)])]).run(numbers(0, 1), tmp_path / "run")
    assert failures(result) == [("0", "cond", "route")]
    assert result.failed[0].message.startswith("pred: ZeroDivisionError")
    assert "test_control_flow.py" in result.failed[0].cause[0]
    assert values(result.outputs) == [2]


def test_sides_of_different_types_are_an_error_unless_the_union_is_declared(tmp_path):
    def sides(**declared: Any) -> Chain:
        other = apply(lambda rows: rows, id="other", input_model=Number, output_model=Question)
        return Chain("c", [cond(even, [apply(add_one)], [other], **declared)])

    with pytest.raises(ChainError, match=r"its ways give different types: then gives Number, otherwise gives Question"):
        sides().run(numbers(1), tmp_path / "run")
    assert sides(output_model=Number | Question).run(numbers(2), tmp_path / "run").state == "done"


def test_gather_gives_the_children_of_each_row_back_as_one_list(tmp_path):
    def split(number: Number) -> list[Number]:
        return numbers(*range(number.value))

    def count(children: list[Number]) -> Number:
        return Number(value=len(children))

    result = Chain("c", [apply(split), gather(), apply(count)]).run(numbers(2, 0, 3), tmp_path / "run")
    assert values(result.outputs) == [2, 0, 3]


def test_gather_under_an_alias_keeps_the_row_from_before_the_expand(stand_in, tmp_path):
    stand_in(answers={"text 2": {"summary": "seen"}}, faults=[])
    several = step("several", Question, Answer, n=2, **PLAIN)
    last = step("last", Question, Summary, "{{ text }} {{ answers | length }}", **PLAIN)
    result = Chain("c", [several, gather("answers"), last]).run([{"text": "text"}], tmp_path / "run")
    assert [row.summary for row in result.outputs] == ["seen"]


@pytest.mark.parametrize(("missing", "out"), [("fail", [3]), ("skip", [0, 3])])
def test_a_child_that_failed_fails_its_parent_or_is_left_out(tmp_path, missing, out):
    def split(number: Number) -> list[Number]:
        return numbers(0, number.value)

    def inverse(number: Number) -> Number:
        return Number(value=number.value if number.value != 5 else 1 // 0)

    def total(children: list[Number]) -> Number:
        return Number(value=sum(values(children)))

    chain = Chain("c", [apply(split), apply(inverse), gather(missing=missing), apply(total)])
    result = chain.run(numbers(5, 3), tmp_path / "run")
    assert values(result.outputs) == out
    upstream = [("0", "gather", "upstream")] if missing == "fail" else []
    assert failures(result) == [("0.1", "inverse", "apply"), *upstream]


def test_gather_without_an_expand_before_it_is_an_error(tmp_path):
    with pytest.raises(ChainError, match=r'gather "gather": there is nothing to gather'):
        Chain("c", [apply(add_one), gather()]).run(numbers(1), tmp_path / "run")


def test_a_function_on_lists_in_a_loop_gets_one_row_at_a_time(tmp_path):
    def all_up(rows: list[Number]) -> list[Number]:
        assert len(rows) == 1
        return [add_one(row) for row in rows]

    chain = Chain("c", [while_loop([apply(all_up)], until=at_least_ten, max_iterations=9)])
    assert values(chain.run(numbers(3, 9, 12), tmp_path / "run").outputs) == [10, 10, 12]


def test_loops_nest_and_say_both_turns(tmp_path):
    class Pair(BaseModel):
        outer: int = 0
        inner: int = 0

    def inner(pair: Pair) -> Pair:
        return Pair(outer=pair.outer, inner=pair.inner + 1)

    def outer(pair: Pair) -> Pair:
        return Pair(outer=pair.outer + 1, inner=0)

    nested = while_loop([apply(inner)], until=lambda pair: pair.inner == 2, max_iterations=2, keep="all", id="in")
    chain = Chain(
        "c", [while_loop([nested, apply(outer)], until=lambda p: p.outer == 2, max_iterations=3, keep="all", id="out")],
        input_model=Pair,
    )  # fmt: skip
    folder = chain.run([Pair()], tmp_path / "run").folder
    lines = (folder / "steps" / "inner" / "000.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["_turn"] for line in lines] == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_rows_wait_at_a_delay_and_go_on(tmp_path):
    result = Chain("c", [delay(0.01), apply(add_one)]).run(numbers(1, 2), tmp_path / "run")
    assert values(result.outputs) == [2, 3]


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_every_construct_at_once_gives_the_same_files_for_every_chunk_size(stand_in, tmp_path, chunk_size):
    stand_in(answers={}, faults=[])
    whole = every_construct().run(tasks(24), tmp_path / "whole", chunk_size=24)
    run = every_construct().run(tasks(24), tmp_path / "run", chunk_size=chunk_size)
    assert derived(run.folder) == derived(whole.folder)
    assert counts(run.folder) == counts(whole.folder)


@pytest.mark.parametrize("after", [1, 20, 60, 80])
def test_a_run_with_every_construct_that_was_cut_off_ends_as_an_undisturbed_one(stand_in, cut_off, tmp_path, after):
    stand_in(answers={}, faults=[])
    run = cut_off(after, rows=tasks(32), of=every_construct(), chunk_size=5)
    result = every_construct().run(tasks(32), resume=run)
    whole = every_construct().run(tasks(32), tmp_path / "whole", chunk_size=5)
    assert result.state == "done"
    assert derived(run) == derived(whole.folder)
    assert counts(run) == counts(whole.folder)
    assert sorted(calls(run)) == sorted(calls(whole.folder))
    assert made_once(run)


@pytest.mark.parametrize("open_rows", [16_384, 3])
def test_a_scan_through_the_rows_goes_on_where_it_was_cut_off(stand_in, cut_off, tmp_path, open_rows):
    def chain() -> Chain:
        read = step("read", ScanItem[Summary, Question], Summary, "{{ carry.summary }} then {{ item.text }}", **PLAIN)
        return Chain("c", [scan([read], over=None, init=Summary(summary=""))], input_model=Question, chunk_size=3)

    rows = [{"text": f"row {n}."} for n in range(20)]
    run = cut_off(8, rows=rows, of=chain(), open_rows=open_rows)
    assert chain().run(rows, resume=run).state == "done"
    whole = chain().run(rows, tmp_path / "whole").folder
    assert derived(run) == derived(whole)


def test_a_row_behind_a_scan_through_the_rows_is_not_healed_in_its_place(tmp_path):
    def running(carry: int, item: Number) -> int:
        return carry + 1 // item.value

    chain = Chain("c", [scan(running, over=None, init=0)], input_model=Number)
    run = chain.run(numbers(1, 0, 1), tmp_path / "run").folder
    with pytest.raises(RunFolderError, match=r'scan "scan" carries a value from row to row.*--reuse run'):
        chain.run(None, retry=run)


def test_a_joined_branch_may_have_control_flow_in_it(tmp_path):
    class Both(BaseModel):
        up: Number

    side = Branch("up", [cond(even, [apply(add_one)]), while_loop([apply(take_one)], until=even, max_iterations=2)])
    last = apply(lambda rows: rows, id="last", input_model=Both)
    result = Chain("c", [[side.join("up")], last], input_model=Number).run(numbers(4, 6), tmp_path / "run")
    assert [row.up.value for row in result.outputs] == [4, 6]


LAYOUTS = [
    {"chunk_size": 3},
    {"chunk_size": 4, "max_lines_per_file": 5, "format": "parquet"},
    {"chunk_size": 5, "format": "csv"},
]


@pytest.mark.parametrize("options", LAYOUTS, ids=["jsonl", "parquet", "csv"])
def test_failed_rows_of_every_construct_are_healed_in_their_places(stand_in, tmp_path, options):
    faults = [{"kind": "mismatch", "containing": text} for text in ("in turn 2", "page 3.1", "vote on task 2 ")]
    stand_in(answers={}, faults=faults)
    run = every_construct().run(tasks(24), tmp_path / "run", **options).folder
    stand_in(answers={}, faults=[])
    every_construct().run(None, retry=run)
    whole = every_construct().run(tasks(24), tmp_path / "whole", **options).folder
    assert derived(run) == derived(whole)
    assert rows_of(run) == rows_of(whole)


def test_a_chain_that_begins_with_a_cond_takes_what_its_predicate_takes(tmp_path):
    result = Chain("c", [cond(even, []), apply(add_one)]).run([{"value": 1}], tmp_path / "run")
    assert values(result.outputs) == [2]


def test_a_predicate_that_returns_something_to_await_is_not_taken_for_true(tmp_path):
    async def asked(number: Number) -> bool:
        return False

    result = Chain("c", [cond(lambda row: asked(row), [times(2)])], input_model=Number).run(
        numbers(1), tmp_path / "run"
    )
    assert failures(result) == [("0", "cond", "route")]
    assert "make it async def" in result.failed[0].message


class Tool(BaseModel):
    tool: Literal["add", "stop"]


def test_a_case_that_the_key_can_never_be_is_an_error_with_the_nearest(tmp_path):
    chain = Chain("c", [switch("tool", {"ad": [], "stop": []})], input_model=Tool)
    with pytest.raises(ChainError, match=r"its key is never 'ad' \(did you mean \"add\"\?\)"):
        chain.run([{"tool": "add"}], tmp_path / "run")


def test_a_value_without_a_case_is_warned_about_before_the_run():
    chain = Chain("c", [switch("tool", {"add": []})], input_model=Tool)
    assert (
        "switch \"switch\": has no case for 'stop': such rows will fail (a case or a default)" in check(chain).warnings
    )


def test_a_scans_function_takes_a_carry_and_an_item():
    with pytest.raises(ChainError, match=r"body must take \(carry, item\), not \(a\)"):
        scan(lambda a: a, over="pages", init=0)


def test_a_scans_function_that_gives_pairs_without_saying_so_is_told_what_to_write(tmp_path):
    chain = Chain("c", [scan(lambda carry, item: (carry + item, item), over="pages", init=0)], input_model=Pages)
    result = chain.run([{"pages": [1]}], tmp_path / "run")
    assert "annotate it -> tuple[carry, output]" in result.failed[0].message


def test_a_first_carry_that_does_not_fit_is_an_error_before_the_run(tmp_path):
    chain = Chain("c", [scan(add_up, over="pages", init="zero")], input_model=Pages)
    with pytest.raises(ChainError, match=r"init is str, but the carry is int"):
        chain.run([{"pages": [1]}], tmp_path / "run")


def test_a_carry_that_could_not_be_kept_fails_its_row(tmp_path):
    def kept(carry: Any, item: Number) -> Any:
        return object() if item.value == 2 else item.value

    chain = Chain("c", [scan(kept, over=None, init=None)], input_model=Number)
    result = chain.run(numbers(1, 2, 3), tmp_path / "run")
    assert [row_id for row_id, _, _ in failures(result)] == ["1"]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


def test_cases_may_be_members_of_an_enum_or_their_values(tmp_path):
    def text(number: Number) -> str:
        return "small" if number.value < 5 else "large"

    def member(number: Number) -> Size:
        return Size(text(number))

    by_text = Chain("c", [switch(text, {Size.SMALL: [times(2)], Size.LARGE: [times(3)]})])
    by_member = Chain("c", [switch(member, {"small": [times(2)], "large": [times(3)]})])
    for name, chain in (("text", by_text), ("member", by_member)):
        assert values(chain.run(numbers(1, 9), tmp_path / name).outputs) == [2, 27]
