from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette.executor.attribution import ListFunction, UnattributableError


class Thing:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Thing) and other.value == self.value

    __hash__ = None


def things(values):
    return [Thing(value) for value in values]


def made(function, values, **options):
    return [
        [thing.value for thing in rows] for rows in ListFunction(function, one_for_one=False, **options)(things(values))
    ]


def test_rows_that_come_back_are_known_by_identity_in_any_order():
    assert made(lambda items: items[::-1], [1, 2, 2]) == [[1], [2], [2]]
    assert made(lambda items: items[1:], [1, 1, 1]) == [[], [1], [1]]


def test_a_row_that_comes_back_twice_has_two_children():
    assert made(lambda items: [items[0], items[0]], [7, 8]) == [[7, 7], []]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_new_rows_go_to_their_parents_whatever_each_row_makes(counts):
    def repeat(items):
        return [Thing((item.value, turn)) for item in items for turn in range(item.value)]

    assert made(repeat, counts) == [[(count, turn) for turn in range(count)] for count in counts]


def test_a_function_that_looks_across_rows_is_taken_by_position_when_lengths_agree():
    def running_total(items):
        total, out = 0, []
        for item in items:
            total += item.value
            out.append(Thing(total))
        return out

    assert made(running_total, [1, 2, 3]) == [[1], [3], [6]]


def test_new_rows_of_a_function_that_looks_across_rows_cannot_be_attributed():
    with pytest.raises(UnattributableError):
        made(lambda items: [Thing(sum(item.value for item in items))], [1, 2, 3])


def test_a_promise_of_one_for_one_is_held_to():
    function = ListFunction(lambda items: [*items, Thing(0)], one_for_one=True)
    with pytest.raises(UnattributableError):
        function(things([1, 2]))


def test_small_numbers_are_not_known_by_identity():
    assert ListFunction(lambda items: [item % 3 + 1 for item in items], one_for_one=False)([1, 2, 3]) == [[2], [3], [1]]


def test_a_function_known_to_expand_is_asked_row_by_row_from_then_on():
    sizes = []

    def repeat(items):
        sizes.append(len(items))
        return [Thing(item.value) for item in items for _ in range(2)]

    function = ListFunction(repeat, one_for_one=False)
    function(things([1, 2]))
    function(things([3, 4]))
    assert sizes == [2, 1, 1, 1, 1]
