"""Engines take turns; what waits for a later one waits out of memory, and nothing about the files changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chainette import Branch, Chain, ScanItem, apply, cond, scan
from chainette.errors import EngineDiedError
from tests.executor.staging import House, Item, Play, ask, checked_chain, staged
from tests.folders import calls, derived, made_once

ROWS = [Item(text=f"row {n}") for n in range(20)]
TURNS = {"first": 0, "second": 1, "third": 2}


def line(*engines: str, **fields: Any) -> Chain:
    steps = [ask(id, engine, **fields) for id, engine in zip(TURNS, engines, strict=False)]
    return Chain(name="line", steps=steps)


class Pair:
    """The same chain in stages and all at once."""

    def __init__(self, chain: Chain, tmp_path: Any, turns: dict[str, int], rows: Any = ROWS, **script: Any) -> None:
        tmp_path.mkdir(exist_ok=True)
        self.checked = checked_chain(chain, **script)
        plan = staged(self.checked.plan, self.checked.graph, turns)
        self.plan = plan
        self.staged = Play(tmp_path / "staged", self.checked, plan, rows)
        self.at_once = Play(tmp_path / "at_once", self.checked, staged(plan, self.checked.graph, {}), rows)

    def house(self, **options: Any) -> House:
        return House(self.plan, **options)

    def files(self) -> dict[str, bytes]:
        """Those of the run without stages."""
        self.at_once.go(self.house())
        return derived(self.at_once.path)


@pytest.mark.parametrize(
    ("engines", "leases"),
    [
        ("ab", ["+a", "-a", "+b", "-b"]),
        ("aba", ["+a", "-a", "+b", "-b", "+a", "-a"]),
        ("abc", ["+a", "-a", "+b", "-b", "+c", "-c"]),
    ],
)
def test_each_engine_is_taken_once_per_stage_and_given_back_before_the_next(tmp_path, engines, leases):
    pair = Pair(line(*engines), tmp_path, TURNS)
    house = pair.house()
    pair.staged.go(house)
    assert house.leases == leases
    assert len(house.calls) == len(ROWS) * len(engines)
    assert derived(pair.staged.path) == pair.files()


def test_the_engines_of_later_stages_are_named_when_a_stage_begins(tmp_path):
    pair = Pair(line("a", "b", "a"), tmp_path, TURNS)
    house = pair.house()
    pair.staged.go(house)
    assert [word for word in house.said if word.startswith("later:")] == ["later: a b", "later: a", "later:"]


def test_without_stages_nothing_is_said_of_later_ones(tmp_path):
    pair = Pair(line("a", "b"), tmp_path, {})
    house = pair.house()
    pair.at_once.go(house)
    assert sorted(house.leases) == ["+a", "+b", "-a", "-b"]
    assert [word for word in house.said if word.startswith("later:")] == ["later:"]


def test_engines_of_a_stage_that_no_row_reaches_are_not_started(tmp_path):
    chain = line("a", "b")
    pair = Pair(chain, tmp_path, TURNS, faults=[{"kind": "mismatch", "containing": "row"}])
    house = pair.house()
    outcome = pair.staged.go(house)
    assert house.leases == ["+a", "-a"]
    assert (outcome.count.rows, outcome.count.rows_failed) == (20, 20)


def test_engines_that_are_not_lazy_start_with_their_first_stage_and_only_if_a_row_gets_there(tmp_path):
    pair = Pair(line("a", "b"), tmp_path, TURNS, lazy=False)
    house = pair.house()
    pair.staged.go(house)
    assert house.leases == ["+a", "-a", "+b", "-b"]
    other = Pair(line("a", "b"), tmp_path / "x", TURNS, lazy=False, faults=[{"kind": "mismatch", "containing": "row"}])
    house = other.house()
    other.staged.go(house)
    assert house.leases == ["+a", "-a"]


def test_what_was_read_before_a_bad_line_goes_through_all_stages(tmp_path):
    pair = Pair(line("a", "b"), tmp_path, TURNS)
    outcome = pair.staged.go(pair.house(), breaks_after=2)
    assert outcome.stopped == "line 7 is no row"
    assert outcome.count.rows_out == 6


def test_chunks_that_fail_whole_in_the_first_stage_hold_up_nobody(tmp_path):
    faults = [{"kind": "mismatch", "containing": f"row {n}"} for n in (3, 4, 5, 18)]
    pair = Pair(line("a", "b"), tmp_path, TURNS, faults=faults)
    pair.staged.go(pair.house(), open_rows=2)
    assert derived(pair.staged.path) == pair.files()


def halves(item: Item) -> list[Item]:
    return [Item(text=f"{item.text} left"), Item(text=f"{item.text} right")]


GROUP = [
    Branch(name="near", steps=[ask("near", "a"), apply(halves)]).join("n"),
    Branch(name="far", steps=[ask("far", "b"), ask("back", "a")]).join("f", missing="none"),
    Branch(name="aside", steps=[ask("aside", "c")]),
]


@pytest.mark.parametrize(
    "turns",
    [
        {"far": 1},
        {"far": 1, "back": 2},
        {"far": 1, "back": 2, "last": 3},
        {"near": 1, "aside": 2},
        {"aside": 2},
        {"last": 1},
        {"near": 1, "far": 1, "aside": 1},
    ],
)
@pytest.mark.parametrize("before", [[], [ask("before", "a"), apply(halves)]])
def test_branches_and_joins_over_stages_make_the_same_files(tmp_path, turns, before):
    last = ask("last", "b", prompt="{{ text }} {{ n | length }} {{ f.text if f else '' }}")
    faults = [{"kind": "mismatch", "containing": "far: row 7"}, {"kind": "mismatch", "containing": "near: row 11"}]
    pair = Pair(Chain(name="joins", steps=[*before, GROUP, last]), tmp_path, turns, faults=faults)
    pair.staged.go(pair.house(), open_rows=4)
    assert derived(pair.staged.path) == pair.files()
    assert made_once(pair.staged.path)


def test_a_list_function_gets_the_whole_chunk_although_a_part_of_it_was_parked(tmp_path):
    sizes: list[int] = []

    def watched(items: list[Item]) -> list[Item]:
        sizes.append(len(items))
        return items

    chain = Chain(name="list", steps=[ask("first", "a"), ask("second", "b"), apply(watched), ask("third", "a")])
    pair = Pair(chain, tmp_path, TURNS)
    pair.staged.go(pair.house())
    assert sizes == [3] * 6 + [2]
    assert derived(pair.staged.path) == pair.files()


def test_functions_run_once_for_each_row_also_before_a_parked_step(tmp_path):
    seen: list[str] = []

    def note(item: Item) -> Item:
        seen.append(item.text)
        return item

    chain = Chain(name="once", steps=[ask("first", "a"), apply(note), ask("second", "b")])
    pair = Pair(chain, tmp_path, TURNS)
    pair.staged.go(pair.house())
    assert len(seen) == len(ROWS)


def test_results_come_in_input_order_while_chunks_wait_for_their_stage(tmp_path):
    faults = [{"kind": "mismatch", "containing": f"row {n}"} for n in range(6, 15)]
    pair = Pair(line("a", "b"), tmp_path, TURNS, faults=faults)
    got: list[tuple[int, list[str]]] = []
    pair.staged.go(pair.house(), open_rows=2, results=lambda chunk, rows: got.append((chunk, [row.id for row in rows])))
    assert [chunk for chunk, _ in got] == list(range(7))
    assert [id for _, ids in got for id in ids] == [str(n) for n in range(20) if n not in range(6, 15)]
    assert derived(pair.staged.path) == pair.files()


def test_counts_hold_what_is_parked(tmp_path):
    pair = Pair(line("a", "b"), tmp_path, TURNS)
    house, seen = pair.house(), []

    def look(stand: Any) -> None:
        if stand.spec.name == "b" and not seen:
            seen.append(pair.staged.executor.statistics())

    house.on_call = look
    pair.staged.go(house)
    nodes = seen[0].nodes
    assert (nodes["first"].done, nodes["second"].entered) == (20, 20)
    assert nodes["second"].waiting + nodes["second"].running == 20
    assert (seen[0].rows_read, seen[0].rows_done) == (20, 0)
    last = pair.staged.executor.statistics()
    assert (last.nodes["second"].done, last.nodes["second"].waiting) == (20, 0)
    assert (last.engines["a"].calls, last.engines["b"].calls) == (20, 20)
    assert last.engines["a"].up_s > 0
    assert last.engines["a"].devices == 1


def test_failures_of_parked_rows_stop_a_run_that_allows_fewer(tmp_path):
    faults = [{"kind": "mismatch", "containing": f"row {n}"} for n in (1, 4, 7)]
    pair = Pair(line("a", "b"), tmp_path, TURNS, faults=faults)
    house = pair.house()
    outcome = pair.staged.go(house, max_failed=2)
    assert "3 rows failed" in outcome.stopped
    assert house.leases == ["+a", "-a"]


@pytest.mark.parametrize("dies_after", [0, 1, 7, 19, 20, 21, 33, 38])
def test_a_run_cut_off_in_either_stage_goes_on_to_the_same_files_with_no_call_twice(tmp_path, dies_after):
    pair = Pair(line("a", "b", retries=0), tmp_path, TURNS, faults=[{"kind": "mismatch", "containing": "row 5"}])
    with pytest.raises(EngineDiedError):
        pair.staged.go(pair.house(dies_after=dies_after))
    house = pair.house(seed=1)
    pair.staged.go(house)
    assert derived(pair.staged.path) == pair.files()
    assert made_once(pair.staged.path)
    assert ("+a" in house.leases) == (dies_after < 20)


def test_a_stopped_run_shows_what_its_parked_rows_came_to_and_goes_on_to_the_same_files(tmp_path):
    pair = Pair(line("a", "b", "c"), tmp_path, TURNS)
    house = pair.house()

    def stop(stand: Any) -> None:
        if len(house.calls) >= 27:
            pair.staged.executor.stop("enough")

    house.on_call = stop
    assert pair.staged.go(house).stopped == "enough"
    shown = derived(pair.staged.path)
    assert b"".join(shown[name] for name in shown if name.startswith("steps/first/")).count(b"\n") == 20
    assert len(calls(pair.staged.path)) < 60
    pair.staged.go(pair.house())
    assert derived(pair.staged.path) == pair.files()
    assert made_once(pair.staged.path)


def test_calls_taken_from_another_run_start_no_engine_in_any_stage(tmp_path):
    pair = Pair(line("a", "b"), tmp_path, TURNS)
    expected = pair.files()
    house = pair.house()
    pair.staged.go(house, other=pair.at_once.path)
    assert house.leases == []
    assert derived(pair.staged.path) == expected


def test_a_row_that_was_refused_before_the_cut_has_the_rest_of_its_attempts_after_it(tmp_path):
    faults = [{"kind": "mismatch", "containing": "second: first: row 5", "attempts": 2}]
    pair = Pair(line("a", "b", retries=2), tmp_path, TURNS, faults=faults)
    with pytest.raises(EngineDiedError):
        pair.staged.go(pair.house(dies_after=30))
    pair.staged.go(pair.house())
    assert made_once(pair.staged.path)
    assert max(attempt for _, _, attempt in calls(pair.staged.path)) <= 3


def test_values_that_cannot_be_pickled_wait_in_memory_with_one_warning(tmp_path):
    class Kept(Item):
        pass

    lock = threading.Lock()

    def with_lock(item: Item) -> Kept:
        kept = Kept(text=item.text)
        if item.text == "row 4":
            object.__setattr__(kept, "__pydantic_private__", {"lock": lock})
        return kept

    chain = Chain(name="locks", steps=[apply(with_lock), ask("first", "a", prompt="{{ text }}"), ask("second", "b")])
    pair = Pair(chain, tmp_path, TURNS)
    pair.staged.go(pair.house())
    assert len(pair.staged.warnings) == 1
    assert "chunk 1 cannot be pickled" in pair.staged.warnings[0]
    assert derived(pair.staged.path) == pair.files()


def test_a_hundred_rows_deep_is_not_too_deep_to_park(tmp_path):
    def same(item: Item) -> Item:
        return item

    steps = [apply(same, id=f"same_{n}") for n in range(150)]
    chain = Chain(name="deep", steps=[ask("first", "a"), *steps, ask("second", "b")])
    pair = Pair(chain, tmp_path, TURNS, rows=ROWS[:4])
    pair.staged.go(pair.house())
    assert pair.staged.warnings == []
    assert derived(pair.staged.path) == pair.files()


def carried(item: ScanItem[Item, Item]) -> Item:
    return Item(text=f"{item.item.text} after {item.carry.text[:8]}")


def running(carry: str, item: Item) -> tuple[str, Item]:
    return item.text, Item(text=f"{item.text} after {carry}")


def is_even(item: Item) -> bool:
    return int(item.text.split()[1]) % 2 == 0


def test_a_chunk_behind_another_at_a_scan_has_its_turn_in_the_scans_stage_whatever_else_it_waits_for(tmp_path):
    told = scan([apply(carried), ask("told", "a")], over=None, init=Item(text="nothing"), id="story")
    group = [Branch("told", [told]).join(), Branch("later", [ask("late", "b")]).join()]
    pair = Pair(Chain(name="c", steps=[group]), tmp_path, {"story": 1, "late": 2})
    pair.staged.go(pair.house())
    assert derived(pair.staged.path) == pair.files()


def test_a_chunk_that_must_wait_at_a_scan_on_one_side_still_goes_through_that_on_the_other(tmp_path):
    told = scan([apply(carried), ask("told", "a")], over=None, init=Item(text="nothing"), id="story")
    sides = cond(is_even, [told], [scan(running, over=None, init="nothing", id="other")])
    pair = Pair(Chain(name="c", steps=[sides]), tmp_path, {"story": 1})
    pair.staged.go(pair.house())
    assert derived(pair.staged.path) == pair.files()
