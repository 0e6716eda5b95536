from __future__ import annotations

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


def test_only_a_function_whose_argument_is_read_by_field_reads_only():
    assert only_reads_fields(reads)
    assert not any(only_reads_fields(fn) for fn in (changes, hands_on, calls, renames, len))


def test_only_a_plain_comprehension_over_the_argument_is_one_for_one():
    assert is_one_comprehension(maps)
    assert not any(is_one_comprehension(fn) for fn in (filters, nests, narrows, len))
