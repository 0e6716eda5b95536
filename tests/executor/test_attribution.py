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


def copy(thing):
    return Thing(thing.value)


def made(function, values, **options):
    rows = ListFunction(function, copy, one_for_one=False, **options)(things(values))
    return [[thing.value for thing in row] for row in rows]


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


def test_a_function_that_puts_new_rows_in_another_order_gives_each_to_its_parent():
    def ranked(items):
        return sorted((Thing(item.value) for item in items), key=lambda thing: thing.value)

    assert made(ranked, [3, 1, 2]) == [[3], [1], [2]]


def test_a_function_that_never_gives_the_same_twice_is_asked_row_by_row():
    from itertools import count

    number = count()

    def split(items):
        return [Thing((part, next(number))) for item in items for part in item.value.split()]

    assert [len(rows) for rows in ListFunction(split, copy, one_for_one=False)(things(["", "b1 b2"]))] == [0, 2]


@pytest.mark.parametrize(
    "function",
    [
        lambda items: [Thing(sum(item.value for item in items[: n + 1])) for n, _ in enumerate(items)],
        lambda items: [Thing(item.value) for item in [*items[1:], Thing(0)]],
    ],
)
def test_a_function_that_looks_across_rows_is_not_taken_by_position(function):
    with pytest.raises(UnattributableError, match="shape"):
        made(function, [1, 2, 3])


def test_a_function_that_changes_what_it_gets_is_asked_again_on_the_rows_as_they_were():
    def bump(items):
        out = []
        for item in items:
            item.value += 1
            out.append(Thing(item.value))
        return out

    assert made(bump, [1, 2]) == [[2], [3]]


def test_new_rows_of_a_function_that_looks_across_rows_cannot_be_attributed():
    with pytest.raises(UnattributableError):
        made(lambda items: [Thing(sum(item.value for item in items))], [1, 2, 3])


def test_a_promise_of_one_for_one_is_held_to():
    function = ListFunction(lambda items: [*items, Thing(0)], copy, one_for_one=True)
    with pytest.raises(UnattributableError):
        function(things([1, 2]))


def test_small_numbers_are_not_known_by_identity():
    assert ListFunction(lambda items: [item % 3 + 1 for item in items], int, one_for_one=False)([1, 2, 3]) == [
        [2],
        [3],
        [1],
    ]


def test_a_function_known_to_expand_is_asked_row_by_row_from_then_on():
    sizes = []

    def repeat(items):
        sizes.append(len(items))
        return [Thing(item.value) for item in items for _ in range(2)]

    function = ListFunction(repeat, copy, one_for_one=False)
    function(things([1, 2]))
    function(things([3, 4]))
    assert sizes == [2, 1, 1, 1, 1]
