from __future__ import annotations

import pytest
from rich.cells import cell_len

from chainette.cli.frame import picture
from chainette.cli.progress import RunState
from chainette.cli.wording import ICONS, PLAIN, Glyphs
from chainette.events import EngineStarting, Event, Interrupted, RunFinished, RunStarted
from tests.cli.hand_made import finished, node, progressed, started


def drawn(*events: Event, width: int = 100, height: int = 50, glyphs: Glyphs = ICONS, **options: int) -> list[str]:
    state = RunState()
    for event in events:
        state.take(event)
    return picture(state, glyphs, width, height, 3.0, state.elapsed_s, **options).plain.split("\n")


def line_of(node_id: str, lines: list[str]) -> str:
    return next(line for line in lines if f" {node_id} " in line)


HALFWAY = progressed(2, 40, extract=node(48, entered=60, failed=2), verdict_fr=node(41, entered=48))


def test_each_node_shows_how_many_rows_are_behind_it_and_how_many_failed() -> None:
    lines = drawn(started(100), HALFWAY)
    assert "50/100" in line_of("extract", lines)
    assert "2 failed" in line_of("extract", lines)
    assert "41/98" in line_of("verdict_fr", lines)


def test_the_engine_line_says_load_and_what_the_engine_is() -> None:
    text = "\n".join(drawn(started(100), HALFWAY))
    assert "5/8 running · 12 waiting" in text
    assert "the demo model, 3M parameters, knows only the examples" in text


@pytest.mark.parametrize("width", [60, 79, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    big = node(1_234_567, entered=2_345_678, failed=12_345, dropped=234_567)
    lines = drawn(started(10_000_000), progressed(2, 40, extract=big), width=width)
    assert max(cell_len(line) for line in lines) <= width
    assert "1,481,479/10,000,000" in line_of("extract", lines)
    assert "12,345 failed" in line_of("extract", lines)


def test_wide_characters_in_names_do_not_break_the_columns() -> None:
    start = RunStarted("r", "runs/r", "名前", 10, (("抽出", "step", "🔎 抽出"), ("b", "step", "b")), ["抽出", "b"], ())
    lines = drawn(start, width=60)
    assert max(cell_len(line) for line in lines) <= 60
    assert any("🔎 抽出" in line for line in lines)


def test_the_graph_gives_way_when_the_terminal_is_low() -> None:
    lines = drawn(started(100), HALFWAY, height=14)
    assert len(lines) <= 14
    assert any("more lines" in line for line in lines)
    assert "40 of 100 rows committed" in lines[-1]


def test_names_from_a_chain_are_text_and_not_markup() -> None:
    start = RunStarted("r", "runs/r", "[red]x[/red]\x1b[2J", 1, (("[b]a", "step", "a"),), ["[b]a"], (), ("[i]w",))
    text = "\n".join(drawn(start))
    assert "[red]x[/red]" in text
    assert "[b]a" in text
    assert "[i]w" in text
    assert "\x1b" not in text


def test_without_icons_the_picture_is_ascii() -> None:
    assert "\n".join(drawn(started(100), HALFWAY, glyphs=PLAIN)).isascii()


def test_a_starting_engine_shows_for_how_long() -> None:
    assert "starting, 0:03" in "\n".join(drawn(started(), EngineStarting("demo", "llama.cpp")))


def test_after_ctrl_c_the_view_says_what_a_second_one_does() -> None:
    assert "Ctrl-C again: at once" in "\n".join(drawn(started(), HALFWAY, Interrupted(), width=80))


def test_a_bar_is_full_only_when_its_node_is_done() -> None:
    counts = {"extract": node(999, entered=1000)}
    nearly = line_of("extract", drawn(started(1000), progressed(2, 0, **counts)))
    assert "─" in nearly or "╸" in nearly
    assert "─" not in line_of("extract", drawn(started(1000), finished()))


def test_a_node_without_rows_is_drawn_empty() -> None:
    start = RunStarted("r", "runs/r", "c", 0, (("a", "step", "a"),), ["a"], ())
    state_lines = drawn(start)
    assert "0/0" in line_of("a", state_lines)


def test_a_run_without_an_outline_still_shows_its_nodes() -> None:
    start = RunStarted("r", "runs/r", "c", 5, (("a", "step", "a"), ("b", "step", "b")), None, ())
    lines = drawn(start)
    assert "0/5" in line_of("a", lines)


def test_a_node_that_no_row_reached_has_an_empty_bar_when_the_run_stopped() -> None:
    start = RunStarted("r", "runs/r", "c", 5, (("a", "step", "a"),), ["a"], ())
    end = RunFinished("r", "runs/r", "stopped", 5, 0, 0, 0, 1.0, {"a": node(0)}, {})
    assert "━" not in line_of("a", drawn(start, end))
