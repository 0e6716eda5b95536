"""The graph of a run, drawn: checked in the places of its boxes and in the XML that comes out."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette.graph import build
from chainette.reports.drawing import draw
from chainette.reports.layout import Box, Edge, Layout, Placed
from chainette.reports.layout_outline import INPUT, OUTPUT, clipped, laid_out
from tests.run.looping import every_construct

SVG = "{http://www.w3.org/2000/svg}"


def graph_of(outline: list[Any], **more: Any) -> dict[str, Any]:
    """What `graph.json` says of a chain with that outline."""
    return {
        "chain": "drawn",
        "nodes": [{"id": id, "type": "apply"} for id in ids_in(outline)],
        "outline": outline,
        **more,
    }


def ids_in(items: object) -> list[str]:
    found: list[str] = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, str):
            found.append(item)
            continue
        found += [item["compound"]] if "compound" in item else []
        for way in [*item.get("ways", []), *item.get("branches", []), item]:
            found += ids_in(way.get("items"))
        found += [item["join"]] if item.get("join") else []
    return found


@pytest.fixture(scope="module")
def constructs() -> dict[str, Any]:
    graph, problems = build(every_construct())
    assert graph is not None
    assert not problems
    nodes = [{"id": node.id, "type": node.kind} for node in graph.shown]
    return {"chain": "every construct", "outline": graph.outline, "nodes": nodes}


def holds(outer: Box, inner: Box) -> bool:
    across = outer.x < inner.x and inner.right < outer.right
    return across and outer.y < inner.y and inner.bottom < outer.bottom


def apart(a: Box, b: Box) -> bool:
    return a.right <= b.x or b.right <= a.x or a.bottom <= b.y or b.bottom <= a.y


def assert_tidy(layout: Layout, expected: list[str]) -> None:
    """Every node once; boxes apart or one wholly in an open other; all of it on the sheet."""
    assert sorted(placed.id for placed in layout.nodes) == sorted([INPUT, *expected, OUTPUT])
    for a, b in combinations(layout.nodes, 2):
        inside = (a.open and holds(a.box, b.box) and apart(a.head, b.box)) or (b.open and holds(b.box, a.box))
        assert inside or apart(a.box, b.box), (a, b)
    for a, b in combinations(layout.ways, 2):
        assert apart(a.box, b.box), (a, b)
    for placed in layout.nodes:
        assert holds(Box(-1, -1, layout.width + 2, layout.height + 2), placed.box)


def on_border(placed: Placed, edge: Edge, x: float, y: float) -> bool:
    lines = (placed.box.y, placed.box.bottom, placed.head.bottom)
    return placed.box.x <= x <= placed.box.right and any(abs(y - line) < 0.1 for line in lines)


def test_every_node_stands_once_inside_the_open_boxes_that_hold_it(constructs: dict[str, Any]) -> None:
    layout = laid_out(constructs, counted=True)
    assert_tidy(layout, [node["id"] for node in constructs["nodes"]])
    boxes = {placed.id: placed.box for placed in layout.nodes}
    for outer, inner in (
        ("way", "work"),
        ("work", "note"),
        ("way", "fewest"),
        ("cond", "count_vote"),
        ("book", "read"),
    ):
        assert holds(boxes[outer], boxes[inner])
    assert not holds(boxes["way"], boxes["final"])


def test_lines_begin_and_end_at_the_nodes_they_join_and_bend_at_right_angles(constructs: dict[str, Any]) -> None:
    layout = laid_out(constructs, counted=False)
    nodes = {placed.id: placed for placed in layout.nodes}
    for edge in layout.edges:
        assert on_border(nodes[edge.start], edge, *edge.points[0])
        if edge.end is not None:
            assert on_border(nodes[edge.end], edge, *edge.points[-1])
        for (x, y), (to_x, to_y) in zip(edge.points, edge.points[1:], strict=False):
            assert x == to_x or y == to_y
    ways = {(edge.start, edge.end, edge.kind) for edge in layout.edges}
    assert {("revise", "work", "back"), ("book", "join_book_draft", ""), ("way", "start_long", "")} <= ways
    assert ("kept", "join_book_draft", "main") in ways
    assert ("cond", None, "") in ways, "a branch that is not joined ends in its own files"


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda s: s.strip())
items = st.deferred(lambda: st.lists(st.one_of(names, groups, compounds, chains), min_size=1, max_size=3))
ways = st.fixed_dictionaries({"name": names, "alias": st.none() | names, "items": items})
groups = st.fixed_dictionaries({"branches": st.lists(ways, min_size=1, max_size=3), "join": st.none() | names})
kinds = st.sampled_from(["cond", "switch", "while_loop", "scan"])
compounds = st.fixed_dictionaries({"compound": names, "kind": kinds, "ways": st.lists(ways, min_size=1, max_size=3)})
chains = st.fixed_dictionaries({"chain": names, "items": items})


def only_bodies(items: list[Any]) -> list[Any]:
    """Loops have one way."""
    for item in items:
        if isinstance(item, dict):
            if item.get("kind") in ("while_loop", "scan"):
                del item["ways"][1:]
            for way in [*item.get("ways", []), *item.get("branches", []), item]:
                only_bodies(way.get("items", []))
    return items


@given(items.map(only_bodies))
def test_any_nesting_stays_tidy_and_is_sound_xml(outline: list[Any]) -> None:
    assert_tidy(laid_out({"outline": outline}, counted=True), ids_in(outline))
    ElementTree.fromstring(draw(graph_of(outline), {}))


def test_names_are_text_and_never_part_of_the_drawing() -> None:
    hostile = '"><script>alert(1)</script> & \x00\x1b[2J\u202e ]]> ' + "x" * 5_000
    outline = [
        {"compound": hostile, "kind": "switch", "label": hostile, "ways": [{"name": hostile, "items": [hostile]}]}
    ]
    graph = graph_of(outline, chain=hostile)
    drawn = draw(graph, {hostile: {"done": "<b>", "failed": 3}})
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(drawn).iter()}
    assert tags <= {"svg", "g", "rect", "path", "circle", "text", "tspan", "title"}
    assert not {"\x00", "\x1b", "\u202e"} & set(drawn)
    shown = [text for text in ElementTree.fromstring(drawn).itertext() if "script" in text]
    assert max(map(len, shown)) <= 1_000


def test_figures_say_which_count_of_which_node_they_are(constructs: dict[str, Any]) -> None:
    counts = {"way": {"rows_in": 12_345, "done": 7, "failed": 2}, "kept": {"dropped": 1, "done": 3}}
    drawn = ElementTree.fromstring(draw(constructs, counts))
    figures = {(t.get("data-node"), t.get("data-field")): t.text for t in drawn.iter(f"{SVG}tspan")}
    assert figures["way", "rows_in"] == "12.3k"
    assert (figures["way", "done"], figures["way", "failed"]) == ("7 done", "2 failed")
    assert (figures["kept", "dropped"], figures["kept", "failed"]) == ("1 dropped", None)
    assert not list(ElementTree.fromstring(draw(constructs)).iter(f"{SVG}tspan"))


def test_boxes_are_as_wide_as_the_longest_figures_in_them() -> None:
    counts = {"one": {"done": 12_345_678, "failed": 1_234_567, "dropped": 234_794}, "two": {"done": 1}}
    drawn = ElementTree.fromstring(draw(graph_of(["one", "two"]), counts))
    nodes = {group.get("data-node"): group for group in drawn.iter(f"{SVG}g") if group.get("data-node")}
    boxes = {id: float(node.find(f"{SVG}rect").get("width", 0)) for id, node in nodes.items()}  # type: ignore[union-attr]
    assert boxes["one"] == boxes["two"] > 6.2 * len("12.3M done 1.2M failed 234.8k dropped") + 27


def test_nodes_have_ids_of_their_own_for_a_live_page_and_none_where_several_drawings_stand(
    constructs: dict[str, Any],
) -> None:
    live = [g.get("id") for g in ElementTree.fromstring(draw(constructs, {})).iter(f"{SVG}g") if g.get("id")]
    assert sorted(live) == sorted(f"node-{n}" for n in range(len(constructs["nodes"])))
    assert ' id="' not in draw(constructs, {}, live_ids=False)


def test_a_node_can_be_a_link(constructs: dict[str, Any]) -> None:
    drawn = ElementTree.fromstring(draw(constructs, links=lambda node: f"/rows?step={node}&x=\"'"))
    assert next(a.get("href") for a in drawn.iter(f"{SVG}a")) == "/rows?step=kept&x=\"'"


def test_two_hundred_branches_stand_on_shelves_and_sixty_nodes_in_a_column() -> None:
    branches = [{"name": f"b{n}", "alias": f"b{n}", "items": [f"node {n}"]} for n in range(200)]
    wide = laid_out({"outline": [{"branches": branches, "join": "join"}]}, counted=True)
    assert_tidy(wide, ["join", *(f"node {n}" for n in range(200))])
    assert wide.width < 1_600
    long = laid_out({"outline": [f"n{n}" for n in range(60)]}, counted=True)
    assert_tidy(long, [f"n{n}" for n in range(60)])
    assert long.width < 400


def test_a_graph_of_an_older_version_or_of_nonsense_is_drawn_as_far_as_it_is_known() -> None:
    old = {"execution_order": [{"id": "one"}, {"id": "two"}], "edges": [["one", "two"]]}
    assert [placed.id for placed in laid_out(old, counted=False).nodes][1:-1] == ["one", "two"]
    deep: Any = ["end"]
    for _ in range(300):
        deep = [{"chain": "c", "items": deep}]
    for outline in (deep, [None, 3, {}, {"branches": 7}, {"compound": None, "ways": ["x", {}]}], "text", {"a": 1}):
        ElementTree.fromstring(draw({"outline": outline, "nodes": [None, {"id": 3}]}, {}))
    ElementTree.fromstring(draw({}))
    many = json.loads(json.dumps({"outline": [f"n{n}" for n in range(9_000)]}))
    assert len(laid_out(many, counted=False).nodes) < 3_000


def test_long_names_keep_the_part_that_tells_them_apart() -> None:
    assert clipped("a_long_name_of_a_step", 10) == "a_long_na…"
    assert clipped("outer_chain/inner_chain/step", 12) == "…_chain/step"
    assert clipped("日本語の名前です", 8) == "日本語…"
