"""Which steps run together, what is loaded when, and what must rest."""

from __future__ import annotations

import pytest

from chainette import Branch, Chain, apply, while_loop
from chainette.devices import DevicesHere
from chainette.graph import build
from chainette.plan import make_plan
from chainette.specs import EngineRegistry
from tests.models import Question
from tests.plan.conftest import Planner, ask, on_gpus


def line(engines: str):
    """`line("ABA")`: three steps one after the other, a on A, b on B and so on."""
    return [ask(f"s{position}", engine) for position, engine in enumerate(engines)]


def branch(name: str, engines: str, alias: str | None = None):
    steps = [ask(f"{name}{position}", engine) for position, engine in enumerate(engines)]
    made = Branch(name=name, steps=steps)
    return made if alias is None else made.join(alias)


HALF = {"gpu_memory_utilization": 0.5}
FORK = [ask("first", "A"), [branch("x", "B", "x"), branch("y", "C", "y")], ask("last", "A")]

CASES = [
    # steps, devices, engines, stages as their steps, loads
    ("one engine", line("AAA"), 1, {"A": {}}, [["s0", "s1", "s2"]], 1),
    ("two that fit", line("AB"), 2, {"A": {}, "B": {}}, [["s0", "s1"]], 2),
    ("two halves of one", line("ABAB"), 1, {"A": HALF, "B": HALF}, [["s0", "s1", "s2", "s3"]], 2),
    ("two that do not", line("AB"), 1, {"A": {}, "B": {}}, [["s0"], ["s1"]], 2),
    ("there and back", line("ABA"), 1, {"A": {}, "B": {}}, [["s0"], ["s1"], ["s2"]], 3),
    ("in pairs", line("AABBA"), 1, {"A": {}, "B": {}}, [["s0", "s1"], ["s2", "s3"], ["s4"]], 3),
    (
        # What is needed again stays, what is not gives way.
        "keep what comes back",
        line("ABAC"),
        2,
        {"A": {}, "B": {}, "C": {}},
        [["s0", "s1", "s2"], ["s3"]],
        3,
    ),
    (
        "branches of one engine run in one stage",
        [[branch("x", "AB"), branch("y", "BA"), branch("z", "AB")]],
        1,
        {"A": {}, "B": {}},
        [["x0", "z0"], ["x1", "y0", "z1"], ["y1"]],
        3,
    ),
    ("a join waits for all", FORK, 1, {"A": {}, "B": {}, "C": {}}, [["first"], ["x0"], ["y0"], ["last"]], 4),
    ("the branches together", FORK, 2, {"A": {}, "B": {}, "C": {}}, [["first", "x0"], ["y0", "last"]], 3),
    (
        "a big one takes both devices",
        line("ABCAB"),
        2,
        {"A": {}, "B": {}, "C": {"tensor_parallel_size": 2}},
        [["s0", "s1"], ["s2"], ["s3", "s4"]],
        5,
    ),
]


@pytest.mark.parametrize(
    ("steps", "devices", "engines", "stages", "loads"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_engines_are_loaded_as_few_times_as_can_be(planner: Planner, steps, devices, engines, stages, loads) -> None:
    plan = planner(steps, devices, **engines)
    ids = {node for stage in stages for node in stage}
    assert [[node for node in stage.nodes if node in ids] for stage in plan.stages] == stages
    assert plan.total_loads == loads
    assert planner.problems == []


def test_engines_that_fit_together_make_one_stage_that_loads_them_all(planner: Planner) -> None:
    plan = planner(line("ABC"), 3, A={}, B={}, C={})
    (stage,) = plan.stages
    assert stage.nodes == ("chain_input", "s0", "s1", "s2")
    assert (stage.engines, stage.loads, stage.rests, stage.why) == (("A", "B", "C"), ("A", "B", "C"), (), "")
    assert stage.placements == {"A": ((0,),), "B": ((1,),), "C": ((2,),)}


def test_a_stage_says_who_rests_and_why(planner: Planner) -> None:
    first, second = planner(line("AB"), 1, A={}, B={"gpu_memory_utilization": 0.3}).stages
    assert (first.loads, first.rests, first.why) == (("A",), (), "")
    assert (second.loads, second.rests) == (("B",), ("A",))
    assert second.why == "0.9 (A) + 0.3 (B) = 1.2 of gpu 0"


def test_an_engine_that_waits_for_a_later_stage_keeps_its_devices(planner: Planner) -> None:
    second = planner(line("ABCA"), 2, A={}, B={}, C={}).stages[1]
    assert second.engines == ("C", "A")
    assert second.placements == {"A": ((0,),), "C": ((1,),)}
    assert second.loads == ("C",)
    assert second.rests == ("B",)


def test_an_engine_wakes_where_it_slept(planner: Planner) -> None:
    plan = planner(line("ABCBA"), 2, A={}, B=HALF, C={"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8})
    assert len({stage.placements["A"] for stage in plan.stages if "A" in stage.placements}) == 1
    assert len({stage.placements["B"] for stage in plan.stages if "B" in stage.placements}) == 1


def test_engines_without_devices_serve_in_every_stage_and_cost_nothing(planner: Planner) -> None:
    away = {"endpoint": "http://localhost:1/v1"}
    plan = planner([ask("s0", "away"), *line("AB")[1:], ask("s2", "away"), ask("s3", "A")], 1, A={}, B={}, away=away)
    assert [stage.engines for stage in plan.stages] == [("away", "B"), ("A",)]
    assert plan.total_loads == 2
    assert "away" not in plan.placements


def test_a_chain_without_devices_is_one_stage_and_nobody_looks_for_any() -> None:
    def look() -> DevicesHere:
        raise AssertionError("looked")

    graph, _ = build(Chain(name="c", steps=[ask("s0", "demo")]))
    plan, problems = make_plan(graph, EngineRegistry(), {}, on_gpus, devices=look)
    assert (len(plan.stages), plan.total_loads, plan.devices, problems) == (1, 0, (), [])


def test_an_apply_and_a_join_run_as_soon_as_their_rows_are_there(planner: Planner) -> None:
    def same(row: Question) -> Question:
        return row

    chain = [ask("s0", "A"), apply(same), [branch("x", "B", "x")], apply(same, id="after"), ask("s1", "A")]
    plan = planner(chain, 1, A={}, B={})
    assert [stage.nodes for stage in plan.stages] == [
        ("chain_input", "s0", "same"),
        ("x0", "join_x", "after"),
        ("s1",),
    ]


def test_every_node_has_a_stage_that_is_not_before_those_whose_rows_it_needs(planner: Planner) -> None:
    plan = planner(FORK, 1, A={}, B={}, C={})
    chain_input, first, _, x0, _, y0, join, last = (plan.stage_of[index] for index in range(8))
    assert (chain_input, first, x0, y0, join, last) == (0, 0, 1, 2, 2, 3)


def test_many_steps_and_engines_are_planned_by_a_greedy_walk_that_says_so(planner: Planner) -> None:
    engines = {f"e{n}": {"gpu_memory_utilization": 0.3 + n % 4 / 10} for n in range(14)}
    branches = [
        Branch(name=f"b{n}", steps=[ask(f"b{n}s{k}", f"e{(n * 5 + k * k * 3 + k) % 14}") for k in range(4)])
        for n in range(14)
    ]
    plan = planner([branches], 2, **engines)
    assert "perhaps not the best" in plan.stages[0].why
    assert plan.total_loads >= 14


def test_the_plan_as_data_is_what_graph_json_shows(planner: Planner) -> None:
    shown = planner(line("AB"), 1, A={}, B={}).public()
    assert shown["total_loads"] == 2
    assert shown["devices"] == [{"index": 0, "name": "", "memory_bytes": None}]
    assert shown["stages"][1] == {
        "nodes": ["s1"],
        "engines": ["B"],
        "placements": {"B": [[0]]},
        "loads": ["B"],
        "rests": ["A"],
        "why": "0.9 (A) + 0.9 (B) = 1.8 of gpu 0",
    }


def seen(steps: list[object], devices: int, planner: Planner, **engines: object) -> list[list[str]]:
    """The stages as their steps and functions."""
    plan = planner(steps, devices, **engines)  # type: ignore[arg-type]
    return [[id for id in stage.nodes if id != "chain_input" and "//" not in id] for stage in plan.stages]


def look(rows: list[Question]) -> list[Question]:
    return rows


def barrier(id: str = "all") -> object:
    return apply(look, id=id, scope="run")


def loop(id: str, *steps: object) -> object:
    return while_loop(list(steps), until=lambda row: True, id=id)


BORDERS = [
    # steps, devices, engines, stages, loads, engines of each stage
    ("none", [apply(look, id="f"), barrier()], 1, {}, [["f"], ["all"]], 0, [(), ()]),
    (
        "one engine stays",
        [ask("s0", "A"), barrier(), ask("s1", "A")],
        1,
        {"A": {}},
        [["s0"], ["all", "s1"]],
        1,
        ["A", "A"],
    ),
    (
        "two that fit, the second when it is needed",
        [ask("s0", "A"), barrier(), ask("s1", "B")],
        2,
        {"A": {}, "B": {}},
        [["s0"], ["all", "s1"]],
        2,
        ["A", "B"],
    ),
    (
        "at the start and at the end",
        [barrier("one"), ask("s0", "A"), barrier("two")],
        1,
        {"A": {}},
        [[], ["one", "s0"], ["two"]],
        1,
        ["", "A", ""],
    ),
    (
        "two after each other",
        [ask("s0", "A"), barrier("one"), barrier("two"), ask("s1", "A")],
        1,
        {"A": {}},
        [["s0"], ["one"], ["two", "s1"]],
        1,
        ["A", "", "A"],
    ),
    (
        "a branch that ends before it is done before it",
        [[branch("x", "AB")], barrier(), ask("s0", "A")],
        1,
        {"A": {}, "B": {}},
        [["x0"], ["x1"], ["all", "s0"]],
        3,
        ["A", "B", "A"],
    ),
]


@pytest.mark.parametrize(
    ("steps", "devices", "engines", "stages", "loads", "serving"), [c[1:] for c in BORDERS], ids=[c[0] for c in BORDERS]
)
def test_what_comes_after_a_function_over_the_run_is_in_a_later_stage(
    planner: Planner, steps, devices, engines, stages, loads, serving
) -> None:
    assert seen(steps, devices, planner, **engines) == stages
    plan = planner(steps, devices, **engines)
    assert plan.total_loads == loads
    assert ["".join(stage.engines) for stage in plan.stages] == ["".join(names) for names in serving]
    assert [stage.barrier for stage in plan.stages][1:] == [
        next((id for id in stage if id in ("all", "one", "two")), "") for stage in stages[1:]
    ]


LOOPS = [
    # steps, devices, engines, stages, loads
    ("in one stage", [loop("l", ask("a", "A"), ask("b", "B"))], 2, {"A": {}, "B": {}}, [["l", "a", "b"]], 2),
    (
        "in one stage before what needs their room",
        [loop("l", ask("a", "A"), ask("b", "B")), ask("c", "C")],
        2,
        {"A": {}, "B": {}, "C": {"tensor_parallel_size": 2}},
        [["l", "a", "b"], ["c"]],
        3,
    ),
    (
        "one inside the other with it",
        [ask("c", "C"), loop("l", ask("a", "A"), loop("m", ask("b", "B")), ask("d", "A"))],
        1,
        {"A": HALF, "B": HALF, "C": {}},
        [["c", "l"], ["a", "m", "b", "d"]],
        3,
    ),
    (
        "before what takes what comes out of it",
        [ask("c", "B"), loop("l", ask("a", "A")), ask("d", "B")],
        1,
        {"A": {}, "B": {}},
        [["c", "l"], ["a"], ["d"]],
        3,
    ),
    (
        "two loops one after the other",
        [loop("l", ask("a", "A"), ask("b", "B")), loop("m", ask("c", "B"), ask("d", "C"))],
        1,
        {"A": HALF, "B": HALF, "C": HALF},
        [["l", "a", "b", "m"], ["c", "d"]],
        3,
    ),
]


@pytest.mark.parametrize(
    ("steps", "devices", "engines", "stages", "loads"), [c[1:] for c in LOOPS], ids=[c[0] for c in LOOPS]
)
def test_steps_of_a_loop_run_in_one_stage(planner: Planner, steps, devices, engines, stages, loads) -> None:
    assert seen(steps, devices, planner, **engines) == stages
    assert planner(steps, devices, **engines).total_loads == loads
    assert planner.problems == []


def test_a_loop_whose_engines_do_not_fit_together_is_refused_with_the_arithmetic(planner: Planner) -> None:
    plan = planner([loop("refine", ask("a", "A"), ask("b", "B"))], 1, A={}, B={"gpu_memory_utilization": 0.3})
    (said,) = planner.said
    assert said == str(plan.misfits[0])
    assert said.startswith('while_loop "refine": rows go round between its steps, so their engines must fit together: ')
    assert "0.9 (A) + 0.3 (B) = 1.2 of gpu 0" in said
    assert "--engine STEP=NAME" in said


def test_a_border_without_devices_makes_stages_too(planner: Planner) -> None:
    away = {"endpoint": "http://localhost:1/v1"}
    plan = planner([ask("s0", "away"), barrier(), ask("s1", "away")], 0, away=away)
    assert [stage.engines for stage in plan.stages] == [("away",), ("away",)]
    assert [plan.public()["stages"][number].get("barrier") for number in (0, 1)] == [None, "all"]
