from __future__ import annotations

import pytest

from chainette.cli import wording


def test_a_line_from_a_row_cannot_move_the_cursor_or_colour_the_terminal() -> None:
    assert wording.one_line("a\x1b[31mred\x1b[0m\x1b]0;title\x07b\rc\nd\x9b2Je\x00") == "ared" + "b c de"


def test_invisible_direction_marks_are_taken_out() -> None:
    assert wording.one_line("user\u202etxt.exe\u2066") == "usertxt.exe"


def test_a_lone_surrogate_can_be_printed() -> None:
    wording.one_line("a\ud800b").encode("utf-8")


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert wording.one_line("x" * 1_000_000, 10) == "x" * 9 + "…"


def test_line_breaks_stay_where_lines_are_asked_for() -> None:
    assert wording.lines("a\r\nb\x1b[2J\tc") == "a\nb\tc"


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0:00"), (7.9, "0:07"), (750, "12:30"), (3725, "1:02:05"), (-1, "0:00")]
)
def test_a_clock_shows_hours_only_when_there_are_any(number: float, words: str) -> None:
    assert wording.clock(number) == words


@pytest.mark.parametrize(("number", "words"), [(1, "1 row"), (0, "0 rows"), (2000, "2,000 rows")])
def test_nouns_agree_with_their_number(number: int, words: str) -> None:
    assert wording.counted(number, "row") == words


@pytest.mark.parametrize(("number", "words"), [(12, "12 B"), (1400, "1.4 kB"), (139.8e9, "139.8 GB"), (3e12, "3.0 TB")])
def test_sizes_are_in_powers_of_a_thousand(number: float, words: str) -> None:
    assert wording.size(number) == words
