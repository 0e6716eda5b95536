"""Stretches of time, against the same worked out second by second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chainette.observe.spans import Spans

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple), max_size=8)


def seconds(pairs: list[tuple[int, int]]) -> set[int]:
    return {second for start, end in pairs for second in range(start, end)}


def told(spans: Spans) -> set[int]:
    return seconds([(int(a), int(b)) for a, b in zip(spans.starts, spans.ends, strict=True)])


@given(PAIRS, PAIRS)
def test_spans_are_put_together_and_cut_as_sets_are(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = Spans.pairs(one), Spans.pairs(other)
    assert told(a | b) == seconds(one) | seconds(other)
    assert told(a & b) == seconds(one) & seconds(other)
    assert told(a - b) == seconds(one) - seconds(other)
    assert a.seconds == len(seconds(one))


@given(PAIRS)
def test_spans_neither_touch_nor_overlap(pairs: list[tuple[int, int]]) -> None:
    spans = Spans.pairs(pairs)
    assert all(end < start for end, start in zip(spans.ends[:-1], spans.starts[1:], strict=True))
