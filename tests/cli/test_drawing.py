from __future__ import annotations

from chainette.cli.charts import dot
from chainette.cli.drawing import tree_lines
from chainette.cli.wording import ICONS, PLAIN
from chainette.reports.arrows import Arrow, arrows
from chainette.reports.mermaid import mermaid
from tests.cli.hand_made import NODES, TREE

LABELS = {id_: (kind, label) for id_, kind, label in NODES}


def drawn(**options: int) -> list[str]:
    return [line.prefix + line.text for line in tree_lines(TREE, ICONS, **options)]


def test_branches_hang_between_the_node_before_and_their_join() -> None:
    assert drawn() == [
        "extract",
        "├─ fr",
        "│  verdict_fr",
        "├─ es (as spanish)",
        "│  verdict_es",
        "│  check",
        "├─ audit",
        "│  note",
        "╰▸ join-1",
        "keep",
        "summarise",
    ]


def test_branches_beyond_the_limit_are_counted_not_drawn() -> None:
    assert drawn(max_branches=1)[1:5] == ["├─ fr", "│  verdict_fr", "├─ … and 2 more", "╰▸ join-1"]


def test_a_group_without_a_join_ends_with_its_last_branch() -> None:
    outline = [{"branches": [{"name": "a", "items": ["x"]}, {"name": "b", "items": ["y"]}], "join": None}, "z"]
    assert [line.prefix + line.text for line in tree_lines(outline, PLAIN)] == ["|- a", "|  x", "`- b", "   y", "z"]


def test_every_node_knows_the_node_that_its_rows_come_from() -> None:
    before = {line.node: line.before for line in tree_lines(TREE, ICONS) if line.node}
    assert before == {
        "extract": None,
        "verdict_fr": "extract",
        "verdict_es": "extract",
        "check": "verdict_es",
        "note": "extract",
        "join-1": "extract",
        "keep": "join-1",
        "summarise": "keep",
    }


def test_arrows_go_from_the_main_line_and_from_every_joined_branch_to_the_join() -> None:
    into_join = [way for way in arrows(TREE) if way.end == "join-1"]
    assert into_join == [
        Arrow("extract", "join-1"),
        Arrow("verdict_fr", "join-1", "fr"),
        Arrow("check", "join-1", "spanish"),
    ]


def test_a_chain_may_begin_with_branches() -> None:
    outline = [{"branches": [{"name": "a", "alias": "a", "items": ["x"]}], "join": "join-1"}]
    assert arrows(outline) == [Arrow(None, "x", "a"), Arrow(None, "join-1"), Arrow("x", "join-1", "a")]


def test_mermaid_names_every_node_and_quotes_what_would_be_syntax() -> None:
    text = mermaid("A: title", LABELS | {"extract": ("step", 'say "hi" <b>')}, arrows(TREE))
    assert "flowchart TD" in text
    assert 'n0["say #quot;hi#quot; #lt;b#gt;"]' in text
    assert "input --> n0" in text
    assert 'n0 -->|"fr"| n1' in text


def test_dot_names_every_node_and_quotes_what_would_be_syntax() -> None:
    text = dot('a "b"', LABELS, arrows(TREE))
    assert text.startswith('digraph "a \\"b\\"" {')
    assert '":input" -> "extract";' in text
    assert '"check" -> "join-1" [label="spanish"];' in text


def test_a_chain_inside_a_chain_is_drawn_in_its_place() -> None:
    outline = ["a", {"chain": "inner", "items": ["inner/b", {"chain": "deep", "items": ["inner/deep/c"]}]}, "d"]
    assert [(line.text, line.before) for line in tree_lines(outline, ICONS)] == [
        ("a", None),
        ("inner/b", "a"),
        ("inner/deep/c", "inner/b"),
        ("d", "inner/deep/c"),
    ]
    assert arrows(outline)[-1] == Arrow("inner/deep/c", "d")
