from __future__ import annotations

import functools

from chainette.chain.source import is_one_comprehension, only_reads_fields


def reads(row):
    text = row.name + row.other
    return [text, row.count + 1]


def changes(row):
    row.name = "x"
    return row.count


def hands_on(row):
    return helper(row), row.count


def calls(row):
    return row.model_copy()


def renames(row):
    other = row
    other.name = "x"
    return row.count


def helper(row):
    return row


def maps(rows):
    """Doc."""
    return [row.name for row in rows]


def filters(rows):
    return [row for row in rows if row.name]


def nests(rows):
    return [part for row in rows for part in row.parts]


def narrows(rows):
    rows = rows[1:]
    return [row for row in rows]  # noqa: C416


class Callable_:
    def __call__(self, row):
        row.name = self.name

    def method(self, row):
        row.name = self.name


def digs(row):
    return row.__dict__


def wrapped(fn):
    @functools.wraps(fn)
    def outer(row):
        row.name = "x"
        return fn(row)

    return outer


def sorts(rows):
    rows.sort()
    return [row.name for row in rows]


def test_only_a_function_whose_argument_is_read_by_field_reads_only():
    assert only_reads_fields(reads)
    assert not any(only_reads_fields(fn) for fn in (changes, hands_on, calls, renames, len, digs))


def test_only_a_plain_comprehension_over_the_argument_is_one_for_one():
    assert is_one_comprehension(maps)
    assert not any(is_one_comprehension(fn) for fn in (filters, nests, narrows, sorts, len))


def test_what_is_bound_wrapped_or_partly_applied_may_do_more_than_its_source_shows():
    hidden = [Callable_(), Callable_().method, functools.partial(reads, 1), wrapped(reads)]
    assert not any(only_reads_fields(fn) or is_one_comprehension(fn) for fn in hidden)
